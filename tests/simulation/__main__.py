"""`python -m tests.simulation --seed N` replays one history, `--seeds A:B` runs many.

Exit code 1 when a rule did not hold: the seed, the rule and the unit's story are printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import Counter

from runtime.kernel_cache import export_kernel_cache

export_kernel_cache()

from tests.simulation.outcome import Outcome, outcome_of  # noqa: E402 - numba reads the cache path at import

WORKERS = 2
PROGRESS_SECONDS = 20.0
FAILURES_SHOWN = 3
LINES_SHOWN = 40


def run_many(first: int, end: int) -> int:
    """Run seeds first to end - 1 in two processes; returns how many failed."""
    start = shown = time.monotonic()
    failed: list[Outcome] = []
    faults: Counter[str] = Counter()
    done: Counter[str] = Counter()
    events = 0
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for outcome in pool.imap_unordered(outcome_of, range(first, end), chunksize=4):
            done[outcome.title] += 1
            events += outcome.events
            faults.update(outcome.faults)
            if outcome.report:
                failed.append(outcome)
                if len(failed) <= FAILURES_SHOWN:
                    print(_tail(outcome.report), flush=True)
                else:
                    print(f"seed {outcome.seed}: {outcome.rule}", flush=True)
            if time.monotonic() - shown > PROGRESS_SECONDS:
                shown = time.monotonic()
                count = done.total()
                print(f"{count} of {end - first} seeds, {len(failed)} failed", flush=True)
    minutes = (time.monotonic() - start) / 60
    print(f"{events} events, {done.total() / minutes:.0f} seeds per minute")
    print("faults: " + ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items())))
    if failed:
        rules = Counter(outcome.rule for outcome in failed)
        print("rules: " + ", ".join(f"{count} {rule}" for rule, count in rules.most_common()))
        print(
            "failed seeds: " + " ".join(str(o.seed) for o in sorted(failed, key=lambda o: o.seed))
        )
    failed_of = Counter(outcome.title for outcome in failed)
    for title, count in sorted(done.items()):
        print(f"{title}: {count} seeds, {failed_of[title]} failed")
    return len(failed)


def _tail(report: str) -> str:
    """The end of a story; `--seed` prints all of it."""
    return "\n".join(report.split("\n")[-LINES_SHOWN:])


def main() -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    options.add_argument("--seed", type=int, help="replay one")
    options.add_argument("--seeds", default="0:200", help="first:end")
    chosen = options.parse_args()
    if chosen.seed is None:
        first, end = chosen.seeds.split(":")
        return 1 if run_many(int(first), int(end)) else 0
    outcome = outcome_of(chosen.seed)
    print(outcome.report or f"seed {outcome.seed}: passed")
    print(f"{outcome.events} events, faults {dict(outcome.faults)}")
    return 1 if outcome.report else 0


if __name__ == "__main__":
    sys.exit(main())
