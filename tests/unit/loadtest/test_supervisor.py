"""The supervisor of `godel up`, on processes of our own."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from runtime.cli.supervisor import ServiceCommand, StartFailed, Supervisor, _open_log, commands
from runtime.log import Log
from tests.waiting import until


def a_service(state: Path, name: str, *code: str, stage: int = 0) -> ServiceCommand:
    address = f"unix:{state}/{name}.sock"
    arguments = (address, str(state / f"{name}.note"), *code)
    return ServiceCommand(name, "tests.unit.loadtest.quitter", arguments, address, stage)


def starts(state: Path, name: str) -> int:
    return len((state / f"{name}.note").read_text().splitlines())


def test_the_services_of_a_home_share_the_nodes_between_schedulers() -> None:
    made = commands(Path("/s"), schedulers=2, nodes="5", seed=1)

    assert [command.name for command in made] == [
        *("binder", "dispatcher", "scheduler-0", "scheduler-1", "sharding", "nodes")
    ]
    share = ("--name", "scheduler-1", "--partition", "1", "--partitions", "2")
    assert made[3].arguments == ("--state", "/s", *share)
    assert made[5].module == "loadtest.nodes"
    stages = {command.name: command.stage for command in made}
    order = ["nodes", "scheduler-0", "dispatcher", "binder"]
    assert sorted(order, key=lambda name: stages[name]) == order


async def test_a_state_directory_has_one_supervisor(tmp_path: Path) -> None:
    first = Supervisor(tmp_path, [], Log("up"))
    with pytest.raises(StartFailed, match="is in use by another `godel up`"):
        Supervisor(tmp_path, [], Log("up"))
    await first.stop()

    await Supervisor(tmp_path, [], Log("up")).stop()


async def test_a_service_that_cannot_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    services = [a_service(tmp_path, "well"), a_service(tmp_path, "ill", "3")]
    supervisor = Supervisor(tmp_path, services, Log("up"))
    try:
        with pytest.raises(StartFailed, match=r"ill ended with exit code 3;[^$]*the reason"):
            await supervisor.start()
    finally:
        await supervisor.stop()
    assert starts(tmp_path, "ill") == 1


async def test_a_killed_service_is_started_again_and_all_end_at_stop(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, [a_service(tmp_path, "one")], Log("up"))
    await supervisor.start()
    child = supervisor.children[0]
    first_pid = child.pid
    os.kill(first_pid, signal.SIGKILL)

    await until("it runs anew", lambda: child.pid != first_pid and child.is_healthy)

    assert starts(tmp_path, "one") == 2
    last_pid = child.pid
    await supervisor.stop()
    assert not psutil.pid_exists(last_pid)
    assert not (tmp_path / "up.json").exists()


async def test_what_a_killed_supervisor_left_is_ended_first(tmp_path: Path) -> None:
    killed = Supervisor(tmp_path, [a_service(tmp_path, "one")], Log("up"))
    await killed.start()
    left = killed.children[0].pid
    for keeper in killed._keepers:
        keeper.cancel()
    killed._lock.close()

    supervisor = Supervisor(tmp_path, [a_service(tmp_path, "one")], Log("up"))
    await supervisor.start()

    assert supervisor.children[0].pid != left
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    await supervisor.stop()


@pytest.mark.parametrize(("size", "want_moved"), [(16 << 20, False), ((16 << 20) + 1, True)])
def test_a_large_log_is_moved_aside(size: int, want_moved: bool, tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with log.open("wb") as made:
        made.truncate(size)
    with _open_log(log) as opened:
        opened.write(b"new")
    assert (tmp_path / "x.log.1").exists() is want_moved
    assert log.stat().st_size == (3 if want_moved else size + 3)
