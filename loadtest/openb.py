"""Reader of traces in the OpenB CSV format: the nodes of a GPU cluster and the tasks it was given.

Nodes: sn, cpu_milli, memory_mib, gpu (count), model. Tasks: name, cpu_milli, memory_mib, num_gpu,
gpu_milli, and in most variants gpu_spec, qos, pod_phase, creation_time, deletion_time,
scheduled_time. GPUs are the ordinary resource "gpu" in milli-devices of a node; the models that a
task may run on are a node affinity on MODEL_LABEL. A row that cannot be read raises BadTrace with
file, line and column.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from godel.v1 import cluster_pb2, types_pb2
from loadtest.arrivals import at_once, sped_up
from loadtest.workload import NO_END, Workload

MODEL_LABEL = "godel/gpu-model"
MIB = 1 << 20
GPU_MILLI = 1000
NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
TASK_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
"""Columns without which a file is not read."""
NODES_FILE = "openb_node_list_all_node.csv"
TASKS_FILE = "openb_pod_list_default.csv"
"""The files taken from a directory: all nodes, default tasks."""


class BadTrace(ValueError):
    """A trace that cannot be read; the text names file, line and column."""


@dataclass(frozen=True)
class TraceNode:
    """One node as the trace has it."""

    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


@dataclass(frozen=True)
class TraceTask:
    """One task as the trace has it; None for a time that is not there."""

    name: str
    cpu_milli: int
    memory_mib: int
    num_gpu: int
    gpu_milli: int
    models: tuple[str, ...] = ()
    created_s: int | None = None
    deleted_s: int | None = None
    scheduled_s: int | None = None

    @property
    def gpu_demand_milli(self) -> int:
        """Whole devices, or a share of one."""
        return self.gpu_milli if self.num_gpu == 1 else self.num_gpu * GPU_MILLI


@dataclass(frozen=True)
class _Row:
    """One line with its place, for messages."""

    path: Path
    line: int
    fields: Mapping[str, str | None]

    def text(self, column: str) -> str:
        return (self.fields.get(column) or "").strip()

    def number(self, column: str) -> int:
        text = self.text(column)
        if not text.isascii() or not text.isdecimal():
            raise self.bad(column, f"{text!r} is no whole number from 0 on")
        return int(text)

    def number_or_none(self, column: str) -> int | None:
        return self.number(column) if self.text(column) else None

    def name(self, column: str) -> str:
        text = self.text(column)
        if not text:
            raise self.bad(column, "is empty")
        return text

    def bad(self, column: str, why: str) -> BadTrace:
        return BadTrace(f"{self.path}: line {self.line}: column {column}: {why}")


def find_files(places: Sequence[Path]) -> tuple[Path, Path]:
    """The files of nodes and of tasks: the standard ones of a directory, or two files in any
    order, told apart by their header. Raises BadTrace.
    """
    if len(places) == 1 and places[0].is_dir():
        found = places[0] / NODES_FILE, places[0] / TASKS_FILE
        for path in found:
            if not path.is_file():
                raise BadTrace(f"{path}: no such file")
        return found
    if len(places) != 2:
        raise BadTrace("a trace is one directory, or a file of nodes and a file of tasks")
    nodes = [path for path in places if _header(path)[:1] == ["sn"]]
    tasks = [path for path in places if path not in nodes]
    if len(nodes) != 1 or len(tasks) != 1:
        raise BadTrace(f"{places[0]}, {places[1]}: need one file of nodes and one of tasks")
    return nodes[0], tasks[0]


def read_nodes(path: Path) -> list[TraceNode]:
    """The nodes of a file, in its order. Raises BadTrace."""
    nodes = [
        TraceNode(
            name=row.name("sn"),
            cpu_milli=row.number("cpu_milli"),
            memory_mib=row.number("memory_mib"),
            gpus=row.number("gpu"),
            model=row.text("model"),
        )
        for row in _rows(path, NODE_COLUMNS)
    ]
    _refuse_doubles(path, [node.name for node in nodes])
    return nodes


def read_tasks(path: Path) -> list[TraceTask]:
    """The tasks of a file, in its order. Raises BadTrace."""
    tasks = [_task(row) for row in _rows(path, TASK_COLUMNS)]
    _refuse_doubles(path, [task.name for task in tasks])
    return tasks


def _task(row: _Row) -> TraceTask:
    task = TraceTask(
        name=row.name("name"),
        cpu_milli=row.number("cpu_milli"),
        memory_mib=row.number("memory_mib"),
        num_gpu=row.number("num_gpu"),
        gpu_milli=row.number("gpu_milli"),
        models=tuple(sorted({model for model in row.text("gpu_spec").split("|") if model})),
        created_s=row.number_or_none("creation_time"),
        deleted_s=row.number_or_none("deletion_time"),
        scheduled_s=row.number_or_none("scheduled_time"),
    )
    if task.num_gpu == 1 and not 1 <= task.gpu_milli <= GPU_MILLI:
        raise row.bad("gpu_milli", f"{task.gpu_milli} of one GPU is outside 1 to {GPU_MILLI}")
    return task


def _rows(path: Path, columns: Sequence[str]) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            header = reader.fieldnames or []
            for column in columns:
                if column not in header:
                    raise BadTrace(f"{path}: line 1: column {column}: is missing")
            for fields in reader:
                row = _Row(path, reader.line_num, fields)
                if None in fields or None in fields.values():
                    raise row.bad(header[-1], f"the line has not {len(header)} fields")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadTrace(f"{path}: {error}") from None


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return next(csv.reader(lines), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadTrace(f"{path}: {error}") from None


def _refuse_doubles(path: Path, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BadTrace(f"{path}: {name} is there twice")
        seen.add(name)


def node_message(node: TraceNode) -> cluster_pb2.Node:
    """A node for the Cluster API."""
    amounts = {"cpu": node.cpu_milli, "memory": node.memory_mib * MIB}
    if node.gpus:
        amounts["gpu"] = node.gpus * GPU_MILLI
    labels = {MODEL_LABEL: node.model} if node.model else {}
    return cluster_pb2.Node(name=node.name, allocatable=amounts, labels=labels)


def class_of(task: TraceTask) -> types_pb2.ClassSpec:
    """A task's class."""
    amounts = {
        "cpu": task.cpu_milli,
        "memory": task.memory_mib * MIB,
        "gpu": task.gpu_demand_milli,
    }
    spec = types_pb2.ClassSpec(demand={name: n for name, n in amounts.items() if n})
    if task.models:
        is_model = types_pb2.Requirement(
            key=MODEL_LABEL, operator=types_pb2.OPERATOR_IN, values=task.models
        )
        spec.affinity.terms.add(labels=[is_model])
    return spec


