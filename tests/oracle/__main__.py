"""`make oracle SEEDS=n FROM=k`: random clusters, judged by kube-scheduler's plugins and by us."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.controlplane.build import programs
from tests.oracle.compare import SHOWN_MAX, Difference, differences, write

FOLDER_CLUSTERS = 500
"""Clusters of one folder: both programs read a folder at once."""


def compared(first: int, count: int) -> list[Difference]:
    """The differences over `count` seeds from `first` on."""
    oracle = programs()["oracle"]
    found: list[Difference] = []
    for begin in range(first, first + count, FOLDER_CLUSTERS):
        seeds = range(begin, min(begin + FOLDER_CLUSTERS, first + count))
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), seeds)
            found += differences(Path(folder), oracle)
    return found


def main() -> int:
    """Compare, show the first differences, end with one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    asked = parser.parse_args()
    found = compared(asked.first, asked.seeds)
    for each in found[:SHOWN_MAX]:
        print(each)
    files = {each.file for each in found}
    print(f"oracle: agreed on {asked.seeds - len(files)} of {asked.seeds}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
