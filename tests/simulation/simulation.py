"""One history: four kinds of processes, their links, whoever uses them, and what strikes them.

`Simulation(seed).run()` lets the history happen: load and faults until there was enough of both,
then healing, then convergence within HEAL_US. It raises Broken when a rule does not hold. The cores
are the shipped ones, unmodified; everything around them is simulated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from binder.config import BinderConfig
from binder.core import BinderCore
from binder.records import Record as BinderRecord
from cell.effects import Publish, Send
from cell.messages import Assign, Changes, Plan, UnitView
from dispatcher.config import DispatcherConfig
from dispatcher.core import DispatcherCore
from dispatcher.records import Record as DispatcherRecord
from scheduler.config import SchedulerConfig
from scheduler.core import SchedulerCore
from sharding.core import RollingCore
from sharding.spec import Limits
from sharding.table import Record as RollingRecord
from tests.simulation import room
from tests.simulation.auditor import Auditor
from tests.simulation.clients import Clients
from tests.simulation.cluster import Cluster, Desk
from tests.simulation.controller_line import ControllerLine
from tests.simulation.convergence import complaint
from tests.simulation.faults import Faults
from tests.simulation.kubelets import Kubelets
from tests.simulation.load import drawn_classes, drawn_mix
from tests.simulation.network import Luck, Port, Wire
from tests.simulation.node import Node
from tests.simulation.releases import Releases
from tests.simulation.requests import Courier
from tests.simulation.store import Store
from tests.simulation.world import MS, SECOND, START_US, Broken, World

EVENTS_MIN = 500
FAULTS_MIN = 3
CHAOS_US_MIN = 2 * SECOND
CHAOS_US_MAX = 60 * SECOND
HEAL_US = 30 * SECOND
WINDOW_US = 500 * MS
NEVER_MS = 3_600_000
"""Nets below (retries by time alone) are out of reach: what they would catch must not happen."""


class Simulation:
    """See the module."""

    title = "simulation"
    """What the sums of such histories are printed under."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.luck = Luck()
        self.auditor = self._make_auditor()
        self.nodes: dict[str, Node] = {}
        self.wires: list[Wire] = []
        self.couriers: list[Courier] = []
        self._is_stall_due = self._is_cordon_due = False
        self._mix = drawn_mix(self.world)
        self._make_nodes()
        self._join_nodes()
        self._make_actors()
        self._faults = Faults(self, self._own_faults())

    def run(self) -> None:
        """Let the history happen. Raises Broken."""
        for node in self.nodes.values():
            node.start()
        self._cluster.begin()
        self._clients.begin()
        self._releases.begin()
        self._faults.begin()
        self._storm()
        self._heal()

    # Phases

    def _storm(self) -> None:
        """Load and faults, until there was enough of both."""
        world = self.world
        end_us = START_US + CHAOS_US_MIN + world.between(0, 2 * SECOND)
        world.run_until(end_us)
        while world.events_given < EVENTS_MIN or sum(world.faults.values()) < FAULTS_MIN:
            end_us += WINDOW_US
            assert end_us < START_US + CHAOS_US_MAX, "a seed must have events and faults"
            world.run_until(end_us)

    def _heal(self) -> None:
        """No more faults and no new load: everything must end well, in a stated time."""
        world = self.world
        self._clients.is_over = self._cluster.is_over = self._releases.is_over = True
        self._kubelets.may_fail = False
        self._faults.heal()
        limit_us = world.now_us + HEAL_US
        while True:
            world.run_until(world.now_us + WINDOW_US)
            found = complaint(self)
            if found is None:
                return
            if world.now_us >= limit_us:
                raise found
            if self.nodes["dispatcher"].is_running:
                self._kubelets.relist()

    def free(self) -> dict[str, room.Amounts]:
        """The room that is left on each node, according to the auditor."""
        return self.auditor.ledger.free()

    def home_complaints(self) -> Iterator[Broken]:
        """What is not as it must be in the home itself, in the end."""
        return iter(())

    # What the nodes tell; the auditor hears it first

    def given(self, node: Node, event: Any) -> None:
        """See node.Ear."""
        self.auditor.given(node, event)

    def took(self, node: Node, event: Any, effects: list[Any]) -> None:
        """See node.Ear."""
        self.auditor.took(node, event, effects)

    def performed(self, node: Node, effect: Any) -> None:
        """See node.Ear."""
        self.auditor.performed(node, effect)
        if self._is_stall_due and isinstance(effect, Send) and isinstance(effect.body, Assign):
            self._stall(effect.peer, effect.body)
        if self._is_cordon_due and isinstance(effect, Send) and isinstance(effect.body, Plan):
            self._cordon_under(node, effect.body)
        if isinstance(effect, Publish) and isinstance(effect.body, Changes):
            self._kubelets.published(effect.body)
            self.line.published(effect.body)

    def started(self, node: Node) -> None:
        """See node.Ear."""
        self.auditor.started(node)
        if node.role == "dispatcher":
            self.world.after(50 * MS, lambda: node.behind(self._kubelets.relist))

    # Wiring

    def _make_nodes(self) -> None:
        luck = self.world.random
        dispatching = DispatcherConfig(
            units_max=luck.choice((40, 1000)),
            finished_max=luck.choice((2, 10, 1000)),
            classes_max=luck.choice((8, 1000)),
            names_max=luck.choice((16, 1000)),
            retry_after_ms=100,
            backoff_ms_max=luck.choice((50, 500)),
            parked_retry_ms_max=NEVER_MS,
            flight_ms_max=NEVER_MS,
            wave_min=luck.choice((1, 8)),
            woken_max=luck.choice((4, 1000)),
            ack_rows_max=luck.choice((1, 16)),
        )
        binding = BinderConfig(
            masks_max=luck.choice((3, 64)), settle_rows_max=luck.choice((2, 16, 256))
        )
        scheduling = SchedulerConfig(
            plan_rows_max=luck.choice((4, 800)), class_slots_max=luck.choice((16, 64))
        )
        releasing = Limits(call_items_max=luck.choice((2, 100)), recover_backoff_ms_min=50)
        self._add_binder(binding)
        self._add_dispatcher(dispatching)
        self._add("sharding", "sharding", RollingRecord, lambda term: RollingCore(releasing))
        partitions = luck.choice((2, 2, 3))
        for i in range(partitions):
            self._add_scheduler(f"scheduler-{i}", i, partitions, scheduling)

    def _make_auditor(self) -> Auditor:
        return Auditor(is_gang_atomic=True)

    def _own_faults(self) -> dict[str, Callable[[], None]]:
        """Faults that need more than processes and wires."""
        return {"stalled scheduler": self._stall_next, "cordoned node": self._cordon_next}

    def _stall_next(self) -> None:
        self._is_stall_due = True

    def _cordon_next(self) -> None:
        self._is_cordon_due = True

    def _cordon_under(self, scheduler: Node, body: Plan) -> None:
        """A node of a plan is cordoned while the plan is on its way."""
        if self.world.is_healed:
            return
        node = self.world.random.choice(body.rows.node.tolist())
        name = self.auditor.tables.name_of(scheduler, node)
        if self._cluster.cordon_for_a_while(name):
            self._is_cordon_due = False
            self.world.fault("cordoned node", name)

    def _stall(self, name: str, body: Assign) -> None:
        """The scheduler stands still with its plan; meanwhile a unit of it is cancelled, and the
        dispatcher may lose sight of it: the plan comes after the attempt is void."""
        world, node = self.world, self.nodes[name]
        self._is_stall_due = False
        world.fault("stalled scheduler", name)
        node.ambush(1, lambda: node.pause(world.between(100 * MS, 380 * MS)))
        uids = list(zip(body.rows.uid_hi.tolist(), body.rows.uid_lo.tolist(), strict=True))
        uid = world.random.choice(uids)
        world.after(world.between(MS, 60 * MS), lambda: self._clients.cancel(uid))
        if world.chance(0.5):
            port = self.nodes["dispatcher"].ports[name]
            assert isinstance(port, Port)
            world.after(world.between(MS, 60 * MS), port.break_session)

    def _add_binder(self, config: BinderConfig) -> None:
        self._add("binder", "binder", BinderRecord, lambda term: BinderCore(term, config))

    def _add_dispatcher(self, config: DispatcherConfig) -> None:
        self._add(
            "dispatcher", "dispatcher", DispatcherRecord, lambda term: DispatcherCore(term, config)
        )

    def _add(
        self, name: str, role: str, union: Any, make: Callable[[int], Any], *, has_log: bool = True
    ) -> Node:
        store = Store(self.world, name, union) if has_log else None

        def build(term: int, records: list[Any]) -> Any:
            core = make(term)
            if has_log:
                core.restore(records)
            return core

        node = Node(self.world, name, role, store, build, self)
        self.nodes[name] = node
        return node

    def _add_scheduler(self, name: str, i: int, partitions: int, config: SchedulerConfig) -> None:
        def make(term: int) -> SchedulerCore:
            return SchedulerCore(name, i, partitions, config)

        node = self._add(name, "scheduler", None, make, has_log=False)
        profiles = make(0).profiles
        node.hello_fields = {"partition": i, "partitions": partitions, "profiles": profiles}

    def _join_nodes(self) -> None:
        self._wire("dispatcher", "binder")
        for node in self.nodes.values():
            if node.role == "scheduler":
                self._wire(node.name, "dispatcher")
                self._wire(node.name, "binder")
        self.line = ControllerLine(self.world, self.nodes["sharding"], self.nodes["dispatcher"])
        self.nodes["sharding"].ports["dispatcher"] = self.line

    def _wire(self, dialer: str, acceptor: str) -> None:
        one = Port(self.world, self.nodes[dialer], acceptor, is_dialer=True)
        other = Port(self.world, self.nodes[acceptor], dialer, is_dialer=False)
        self.nodes[dialer].ports[acceptor] = one
        self.nodes[acceptor].ports[dialer] = other
        self.wires.append(Wire(self.world, self.luck, one, other))

    def _make_actors(self) -> None:
        world, mix = self.world, self._mix
        placement, cluster, release, kubelet = (
            Courier(world, self.nodes[name])
            for name in ("dispatcher", "binder", "sharding", "dispatcher")
        )
        self.couriers = [placement, cluster, release, kubelet]
        self.classes = classes = drawn_classes(world)
        self._cluster = Cluster(world, mix, self._operator_desk(cluster))
        self._releases = Releases(world, mix, classes, release)
        budget = int(self._cluster.cpu * mix.demand_ratio) - self._releases.cpu
        self._clients = Clients(world, mix, classes, self._client_desk(placement), budget)
        self._kubelets = self._make_kubelets(kubelet)

    def _client_desk(self, courier: Courier) -> Desk:
        """Whom clients ask."""
        return courier

    def _operator_desk(self, courier: Courier) -> Desk:
        """Whom the cluster's operator asks."""
        return courier

    def _make_kubelets(self, courier: Courier) -> Kubelets:
        return Kubelets(self.world, self._mix, courier, self._listed)

    def _listed(self) -> list[UnitView]:
        core = self.nodes["dispatcher"].core
        return [] if core is None else list(core.units_whole(""))
