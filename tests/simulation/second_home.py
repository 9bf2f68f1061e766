"""A history on the second home: the API server is the authority, the binder one of its writers.

Beside the cores' own faults: calls lost, late or throttled, a slow watch with gaps, a lease that is
lost, others who bind, delete and add objects, gangs of pods (`gang_pods`). Rules here: our binding
takes effect only while the ledger charges its room, never for what was told to have ended; without
the lease nothing is written; in the end objects, ledger and dispatcher agree, no gang is torn by
our doing, no record is left behind, and who waits is told why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from binder.config import BinderConfig
from binder.home.apiserver import ApiServerBinder
from binder.records import Record as BinderRecord
from cell.classes import decode
from cell.effects import Send
from cell.home import (
    Evict,
    HomeUnit,
    LeaseLost,
    ObjectState,
    ObjectView,
    Post,
    Relisted,
    Replica,
    Tell,
    Write,
)
from cell.link import DERIVED
from cell.messages import Arrive, ClaimState
from cell.reasons import Wake
from cell.unit import Phase, uid_of
from dispatcher.config import DispatcherConfig
from dispatcher.core import DispatcherCore
from tests.simulation import room
from tests.simulation.api_server import HOLDS_ROOM, ApiServer
from tests.simulation.auditor import Auditor
from tests.simulation.cluster import Desk
from tests.simulation.faults import ENABLED_RATIO
from tests.simulation.gang_pods import GangPods
from tests.simulation.kubelets import Kubelets
from tests.simulation.kubelets import Replica as Reported
from tests.simulation.node import Node
from tests.simulation.observed import ObservedAuditor, ServerDesk
from tests.simulation.promises import Promise
from tests.simulation.record_book import RecordBook
from tests.simulation.requests import Courier
from tests.simulation.simulation import Simulation
from tests.simulation.unit_desk import PODS, UnitDesk, is_alone
from tests.simulation.watch_book import HOLDS_CLAIM
from tests.simulation.world import MS, SECOND, Broken

CONTROL_US = 100 * MS
STALE_US = SECOND
LOST_AT_WRITE_RATIO = 0.02
"""How often the lease is lost while a record is being written."""
LOST_AT_GANG_RATIO = 0.3
"""The same for a gang of pods: they are few."""
DELETED_RATIO = 0.3
"""How often a client deletes a unit without objects instead of reporting its end."""
OVER = ("DONE", "FAILED", "CANCELLED")
PARKED = {wake.name for wake in Wake if wake}
"""What may wake a unit tells that it is parked."""


class SecondHome(Simulation):
    """See the module."""

    title = "second home"

    def __init__(self, seed: int) -> None:
        self._touched: set[tuple[int, int]] = set()
        """Units with objects that others have bound or deleted, or that went with their nodes: that
        their gangs are torn is not our doing."""
        self._made: set[str] = set()
        self._strangers = 0
        self._lines: dict[tuple[int, int], str] = {}
        """Why units wait, as the present binder was told."""
        self._life_without_lease = 0
        """The life of the binder that has lost its lease, if it has not ended."""
        super().__init__(seed)
        self._clients.may_amend = self._clients.may_join = False
        self._releases.wanted.clear()
        self.server.on_bound = self._bound
        self._records = RecordBook(self.auditor)
        self.server.on_recorded = self._recorded
        self.server.on_collected = self._touch
        self.world.after(CONTROL_US, self._control)
        self._pods = GangPods(self.world, self.server, self.auditor, self.classes)
        self._pods.begin()

    # Wiring

    def _make_auditor(self) -> Auditor:
        self.server = ApiServer(self.world)
        self._desk = ServerDesk(self.world, self.server)
        return ObservedAuditor(self._desk)

    def _operator_desk(self, courier: Courier) -> Desk:
        return self._desk

    def _make_kubelets(self, courier: Courier) -> Kubelets:
        return PodKubelets(self, courier)

    def _client_desk(self, courier: Courier) -> Desk:
        return UnitDesk(self.server, self.auditor.promises, courier)

    def _add_dispatcher(self, config: DispatcherConfig) -> None:
        def make(term: int) -> DispatcherCore:
            return DispatcherCore(term, config, is_stored=False)

        node = self._add("dispatcher", "dispatcher", None, make, has_log=False)
        node.home = lambda call: self.server.call(node, call)

    def _add_binder(self, config: BinderConfig) -> None:
        def make(term: int) -> ApiServerBinder:
            return ApiServerBinder(term, config_of(config))

        node = self._add("binder", "binder", BinderRecord, make)
        node.hello_fields = {"features": (DERIVED,)}
        node.home = lambda effect: self._perform(node, effect)

    def _perform(self, node: Node, effect: Any) -> None:
        if isinstance(effect, Tell):
            self._lines.update({(line.uid_hi, line.uid_lo): line.text for line in effect.lines})
        else:
            self.server.call(node, effect)

    def started(self, node: Node) -> None:
        """A new binder knows nothing of what its former life was told."""
        super().started(node)
        if node.role == "binder":
            self._lines.clear()

    def _own_faults(self) -> dict[str, Callable[[], None]]:
        luck, server = self.world.random, self.server
        for owner, name, ratios in (
            (server, "throttled_ratio", (0.02, 0.1)),
            (server, "lost_ratio", (0.02, 0.1)),
            (server, "slow_ratio", (0.02, 0.1)),
            (server, "gathered_ratio", (0.3, 0.9)),
            (server.watch, "lag_us", (100 * MS, 500 * MS)),
            (server.watch, "list_us", (200 * MS, SECOND)),
        ):
            if luck.random() < ENABLED_RATIO:
                setattr(owner, name, luck.choice(ratios))
                if owner is server.watch:
                    self.world.fault(f"watch {name.removesuffix('_us')} slow")
        return {
            **super()._own_faults(),
            "foreign object": self._add_stranger,
            "object deleted": self._delete_object,
            "foreign binding": self._bind_object,
            "unit labelled": self._label_unit,
            "watch cut": self._cut_watch,
            "lease lost": self._lose_lease,
        }

    def _heal(self) -> None:
        self.server.gathered_ratio = 0.0
        self.server.throttled_ratio = self.server.lost_ratio = self.server.slow_ratio = 0.0
        self.server.watch.lag_us, self.server.watch.list_us = 20 * MS, 10 * MS
        self._pods.is_over = True
        super()._heal()

    # Faults

    def _add_stranger(self) -> None:
        luck = self.world.random
        if self.server.nodes:
            self.world.fault("foreign object")
            self._strangers += 1
            replica = Replica(1 << 63, self._strangers)
            klass = luck.choice(self.classes).encoded()
            self.server.create(
                replica, klass, node=luck.choice(list(self.server.nodes)), ours=False
            )
            view = self.server.objects[replica]
            wait_us = self.world.between(100 * MS, 3 * SECOND)
            self.world.after(wait_us, lambda: self.server.terminate(view))

    def _delete_object(self) -> None:
        view = self._any_object()
        if view is not None:
            self.world.fault("object deleted")
            self._touch(view)
            self.server.terminate(view)

    def _bind_object(self) -> None:
        view = self._any_object()
        if view is not None and view.state is ObjectState.PENDING and self.server.nodes:
            self.world.fault("foreign binding")
            self._touch(view)
            self._desk.foreign.add(view.object)
            self.server.bind(view, self.world.random.choice(list(self.server.nodes)))

    def _any_object(self) -> ObjectView | None:
        ours = [view for view in self.server.objects.values() if view.is_ours]
        return self.world.random.choice(ours) if ours else None

    def _touch(self, view: ObjectView) -> None:
        names = self.server.pod_groups.names_of(view)
        self._touched |= {(name.uid_hi, name.uid_lo) for name in names}
        self._pods.touched.add(self.server.pod_groups.gang_of(view.replica))

    def _label_unit(self) -> None:
        alone = [uid for uid in self.server.units if uid in self.server.alone]
        if alone:
            self.world.fault("unit labelled")
            self.server.touch_unit(self.world.random.choice(alone))

    def _cut_watch(self) -> None:
        self.world.fault("watch cut")
        self.server.cut_watch()

    def _lose_lease(self) -> None:
        """Another may lead; some time later a new term begins, with a new core."""
        node = self.nodes["binder"]
        if node.is_running and not node.is_paused and not self.world.is_healed:
            self.world.fault("lease lost")
            life = node.life
            node.give(LeaseLost())
            self.world.after(self.world.between(20 * MS, 600 * MS), lambda: self._lead_again(life))

    def _lead_again(self, life: int) -> None:
        node = self.nodes["binder"]
        if node.life == life:
            node.crash()
            node.start()

    # Whoever makes objects

    def given(self, node: Any, event: Any) -> None:
        """Objects are there before their unit is submitted, or soon after."""
        super().given(node, event)
        if node.role == "dispatcher" and self.world.chance(0.5):
            self._make_new()

    def _make_new(self) -> None:
        for promise in self.auditor.promises.by_key.values():
            if promise.key not in self._made and promise.contents and not promise.reached:
                self._made.add(promise.key)
                self._make_objects(promise, 1)

    def _control(self) -> None:
        """Controllers: every waiting replica has an object of its revision."""
        self.world.after(CONTROL_US, self._control)
        self._collect()
        views = {view.key: view for view in self._listed()}
        if not views:
            return
        for view in views.values():
            promise = self.auditor.promises.by_key.get(view.key)
            if promise is not None and view.word.upper() not in OVER:
                for r in view.replicas:
                    if r.phase.upper() in ("WAITING", "PLACING") and not promise.is_incomplete:
                        self._want(promise, view.revision, r.group, r.ordinal)

    def _collect(self) -> None:
        """The garbage collector: objects go with their unit."""
        for seen in list(self.server.objects.values()):
            uid = (seen.replica.uid_hi, seen.replica.uid_lo)
            is_pod = seen.replica in self.server.pod_groups.members
            if seen.is_ours and not is_pod and uid not in self.server.units:
                self.server.terminate(seen)

    def _is_old(self, view: ObjectView) -> bool:
        return self.world.now_us - self.server.since_us[view.replica] > STALE_US

    def _make_objects(self, promise: Promise, revision: int) -> None:
        for group, spec in enumerate(promise.contents[revision]):
            for ordinal in range(spec.count):
                self._want(promise, revision, group, ordinal)

    def _want(self, promise: Promise, revision: int, group: int, ordinal: int) -> None:
        if is_alone(promise.key) or promise.key.startswith(PODS):
            return
        uid = uid_of(promise.key)
        replica = Replica(*uid, group, ordinal)
        present = self.server.objects.get(replica)
        if present is None:
            klass = promise.contents[revision][group].klass.encoded()
            self.server.create(replica, klass, revision=revision)
        elif self._is_in_the_way(present, revision):
            self.server.terminate(present)

    def _is_in_the_way(self, present: ObjectView, revision: int) -> bool:
        if present.state is ObjectState.PENDING:
            return present.revision < revision
        has_ended = present.state in (ObjectState.DONE, ObjectState.FAILED)
        return has_ended and self._is_old(present)

    # Rules

    def took(self, node: Node, event: Any, effects: list[Any]) -> None:
        """Without the lease a binder only follows."""
        super().took(node, event, effects)
        if node.role != "binder":
            return
        if isinstance(event, Relisted):
            self._pods.listed(event.records)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.body, Arrive):
                self._pods.arrived(effect.body)
        if isinstance(event, LeaseLost):
            self._life_without_lease = node.life
        if node.life == self._life_without_lease:
            writes = [effect for effect in effects if isinstance(effect, Post | Evict | Write)]
            if writes:
                raise Broken("nothing is written without the lease", f"{writes}")
        for effect in effects:
            if isinstance(effect, Evict):
                self._check_eviction(effect.replica)
            elif isinstance(effect, Write):
                is_gang = effect.gang and effect.record is not None
                if self.world.chance(LOST_AT_GANG_RATIO if is_gang else LOST_AT_WRITE_RATIO):
                    self.world.after(self.world.between(1, 15 * MS), self._lose_lease)

    def _check_eviction(self, replica: Replica) -> None:
        """What the API server wants is evicted only with its gang, which cannot be completed."""
        self._pods.evicted(replica)
        uid = replica.uid_hi, replica.uid_lo
        record = self.server.records.get(uid)
        is_gang = record is not None and record.record is not None
        if uid in self.server.units and not is_gang:
            raise Broken("nothing is evicted for nothing", f"{replica}", uid)

    def _bound(self, view: ObjectView, life: int) -> None:
        """A binding took effect."""
        node, uid = self.nodes["binder"], (view.replica.uid_hi, view.replica.uid_lo)
        if not life:
            return
        self._pods.bound(view)
        if uid in self.auditor.watch.cancelled:
            raise Broken("cancelled never bound", f"posted to {view.node}", uid)
        book = self.auditor.ledger.unit(uid)
        if view.revision < book.fence:
            seen = f"posted revision {view.revision}, fence {book.fence}"
            raise Broken("older revision never after newer", seen, uid)
        self._pods.take_last(view)
        names = self.server.pod_groups.names_of(view)
        claims = [
            self.auditor.ledger.unit((n.uid_hi, n.uid_lo)).claims.get((n.group, n.ordinal))
            for n in names
        ]
        is_charged = any(claim is not None and claim.node == view.node for claim in claims)
        if node.life == life and not is_charged:
            seen = f"{view.replica} is bound to {view.node}, the ledger has {claims}"
            raise Broken("room is charged until the home has answered", seen, uid)

    def _recorded(self, unit: HomeUnit, life: int) -> None:
        node = self.nodes["binder"]
        self._records.wrote(unit, life, node.life)

    def free(self) -> dict[str, room.Amounts]:
        """What the API server's own objects and records leave."""
        left = {
            node.name: Counter(room.allocatable_of(node)) for node in self.server.nodes.values()
        }
        for view in self.server.objects.values():
            if view.state in HOLDS_ROOM and view.node in left:
                left[view.node].subtract(room.demand_of(decode(view.klass)))
        for uid, unit in self._units_alone():
            for (group, _), name in self._records.holds(uid).items():
                if name in left:
                    klass = unit.groups[group].klass
                    left[name].subtract(room.demand_of(decode(klass)))
        return {name: dict(amounts) for name, amounts in left.items()}

    def _units_alone(self) -> Iterator[tuple[tuple[int, int], HomeUnit]]:
        """Units without objects that are there."""
        for uid, unit in self.server.units.items():
            if uid in self.server.alone:
                yield uid, unit

    def home_complaints(self) -> Iterator[Broken]:
        """Objects and ledger agree, records are gone, gangs are whole."""
        claims = self.auditor.ledger.claims()
        bound = {}
        for view in self.server.objects.values():
            if view.is_ours and view.state in HOLDS_ROOM and view.node:
                r = view.replica
                bound[((r.uid_hi, r.uid_lo), r.group, r.ordinal)] = view.node
        for uid, _ in self._units_alone():
            for (group, ordinal), node in self._records.holds(uid).items():
                if node not in self.server.nodes:
                    yield Broken("nothing stays on a node that is gone", node, uid)
                bound[(uid, group, ordinal)] = node
        ours = {
            name: claim
            for name, claim in claims.items()
            if name[0][0] != 1 << 63 or name[0][1] == 0
        }
        for name in {*bound, *ours}:
            claim = ours.get(name)
            held = claim.node if claim is not None and claim.state == ClaimState.BOUND else None
            if held != bound.get(name):
                seen = f"{name[1:]} is on {bound.get(name)}, the ledger says {claim}"
                yield Broken("ledger and home agree", seen, name[0])
        for uid, record in self.server.records.items():
            if record.record is not None and uid not in self.server.alone:
                yield Broken("records end", f"{record.record}", uid)
        for unit in self._listed():
            if unit.word.upper() not in OVER and not self._is_wanted(unit.key):
                yield Broken("units that are over end", f"is {unit.word}", unit.key)
        yield from self._pods.complaints(self._lines, self.free())
        yield from self._torn_gangs()
        yield from self._untold()

    def _is_wanted(self, key: str) -> bool:
        groups = self.server.pod_groups
        gang = groups.formed_of(key)
        is_pod = Replica(*uid_of(key)) in self.server.objects
        return uid_of(key) in self.server.units or is_pod or gang in groups.gangs

    def _untold(self) -> Iterator[Broken]:
        """Who waits is told why: what the dispatcher knows of a parked unit, the binder knows."""
        for view in self._listed():
            told = self._lines.get(uid_of(view.key), "")
            if self.server.pod_groups.formed_of(view.key):
                told = view.why if view.why in self._lines.values() else ""
            if PARKED & set(view.wakes) and told != view.why:
                yield Broken("who waits is told why", f"{view.why!r}, told {told!r}", view.key)

    def _torn_gangs(self) -> Iterator[Broken]:
        for view in self._listed():
            promise = self.auditor.promises.by_key.get(view.key)
            if view.word.upper() in OVER or promise is None or uid_of(view.key) in self._touched:
                continue
            phases = [(r.group, Phase.__members__[r.phase.upper()]) for r in view.replicas]
            held = Counter(group for group, phase in phases if phase >= Phase.BOUND)
            # What was done before its gang could be repaired holds nothing any more.
            is_holding = any(phase in HOLDS_CLAIM for _, phase in phases)
            groups = promise.contents[view.revision]
            if is_holding and any(held[g] < spec.min for g, spec in enumerate(groups)):
                yield Broken("gang whole", f"holds {dict(held)}", view.key)


