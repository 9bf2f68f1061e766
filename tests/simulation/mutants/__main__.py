"""`python -m tests.simulation.mutants`: plant every bug and let seeds find it.

Each is hunted on its seeds until one finds it; with `--count` on all of them, to say how many do;
with `--first-seeds` on its stored first seed alone. A finding counts when the tree as it is passes
the same seed. Exit code 1 unless all are found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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

WORKERS = 2
SLOTS = ROOT / "build" / "mutants"
HUNT = (sys.executable, "-m", "tests.simulation.mutants.hunt")

Findings = dict[int, str]
"""The rule that did not hold, by seed, in order of seeds."""


class Broke(Exception):
    """A planted tree did not run to its end."""


@dataclass(frozen=True)
class Catch:
    """What a hunt came to; `fault` says why if it broke."""

    name: str
    findings: Findings = field(default_factory=dict)
    fault: str = ""

    def __str__(self) -> str:
        if self.fault:
            return f"{self.name}: BROKEN: {self.fault}"
        if not self.findings:
            return f"{self.name}: NOT FOUND"
        seed, rule = next(iter(self.findings.items()))
        return f"{self.name}: found by seed {seed}: {rule}"


class Hunters:
    """Two directories at fixed paths, so that kernels are compiled once for each."""

    def __init__(self) -> None:
        self._slots: SimpleQueue[Path] = SimpleQueue()
        for i in range(WORKERS):
            slot = SLOTS / f"slot{i}"
            slot.mkdir(parents=True, exist_ok=True)
            self._slots.put(slot)

    def hunt(self, mutant: Mutant, seeds: list[int], findings_max: int) -> Catch:
        """Plant a mutant and hunt it until so many seeds have found it."""
        slot = self._slots.get()
        try:
            return Catch(mutant.name, _hunt(mutant, slot, seeds, findings_max))
        except (DoesNotApply, Broke) as error:
            return Catch(mutant.name, fault=str(error))
        finally:
            self._slots.put(slot)


def _hunt(mutant: Mutant, slot: Path, seeds: list[int], findings_max: int) -> Findings:
    """Findings on seeds that the tree as it is passes."""
    counted: Findings = {}
    while seeds and len(counted) < findings_max:
        missing = findings_max - len(counted)
        plant(mutant, slot)
        found = _run(slot, seeds, missing)
        copy_tree(slot)
        unsound = _run(slot, list(found), len(found))
        counted |= {seed: rule for seed, rule in found.items() if seed not in unsound}
        seeds = [seed for seed in seeds if seed > max(found)] if len(found) == missing else []
    return counted


def _run(slot: Path, seeds: list[int], findings_max: int) -> Findings:
    """Findings of a planted tree, at most so many."""
    if not seeds:
        return {}
    hunt = (*HUNT, str(findings_max), *map(str, seeds))
    ended = subprocess.run(hunt, cwd=slot, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise Broke(f"{ended.stdout}{ended.stderr}"[-2000:])
    lines = (line.split(" ", 1) for line in ended.stdout.splitlines())
    return {int(seed): rule for seed, rule in lines}


def main() -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="tests.simulation.mutants", description=__doc__)
    options.add_argument("--count", action="store_true", help="how many seeds find each")
    options.add_argument("--first-seeds", action="store_true", help="on stored seeds only")
    options.add_argument("--only", default="", help="mutants whose name contains this")
    chosen = options.parse_args()
    planted = [mutant for mutant in mutants() if chosen.only in mutant.name]
    stored = first_seeds()
    hunters = Hunters()

    def hunt(mutant: Mutant) -> Catch:
        seeds = mutant.seeds
        if chosen.first_seeds:
            seeds = [seed for seed in seeds if seed == stored.get(mutant.name)]
        catch = hunters.hunt(mutant, seeds, len(seeds) if chosen.count else 1)
        count = f" ({len(catch.findings)} of {len(seeds)} seeds)" if chosen.count else ""
        print(f"{catch}{count}", flush=True)
        return catch

    with ThreadPoolExecutor(WORKERS) as pool:
        catches = list(pool.map(hunt, planted))
    found = sum(bool(catch.findings) for catch in catches)
    print(f"mutants: found {found} of {len(planted)}")
    return 0 if planted and found == len(planted) else 1


if __name__ == "__main__":
    sys.exit(main())
