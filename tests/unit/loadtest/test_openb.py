"""Traces in the OpenB format: files of our own, in all variants of columns, good and bad."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from godel.v1 import types_pb2
from loadtest import openb
from loadtest.workload import NO_END

NODES = """\
sn,cpu_milli,memory_mib,gpu,model
n-0,32000,262144,0,
n-1,64000,1024,2,P100
"""
TASKS = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
late,1000,2048,0,0,,LS,Running,300,400,310
share,500,0,1,460,T4|P100|T4,BE,Pending,100,150,
whole,0,1,8,1000,,BE,Failed,200,,
"""
FIVE_COLUMNS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,1,2,1,1000\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_nodes_have_devices_in_milli_and_their_model_as_a_label(tmp_path: Path) -> None:
    plain, gpu = map(openb.node_message, openb.read_nodes(written(tmp_path, "n.csv", NODES)))

    assert dict(plain.allocatable) == {"cpu": 32_000, "memory": 262_144 << 20}
    assert dict(plain.labels) == {}
    assert dict(gpu.allocatable) == {"cpu": 64_000, "memory": 1 << 30, "gpu": 2000}
    assert dict(gpu.labels) == {openb.MODEL_LABEL: "P100"}


def test_tasks_ask_for_shares_or_whole_devices_and_for_models(tmp_path: Path) -> None:
    tasks = openb.read_tasks(written(tmp_path, "t.csv", TASKS))
    late, share, whole = map(openb.class_of, tasks)

    assert dict(late.demand) == {"cpu": 1000, "memory": 2048 << 20}
    assert not late.HasField("affinity")
    assert dict(share.demand) == {"cpu": 500, "gpu": 460}
    (requirement,) = share.affinity.terms[0].labels
    assert (requirement.key, list(requirement.values)) == (openb.MODEL_LABEL, ["P100", "T4"])
    assert requirement.operator == types_pb2.OPERATOR_IN
    assert dict(whole.demand) == {"memory": 1 << 20, "gpu": 8000}


def test_files_with_the_first_five_columns_are_read(tmp_path: Path) -> None:
    (task,) = openb.read_tasks(written(tmp_path, "t.csv", FIVE_COLUMNS))

    assert task == openb.TraceTask("a", 1, 2, 1, 1000)


def test_at_the_traces_times_tasks_are_in_order_and_end_as_they_did(tmp_path: Path) -> None:
    tasks = openb.read_tasks(written(tmp_path, "t.csv", TASKS))

    work = openb.workload(tasks, speed=10.0, is_ending=True, prefix="x/")

    assert work.keys == ("x/share", "x/whole", "x/late")
    assert work.at_s.tolist() == [0.0, 10.0, 20.0]
    assert work.runs_s.tolist() == [5.0, NO_END, 9.0]


def test_at_once_keeps_the_files_order(tmp_path: Path) -> None:
    work = openb.workload(openb.read_tasks(written(tmp_path, "t.csv", TASKS)), speed=None)

    assert work.keys == ("late", "share", "whole")
    assert work.at_s.tolist() == [0.0, 0.0, 0.0]
    assert len(work.runs_s) == 0


def test_times_cannot_be_used_where_there_are_none(tmp_path: Path) -> None:
    tasks = openb.read_tasks(written(tmp_path, "t.csv", FIVE_COLUMNS))

    with pytest.raises(openb.BadTrace, match="a: has no creation_time"):
        openb.workload(tasks, speed=1.0)


@dataclass(frozen=True)
class Bad:
    """A file that cannot be read, and what is said of it."""

    text: str
    want: str


HEADER = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n"
BAD = {
    "a column is missing": Bad("name,cpu_milli\na,1\n", "line 1: column memory_mib: is missing"),
    "an empty file": Bad("", "line 1: column name: is missing"),
    "no number": Bad(HEADER + "a,1,2,0,0\nb,x,2,0,0\n", "line 3: column cpu_milli: 'x'"),
    "a negative number": Bad(HEADER + "a,1,-2,0,0\n", "line 2: column memory_mib: '-2'"),
    "an empty number": Bad(HEADER + "a,1,2,,0\n", "line 2: column num_gpu: ''"),
    "a short line": Bad(HEADER + "a,1,2\n", "line 2: column gpu_milli: the line has not 5"),
    "a long line": Bad(HEADER + "a,1,2,0,0,7\n", "line 2: column gpu_milli: the line has not 5"),
    "no name": Bad(HEADER + ",1,2,0,0\n", "line 2: column name: is empty"),
    "a name twice": Bad(HEADER + "a,1,2,0,0\na,1,2,0,0\n", "a is there twice"),
    "more than one device's share": Bad(
        HEADER + "a,1,2,1,1001\n", "line 2: column gpu_milli: 1001 of one GPU"
    ),
    "no share of one device": Bad(HEADER + "a,1,2,1,0\n", "line 2: column gpu_milli: 0 of one"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_file_names_its_line_and_column(case: Bad, tmp_path: Path) -> None:
    path = written(tmp_path, "bad.csv", case.text)

    with pytest.raises(openb.BadTrace) as caught:
        openb.read_tasks(path)

    assert str(caught.value).startswith(str(path))
    assert case.want in str(caught.value)


def test_a_directory_stands_for_its_standard_files(tmp_path: Path) -> None:
    nodes = written(tmp_path, openb.NODES_FILE, NODES)
    with pytest.raises(openb.BadTrace, match=r"pod_list_default\.csv: no such file"):
        openb.find_files([tmp_path])
    tasks = written(tmp_path, openb.TASKS_FILE, TASKS)

    assert openb.find_files([tmp_path]) == (nodes, tasks)


def test_two_files_are_told_apart_by_their_header(tmp_path: Path) -> None:
    nodes, tasks = written(tmp_path, "a", NODES), written(tmp_path, "b", TASKS)

    assert openb.find_files([tasks, nodes]) == (nodes, tasks)
    with pytest.raises(openb.BadTrace, match="one file of nodes and one of tasks"):
        openb.find_files([tasks, tasks])
    with pytest.raises(openb.BadTrace, match="one directory, or"):
        openb.find_files([nodes])
