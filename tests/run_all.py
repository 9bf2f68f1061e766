"""The gate: `make check` (--short) and `make test` run these parts and print the minutes of each.

Every part runs even when an earlier one failed; the exit code is non-zero if any failed. The last
lines are pytest's own closing summaries, so that whoever reads a log finds the counts at its end.
The control plane of the integration tests is built in the background from the beginning, since that
takes minutes on a new machine; its part only waits for what is left.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
BIN = Path(PYTHON).parent
XDIST_WORKERS = 2
SHORT_SEEDS = "0:40"
FULL_SEEDS = "0:1000"
SHORT_SECOND_HOME_SEEDS = "1000000:1000008"
FULL_SECOND_HOME_SEEDS = "1000000:1000300"
ORACLE_SEEDS = 1000
BUILD = (PYTHON, "-m", "tests.controlplane.build")
BUILD_LOG = ROOT / "build" / "controlplane.log"
PYTEST_SUMMARY = re.compile(r"^=+ .*\bin \d+\.\d+s.* =+$")


@dataclass(frozen=True)
class Part:
    """One command of the gate, run from the repository's root."""

    name: str
    command: tuple[str, ...]
    is_short: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of a part; `summary` is pytest's closing line, empty for other tools."""

    name: str
    exit_code: int
    seconds: float
    summary: str


def parts(is_short: bool) -> list[Part]:
    """The parts of `make check`, or all of them."""
    pytest = (PYTHON, "-m", "pytest")
    workers = ("-n", str(XDIST_WORKERS))
    simulation = (PYTHON, "-m", "tests.simulation", "--seeds")
    seeds = SHORT_SEEDS if is_short else FULL_SEEDS
    second_seeds = SHORT_SECOND_HOME_SEEDS if is_short else FULL_SECOND_HOME_SEEDS
    every = [
        Part("format", (f"{BIN}/ruff", "format", "--check", ".")),
        Part("lint", (f"{BIN}/ruff", "check", ".")),
        Part("types", (f"{BIN}/mypy",)),
        Part("layers", (f"{BIN}/lint-imports",)),
        Part("tests", (*pytest, *workers, "tests", "--ignore=tests/integration")),
        Part("simulation", (*simulation, seeds)),
        Part("second home", (*simulation, second_seeds)),
        Part("mutants", (PYTHON, "-m", "tests.simulation.mutants", "--first-seeds"), False),
        Part("control plane", BUILD, False),
        Part("oracle", (PYTHON, "-m", "tests.oracle", "--seeds", str(ORACLE_SEEDS)), False),
        Part("integration", (*pytest, "tests/integration"), False),
    ]
    return [part for part in every if part.is_short or not is_short]


@contextmanager
def building(is_short: bool) -> Iterator[None]:
    """Build the control plane meanwhile; its part waits for that, or tries again and shows why."""
    if is_short:
        yield
        return
    BUILD_LOG.parent.mkdir(exist_ok=True)
    with BUILD_LOG.open("w") as log:
        build = subprocess.Popen(BUILD, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        build.terminate()
        build.wait()
    print(
        f"\n--- in the background: {' '.join(BUILD)}\n{BUILD_LOG.read_text()}", end="", flush=True
    )


def run(part: Part) -> Outcome:
    """Run one part with its output passed through."""
    print(f"\n--- {part.name}: {' '.join(part.command)}", flush=True)
    start, summary = time.monotonic(), ""
    with subprocess.Popen(
        part.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            if PYTEST_SUMMARY.match(line):
                summary = line.strip()
    return Outcome(part.name, running.returncode, time.monotonic() - start, summary)


def report(outcomes: list[Outcome]) -> str:
    """Minutes per part, then pytest's closing lines as the last ones."""
    lines = ["", f"{'part':<13} {'minutes':>7}  result"]
    for outcome in outcomes:
        result = "ok" if outcome.exit_code == 0 else f"FAILED (exit {outcome.exit_code})"
        lines.append(f"{outcome.name:<13} {outcome.seconds / 60:>7.2f}  {result}")
    lines.append(f"{'all':<13} {sum(outcome.seconds for outcome in outcomes) / 60:>7.2f}")
    failed = [outcome.name for outcome in outcomes if outcome.exit_code != 0]
    if failed:
        lines.append(f"FAILED: {', '.join(failed)}")
    lines.extend(outcome.summary for outcome in outcomes if outcome.summary)
    return "\n".join(lines)


def main() -> int:
    """Run the gate; 1 if any part failed."""
    options = argparse.ArgumentParser(prog="tests.run_all", description=__doc__)
    options.add_argument("--short", action="store_true", help="the parts of make check")
    chosen = options.parse_args()
    with building(chosen.short):
        outcomes = [run(part) for part in parts(chosen.short)]
    print(report(outcomes), flush=True)
    return 1 if any(outcome.exit_code != 0 for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
