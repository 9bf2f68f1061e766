"""Nothing outlives the run that started it, and a program that ends says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.controlplane.processes import Ended, Processes
from tests.waiting import until_blocking

GONE_SECONDS = 30.0
STARTED_THEN_HANGS = """
import sys, time
from pathlib import Path
from tests.controlplane.processes import Processes
running = Processes(Path(sys.argv[1]))
running.start("sleeper", ["sleep", "1000"])
print(running.pid("sleeper"), flush=True)
time.sleep(1000)
"""


def is_gone(program: psutil.Process) -> bool:
    return not program.is_running() or program.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a program to its parent")
def test_programs_die_with_a_run_that_is_killed(tmp_path: Path) -> None:
    run = subprocess.Popen(
        (sys.executable, "-c", STARTED_THEN_HANGS, str(tmp_path)), stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    sleeper = psutil.Process(int(run.stdout.readline()))
    run.kill()
    run.communicate()
    until_blocking("the program is gone", lambda: is_gone(sleeper), GONE_SECONDS)


def test_a_program_that_ends_before_it_is_ready_shows_its_log(tmp_path: Path) -> None:
    running = Processes(tmp_path)
    running.start("broken", ["sh", "-c", "echo no such disk; exit 3"])
    with pytest.raises(Ended, match="broken ended with 3:\nno such disk"):
        running.until("broken", lambda: False, GONE_SECONDS)
    running.kill_all()


def test_a_program_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    running = Processes(tmp_path)
    running.start("idle", ["sh", "-c", "echo waiting for a lock; exec sleep 1000"])
    running.until("idle", lambda: bool(running.log_end("idle")), GONE_SECONDS)
    with pytest.raises(Ended, match=r"idle is not ready within 0.1 s:\nwaiting for a lock"):
        running.until("idle", lambda: False, 0.1)
    running.kill_all()