class PodKubelets(Kubelets):
    """Kubelets say the end of a pod to the API server; of a replica that is none its client says
    the end to the dispatcher, or deletes the unit."""

    def __init__(self, home: SecondHome, courier: Courier) -> None:
        super().__init__(home.world, home._mix, courier, home._listed)
        self._server = home.server

    def _report(self, replica: Reported, phase: Phase) -> None:
        if phase not in (Phase.DONE, Phase.FAILED):
            return
        key, revision, group, ordinal = replica
        if is_alone(key):
            if self._world.chance(DELETED_RATIO):
                self._server.end_unit(uid_of(key))
            else:
                super()._report(replica, phase)
            return
        name = self._server.pod_groups.single_of(Replica(*uid_of(key), group, ordinal))
        view = self._server.objects.get(name)
        if view is not None and view.revision == revision:
            is_done = phase is Phase.DONE
            self._server.finish(view, ObjectState.DONE if is_done else ObjectState.FAILED)


def config_of(config: BinderConfig) -> BinderConfig:
    """Short times, so that repairs happen within a history."""
    return BinderConfig(
        masks_max=config.masks_max,
        settle_rows_max=config.settle_rows_max,
        gang_repair_ms_max=1_500,
        post_retry_ms=100,
        posts_max=4,
    )