def workload(
    tasks: Sequence[TraceTask], *, speed: float | None, is_ending: bool = False, prefix: str = ""
) -> Workload:
    """The tasks as singles: at the trace's times `speed` times as fast, or all at once (None).

    With `is_ending`, a task that was deleted in the trace ends as long after it is bound as it
    ran in the trace, sped up alike. Raises BadTrace when times are needed and missing.
    """
    if speed is not None:
        missing = next((task.name for task in tasks if task.created_s is None), None)
        if missing is not None:
            raise BadTrace(f"{missing}: has no creation_time; such a trace runs only at once")
        tasks = sorted(tasks, key=lambda task: (task.created_s, task.name))
        at_s = sped_up([float(task.created_s or 0) for task in tasks], speed)
    else:
        at_s = at_once(len(tasks))
    classes: list[types_pb2.ClassSpec] = []
    numbers: dict[tuple[object, ...], int] = {}
    klass = np.empty(len(tasks), dtype=np.uint32)
    for i, task in enumerate(tasks):
        key = (task.cpu_milli, task.memory_mib, task.gpu_demand_milli, task.models)
        if key not in numbers:
            numbers[key] = len(classes)
            classes.append(class_of(task))
        klass[i] = numbers[key]
    ones = np.ones(len(tasks), dtype=np.uint32)
    runs_s = [_seconds_run(task, speed or 1.0) for task in tasks] if is_ending else []
    return Workload(
        classes=tuple(classes),
        keys=tuple([prefix + task.name for task in tasks]),
        at_s=at_s,
        klass=klass,
        count=ones,
        min=ones,
        priority=np.zeros(len(tasks), dtype=np.int32),
        runs_s=np.array(runs_s, dtype=np.float64),
    )


def _seconds_run(task: TraceTask, speed: float) -> float:
    """From scheduled (created, if it never was) to deleted; NO_END without the times."""
    begin = task.created_s if task.scheduled_s is None else task.scheduled_s
    if begin is None or task.deleted_s is None:
        return NO_END
    return max(task.deleted_s - begin, 0) / speed
