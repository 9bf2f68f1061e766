"""`python -m tests.simulation.mutants`: plant every bug and let seeds find it.

Each is hunted on at most SEEDS_MAX seeds from 0 on, or from where its file says (those of the
second home); with `--first-seeds` on its stored first seed alone. A finding counts when the tree as
it is passes the same seed. Exit code 1 unless all are found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.simulation.mutants.plant import (
    ROOT,
    DoesNotApply,
    Mutant,
    copy_tree,
    first_seeds,
    mutants,
    plant,
)

SEEDS_MAX = 200
WORKERS = 2
SLOTS = ROOT / "build" / "mutants"
HUNT = (sys.executable, "-m", "tests.simulation.mutants.hunt")


@dataclass(frozen=True)
class Finding:
    """What a hunt came to; `seed` is None when nothing was found, `fault` says why if it broke."""

    name: str
    seed: int | None = None
    rule: str = ""
    fault: str = ""


class Hunters:
    """Two directories at fixed paths, so that kernels are compiled once for each."""

    def __init__(self) -> None:
        self._slots: SimpleQueue[Path] = SimpleQueue()
        for i in range(WORKERS):
            slot = SLOTS / f"slot{i}"
            slot.mkdir(parents=True, exist_ok=True)
            self._slots.put(slot)

    def hunt(self, mutant: Mutant, first: int, end: int) -> Finding:
        """Plant a mutant and hunt it on seeds first to end - 1."""
        slot = self._slots.get()
        try:
            plant(mutant, slot)
            finding = _run(mutant.name, slot, first, end)
            if finding.seed is not None:
                copy_tree(slot)
                clean = _run(mutant.name, slot, finding.seed, finding.seed + 1)
                if clean.seed is not None or clean.fault:
                    text = f"the tree without it fails seed {finding.seed} too"
                    finding = Finding(mutant.name, fault=text)
        except DoesNotApply as error:
            finding = Finding(mutant.name, fault=str(error))
        finally:
            self._slots.put(slot)
        _tell(finding)
        return finding


def _run(name: str, slot: Path, first: int, end: int) -> Finding:
    ended = subprocess.run(
        (*HUNT, str(first), str(end)), cwd=slot, capture_output=True, text=True, check=False
    )
    last = (ended.stdout.strip().split("\n") or [""])[-1]
    if ended.returncode != 0:
        return Finding(name, fault=f"{ended.stdout}{ended.stderr}"[-2000:])
    if last.startswith("found "):
        _, seed, rule = last.split(" ", 2)
        return Finding(name, int(seed), rule)
    return Finding(name)


def _tell(finding: Finding) -> None:
    if finding.fault:
        print(f"{finding.name}: BROKEN: {finding.fault}", flush=True)
    elif finding.seed is None:
        print(f"{finding.name}: NOT FOUND", flush=True)
    else:
        print(f"{finding.name}: found by seed {finding.seed}: {finding.rule}", flush=True)


def main() -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="tests.simulation.mutants", description=__doc__)
    options.add_argument("--first-seeds", action="store_true", help="on stored seeds only")
    options.add_argument("--only", default="", help="mutants whose name contains this")
    chosen = options.parse_args()
    planted = [mutant for mutant in mutants() if chosen.only in mutant.name]
    stored = first_seeds()
    hunters = Hunters()

    def hunt(mutant: Mutant) -> Finding:
        if not chosen.first_seeds:
            return hunters.hunt(mutant, mutant.first, mutant.first + SEEDS_MAX)
        if mutant.name not in stored:
            return Finding(mutant.name, fault="has no first seed stored")
        return hunters.hunt(mutant, stored[mutant.name], stored[mutant.name] + 1)

    with ThreadPoolExecutor(WORKERS) as pool:
        findings = list(pool.map(hunt, planted))
    found = sum(finding.seed is not None for finding in findings)
    print(f"mutants: found {found} of {len(planted)}")
    return 0 if planted and found == len(planted) else 1


if __name__ == "__main__":
    sys.exit(main())
