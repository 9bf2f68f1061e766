"""Both schedulers over the same folder of clusters: where they differ.

Two steps, each two commands over one folder: every pod alone in the cluster as it is, then all pods
in the queue's order, where kube-scheduler's plugins are told where ours went.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from tests.oracle.clusters import cluster
from tests.oracle.scores import pods_of, score_differences

Line = dict[str, Any]
SHOWN_MAX = 5


class Difference(msgspec.Struct, frozen=True):
    """A pod for which the two name other nodes."""

    file: str
    pod: str
    step: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        nodes = f"ours {self.ours}, theirs {self.theirs}"
        return f"{self.file} {self.pod} {self.step}: {nodes}: {self.why}"


def write(folder: Path, seeds: range) -> None:
    """One file per seed."""
    for seed in seeds:
        items = cluster(Random(seed))
        content = {"apiVersion": "v1", "kind": "List", "items": items}
        (folder / f"{seed:08}.json").write_bytes(msgspec.json.encode(content))


def differences(folder: Path, oracle: Path) -> list[Difference]:
    """All differences over the clusters of a folder."""
    found = _alone(folder, oracle)
    return found + _in_sequence(folder, oracle)


def _alone(folder: Path, oracle: Path) -> list[Difference]:
    ours = _ours("--feasible", "--each", "-f", str(folder))
    theirs = _theirs(oracle, "--each", str(folder))
    return _differing("alone", ours, theirs)


def _in_sequence(folder: Path, oracle: Path) -> list[Difference]:
    ours = _ours("--each", "-f", str(folder))
    placed = folder / "placed.jsonl"
    placed.write_text("".join(json.dumps(line) + "\n" for line in ours))
    theirs = _theirs(oracle, "--each", "--placed", str(placed), str(folder))
    return _differing("in sequence", ours, theirs)


def _ours(*arguments: str) -> list[Line]:
    command = (sys.executable, "-m", "runtime.cli", "what-if", "-o", "json", *arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"what-if ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _theirs(oracle: Path, *arguments: str) -> list[Line]:
    done = subprocess.run((str(oracle), *arguments), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _differing(step: str, ours: list[Line], theirs: list[Line]) -> list[Difference]:
    by_pod = {(line["file"], line["pod"]): line for line in theirs}
    if len(by_pod) != len(ours):
        raise RuntimeError(f"{len(ours)} pods here, {len(by_pod)} there")
    found = []
    pods = {file: pods_of(file) for file in {line["file"] for line in ours}}
    for line in ours:
        other = by_pod[line["file"], line["pod"]]
        why = score_differences(line, other, pods[line["file"]][line["pod"]])
        if why:
            file, agreed = Path(line["file"]).name, tuple(line["feasible"])
            found.append(Difference(file, line["pod"], step, agreed, agreed, "; ".join(why)))
        if line["feasible"] == other["feasible"]:
            continue
        nodes = sorted({*line["feasible"]} ^ {*other["feasible"]})
        reasons = (line["reasons"].get(nodes[0]) or other["reasons"].get(nodes[0]), nodes[0])
        found.append(
            Difference(
                Path(line["file"]).name,
                line["pod"],
                step,
                tuple(line["feasible"]),
                tuple(other["feasible"]),
                str(reasons),
            )
        )
    return found
