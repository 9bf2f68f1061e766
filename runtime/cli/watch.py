"""`godel watch`: what changes, as it changes; or wait until units have come to a word.

A thread reads the stream; the main one waits with a time-out, so that Ctrl-C and --timeout always
work. A wait asks the dispatcher for the words of the units that changed: it derives them, not we.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from runtime.cli.exits import BAD_INPUT, NOT_FOUND, OK, REFUSED, TIME_OUT, Stop
from runtime.cli.options import Reach, reaches, shows

if TYPE_CHECKING:
    from runtime.cli.stream import Stream

GOALS = {
    "bound": frozenset({"BOUND", "RUNNING", "DONE"}),
    "running": frozenset({"RUNNING", "DONE"}),
    "done": frozenset({"DONE"}),
}
"""Words that meet what --for waits for."""
LOST = frozenset({"FAILED", "CANCELLED"})
WHOLE_UNIT = (1 << 32) - 1
REFRESH_SECONDS = 0.2
CALL_SECONDS = 60.0
GETS_MAX = 20
"""Changed units asked for one by one; above it, one list of them all."""


@click.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--prefix", default="", help="All units whose key begins with this.")
@click.option("--for", "goal", type=click.Choice(list(GOALS)), help="Wait for this, then end.")
@click.option("--changes-only", is_flag=True, help="Do not begin with what is there.")
@reaches("dispatcher", timeout=None)
@shows("table", "json")
def watch(
    keys: tuple[str, ...],
    prefix: str,
    goal: str | None,
    changes_only: bool,
    reach: Reach,
    output: str,
) -> int:
    """Follow units, or all of them; with --for, wait until those now there have come so far.

    With --for, ends with 1 as soon as one of them has failed or is cancelled, with 4 at the
    time-out, with 5 when there is none. Without, the time-out just ends it.
    """
    if keys and prefix:
        raise Stop(BAD_INPUT, "give keys or --prefix, not both")
    named = tuple(key.removeprefix("unit/") for key in keys)
    prefix = common_prefix(named) if named else prefix
    deadline = None if reach.timeout is None else time.monotonic() + reach.timeout
    if goal is None:
        return _follow(reach, prefix, frozenset(named), deadline, changes_only, output)
    return _Wait(reach, prefix, named, goal, deadline, output).run()


def common_prefix(keys: tuple[str, ...]) -> str:
    """What all keys begin with."""
    first, last = min(keys), max(keys)
    length = next((i for i, c in enumerate(first) if last[i] != c), len(first))
    return first[:length]


def _follow(
    reach: Reach,
    prefix: str,
    named: frozenset[str],
    deadline: float | None,
    is_changes_only: bool,
    output: str,
) -> int:
    from runtime.cli.connect import service
    from runtime.cli.stream import Stream

    with service(reach, "dispatcher") as stub:
        stream = Stream(lambda: _open(stub, prefix, not is_changes_only))
        while (reply := stream.next(deadline)) is not None:
            for unit in reply.snapshot:
                if not named or unit.key in named:
                    click.echo(_unit_line(unit, output))
            for change in reply.changes:
                if not named or change.key in named:
                    click.echo(_change_line(change, reply.at_us, output))
    return OK


def _open(stub: Any, prefix: str, is_snapshot_wanted: bool) -> Any:
    from godel.v1 import placement_pb2

    return stub.Watch(
        placement_pb2.WatchRequest(prefix=prefix, is_snapshot_wanted=is_snapshot_wanted)
    )


def _unit_line(unit: Any, output: str) -> str:
    from runtime.cli.get import phases_text
    from runtime.cli.show import line, plain

    if output == "json":
        return line({"unit": plain(unit)})
    why = f"  {unit.why}" if unit.why else ""
    return f"{'':12}  {unit.key}  {unit.word.lower()}  {phases_text(unit.phases)}{why}"


def _change_line(change: Any, at_us: int, output: str) -> str:
    from cell import reasons
    from godel.v1 import types_pb2
    from runtime.cli.show import enum_name, line, plain

    argument = change.resource or change.argument
    why = reasons.text(change.reason, argument) if change.reason else ""
    if output == "json":
        return line({"at_us": at_us, "change": plain(change), "why": why})
    at = time.strftime("%H:%M:%S", time.localtime(at_us / 1e6)) + f".{at_us // 1000 % 1000:03}"
    replica = "" if change.ordinal == WHOLE_UNIT else f"  {change.group}/{change.ordinal}"
    phase = enum_name(types_pb2.Phase.DESCRIPTOR, change.phase).lower()
    tail = "".join(f"  {each}" for each in (change.node, why) if each)
    return f"{at}  {change.key}{replica}  {phase}{tail}"


class _Wait:
    """Until all units that are there at the start have a word that meets the goal."""

    def __init__(
        self,
        reach: Reach,
        prefix: str,
        named: tuple[str, ...],
        goal: str,
        deadline: float | None,
        output: str,
    ) -> None:
        self._reach = reach
        self._prefix = prefix
        self._named = named
        self._goal = goal
        self._deadline = deadline
        self._output = output
        self._words: dict[str, str] = {}
        self._changed: dict[str, int] = {}
        """Units to ask for, with the last phase told of the whole unit (or -1)."""

    def run(self) -> int:
        """Wait; the exit code."""
        from runtime.cli.connect import service
        from runtime.cli.stream import Stream

        with service(self._reach, "dispatcher") as stub:
            stream = Stream(lambda: _open(stub, self._prefix, True))
            self._begin(stream)
            while not self._is_over():
                if not self._take(stream):
                    break
                self._refresh(stub)
        return self._end()

    def _begin(self, stream: Stream) -> None:
        """The words at the start. A time-out here finds nothing met."""
        while (reply := stream.next(self._deadline)) is not None:
            self._words.update((unit.key, unit.word) for unit in reply.snapshot)
            if reply.is_snapshot_end:
                break
        else:
            raise Stop(TIME_OUT, "the dispatcher has not shown its units in time (--timeout)")
        if self._named:
            for key in self._named:
                if key not in self._words:
                    raise Stop(NOT_FOUND, f"no unit {key}")
            self._words = {key: self._words[key] for key in self._named}
        if not self._words:
            raise Stop(NOT_FOUND, f"no unit has the prefix {self._prefix!r}")

    def _take(self, stream: Stream) -> bool:
        """Note what changes until it is time to ask; whether there is time left."""
        ask_at: float | None = None
        while ask_at is None or time.monotonic() < ask_at:
            ends = [at for at in (ask_at, self._deadline) if at is not None]
            soonest = min(ends, default=None)
            reply = stream.next(soonest)
            if reply is None:
                return soonest != self._deadline
            for unit in reply.snapshot:
                if unit.key in self._words:
                    self._words[unit.key] = unit.word
            for change in reply.changes:
                if change.key in self._words:
                    last = change.phase if change.ordinal == WHOLE_UNIT else -1
                    self._changed[change.key] = last
            if reply.snapshot or self._changed:
                ask_at = ask_at or time.monotonic() + REFRESH_SECONDS
        return True

    def _refresh(self, stub: Any) -> None:
        """Ask for the words of the changed units; one that is forgotten has the word told last."""
        import grpc

        from godel.v1 import placement_pb2, types_pb2
        from runtime.cli.show import enum_name

        changed, self._changed = self._changed, {}
        found: dict[str, str] = {}
        if len(changed) > GETS_MAX:
            request = placement_pb2.ListRequest(prefix=self._prefix)
            for reply in stub.List(request, timeout=CALL_SECONDS):
                found.update((unit.key, unit.word) for unit in reply.units)
        for key, phase in changed.items():
            if len(changed) <= GETS_MAX:
                try:
                    get = placement_pb2.GetRequest(key=key)
                    found[key] = stub.Get(get, timeout=CALL_SECONDS).word
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.NOT_FOUND:
                        raise
            told = enum_name(types_pb2.Phase.DESCRIPTOR, phase) if phase >= 0 else "CANCELLED"
            self._words[key] = found.get(key, told)

    def _is_over(self) -> bool:
        words = set(self._words.values())
        return bool(words & LOST) or words <= GOALS[self._goal]

    def _end(self) -> int:
        from runtime.cli.show import counted, line

        lost = [key for key, word in self._words.items() if word in LOST]
        pending = [key for key, word in self._words.items() if word not in GOALS[self._goal]]
        met = len(self._words) - len(pending)
        if self._output == "json":
            click.echo(line({"goal": self._goal, "met": met, "units": self._words}))
        if lost:
            word = self._words[lost[0]].lower()
            raise Stop(REFUSED, f"{lost[0]} is {word} ({len(lost):,} of {len(self._words):,})")
        if pending:
            word = self._words[pending[0]].lower()
            left = f"{len(pending):,} of {len(self._words):,} are not {self._goal} yet"
            raise Stop(TIME_OUT, f"{left}, such as {pending[0]} ({word})")
        if self._output != "json":
            click.echo(f"{counted(met, 'unit')} {self._goal}")
        return OK
