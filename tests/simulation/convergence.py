"""What must be true some time after the world has healed.

Everything acknowledged is bound, has ended, or waits with a reason while the auditor's own dumb fit
finds no room for it; nothing is under way; the ledger, the dispatcher, its watchers and the
schedulers' tables agree; releases are complete, or held up by no more rows than they may stop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol

from cell.effects import Answer, Request
from cell.messages import ReplicaView, UnitView
from cell.release import ListRollingsets
from cell.unit import GroupSpec, Phase, Place, uid_of
from tests.simulation import room
from tests.simulation.auditor import Auditor
from tests.simulation.node import Node
from tests.simulation.promises import Promise
from tests.simulation.requests import Courier
from tests.simulation.watch_book import HOLDS_CLAIM, picture_of
from tests.simulation.world import Broken

OVER = ("DONE", "FAILED", "CANCELLED")


class Healed(Protocol):
    """What is looked at."""

    auditor: Auditor
    nodes: dict[str, Node]
    couriers: list[Courier]

    def free(self) -> dict[str, room.Amounts]: ...
    def home_complaints(self) -> Iterator[Broken]: ...


def complaint(world: Healed) -> Broken | None:
    """The first thing that is not as it must be, None when all is well."""
    return next(_complaints(world), None)


def _complaints(world: Healed) -> Iterator[Broken]:
    dispatcher = world.nodes["dispatcher"].core
    views = {view.key: view for view in dispatcher.units_whole("")}
    for courier in world.couriers:
        if courier.open_count:
            yield Broken("requests are answered", f"{courier.open_count} at {courier.name}")
    yield from _ledger(world.auditor, views)
    yield from _watchers(world.auditor, views)
    free = world.free()
    for promise in world.auditor.promises.by_key.values():
        if promise.is_acked:
            yield from _unit(world.auditor, promise, views.get(promise.key), free)
    yield from _tables(world, free)
    yield from _releases(world)
    yield from world.home_complaints()


def _ledger(auditor: Auditor, views: dict[str, UnitView]) -> Iterator[Broken]:
    """What the ledger holds is what the dispatcher thinks is bound, and where."""
    thought: dict[Any, tuple[str, str]] = {}
    for view in views.values():
        for r in view.replicas:
            if Phase.__members__[r.phase.upper()] in HOLDS_CLAIM or is_amending(r):
                thought[(uid_of(view.key), r.group, r.ordinal)] = (r.node, view.key)
    held = auditor.ledger.claims()
    for name, claim in held.items():
        if name not in thought:
            seen = f"{claim.node} holds {claim.replica} that the dispatcher does not know as bound"
            yield Broken("ledger and dispatcher agree", seen, claim.uid)
        elif thought[name][0] != claim.node:
            seen = f"{claim.replica} is on {claim.node}, thought on {thought[name][0]}"
            yield Broken("ledger and dispatcher agree", seen, claim.uid)
    for name, (node, key) in thought.items():
        if name not in held:
            seen = f"{name[1:]} is thought on {node} and holds nothing"
            yield Broken("ledger and dispatcher agree", seen, key)


def _watchers(auditor: Auditor, views: dict[str, UnitView]) -> Iterator[Broken]:
    """Who has watched all the time sees what a fresh list shows."""
    for key, view in views.items():
        told = auditor.watch.units.get(key)
        for replica, (phase, node, _) in picture_of(view).phases.items():
            seen = told.phases.get(replica) if told is not None else None
            before = seen[:2] if seen is not None else (Phase.WAITING, "")
            is_equal = before[0] is phase and (phase not in HOLDS_CLAIM or before[1] == node)
            if not is_equal:
                text = f"{replica} is {phase.name} on {node}, watchers know {before}"
                yield Broken("watchers are told", text, key)


def _unit(
    auditor: Auditor, promise: Promise, view: UnitView | None, free: dict[str, room.Amounts]
) -> Iterator[Broken]:
    if view is None:
        if not auditor.is_over(promise):
            yield Broken("acked implies durable", "is not known any more", promise.key)
        return
    word = view.word.upper()
    if promise.is_cancel_acked and word not in OVER:
        yield Broken("cancelled units end", f"is {view.word}", promise.key)
    if view.revision < promise.acked_revision or view.revision not in promise.contents:
        seen = f"revision {view.revision}, acked {promise.acked_revision}"
        yield Broken("acked implies durable", seen, promise.key)
        return
    yield from _reports(promise, view)
    if word not in OVER:
        yield from _waiting(auditor, promise, view, free)


def _reports(promise: Promise, view: UnitView) -> Iterator[Broken]:
    """What was reported and acknowledged is known."""
    for r in view.replicas:
        reported = promise.reported.get((view.revision, r.group, r.ordinal))
        if reported is not None and Phase.__members__[r.phase.upper()] < reported:
            seen = f"{r.group}/{r.ordinal} is {r.phase}, reported {reported.name}"
            yield Broken("acked implies durable", seen, promise.key)


def _waiting(
    auditor: Auditor, promise: Promise, view: UnitView, free: dict[str, room.Amounts]
) -> Iterator[Broken]:
    """A unit with replicas that are not bound says why, and does not fit."""
    phases = Counter(r.phase.upper() for r in view.replicas)
    if any(is_amending(r) for r in view.replicas):
        yield from _amending(auditor, promise, view, free)
        return
    if phases["PLACING"]:
        yield Broken("nothing is under way for ever", f"is {view.word}", promise.key)
        return
    waiting = Counter(r.group for r in view.replicas if r.phase.upper() == "WAITING")
    if not waiting:
        return
    if not view.why:
        yield Broken("what waits says why", f"{phases}", promise.key)
    if promise.is_incomplete:
        return
    groups = promise.contents[view.revision]
    if _is_refused_amend(promise, view):
        return
    short = _short_of(groups, waiting)
    wanted = [short] if short else [[(groups[group], 1)] for group in sorted(waiting)]
    for needed in wanted:
        if room.surely_fits(auditor.nodes.specs(), free, needed):
            seen = f"{view.word} ({view.why}) although there is room for {needed}"
            yield Broken("what fits is bound", seen, promise.key)


def is_amending(replica: ReplicaView) -> bool:
    """Whether a replica keeps its old room while its new one is asked for."""
    return replica.phase.upper() == "PLACING" and bool(replica.node)


def _amending(
    auditor: Auditor, promise: Promise, view: UnitView, free: dict[str, room.Amounts]
) -> Iterator[Broken]:
    """An amendment in place waits only while what it asks for more does not fit."""
    left: dict[str, Counter[str]] = {}
    specs = {node.name: node for node in auditor.nodes.specs()}
    is_fitting = True
    for name, claim in auditor.ledger.claims().items():
        if name[0] != uid_of(promise.key):
            continue
        new = promise.contents[view.revision][name[1]]
        old = promise.contents[claim.revision][name[1]]
        more = left.setdefault(claim.node, Counter(free.get(claim.node, {})))
        more.update(room.demand_of(old.klass))
        more.subtract(room.demand_of(new.klass))
        node = specs.get(claim.node)
        is_fitting &= node is not None and room.is_allowed(node, new.klass, new.pin)
        is_fitting &= new.klass.between == old.klass.between
    if is_fitting and all(amount >= 0 for more in left.values() for amount in more.values()):
        yield Broken("what fits is bound", f"the amendment of {view.key} fits", promise.key)


def _is_refused_amend(promise: Promise, view: UnitView) -> bool:
    return promise.places.get(view.revision) == Place.KEEP and any(
        Phase.__members__[r.phase.upper()] in HOLDS_CLAIM for r in view.replicas
    )


def _short_of(groups: tuple[GroupSpec, ...], waiting: Counter[int]) -> list[tuple[GroupSpec, int]]:
    """How many replicas each group needs to reach its minimum."""
    needed = [(spec, spec.min - (spec.count - waiting[group])) for group, spec in enumerate(groups)]
    return [(spec, count) for spec, count in needed if count > 0]


def _tables(world: Healed, free: dict[str, room.Amounts]) -> Iterator[Broken]:
    """Every scheduler sees the room that the ledger leaves."""
    for node in world.nodes.values():
        if node.role != "scheduler":
            continue
        seen = world.auditor.tables.free(node)
        if seen is None:
            yield Broken("schedulers follow the ledger", f"{node.name} is not ready")
            continue
        for name, amounts in free.items():
            amounts = room.without_ports(amounts)
            shown = {r: seen.get(name, {}).get(r, 0) for r in amounts}
            if shown != amounts:
                text = f"{node.name} sees {shown} free on {name}, it is {amounts}"
                yield Broken("schedulers follow the ledger", text)


def _releases(world: Healed) -> Iterator[Broken]:
    """A release that is not complete has as many rows out of service as it may have."""
    effects = world.nodes["sharding"].core.handle(
        world.nodes["sharding"].now_us, Request(0, ListRollingsets())
    )
    answers = [effect.body for effect in effects if isinstance(effect, Answer)]
    for view in answers[0].views:
        spec = view.spec
        if view.word in ("Settled", "Canary", "Paused", "Deleted"):
            continue
        if all(v.version == view.latest for v in view.versions if v.rows):
            continue  # Nothing is left to release; whether its rows wait rightly is `_unit`'s.
        out = spec.rows - view.ready_rows
        if out < min(int(spec.max_unavailable), spec.rows) or out <= 0:
            seen = f"{view.word}, {view.ready_rows} of {spec.rows} rows serve: {view.why}"
            yield Broken("releases complete", seen, f"{spec.name}/")
