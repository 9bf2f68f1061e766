"""Who is told why pods wait: whom, when, how fast, and what is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.home import Line, Tell
from runtime.kubernetes import telling as module
from runtime.kubernetes.access import Access
from runtime.kubernetes.api import Api, Reply, Unknown
from runtime.kubernetes.events import NOTE_BYTES_MAX, Events, Refusals, Successes, cut
from runtime.kubernetes.objects import Name, Pods
from runtime.kubernetes.telling import REST_SECONDS, Bucket, Telling
from runtime.log import Log

OURS = "godel-scheduler"
NO_CPU = "no node fits: 3 insufficient cpu"
NO_NODES = "the cluster has no nodes"


class Server(Api):
    """Answers writes from memory; `hold` lets them wait."""

    def __init__(self) -> None:
        super().__init__(Access())
        self.written: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        """(name of the pod, message or event's note), in order."""
        self.status = {"PATCH": 200, "POST": 201}
        self.is_silent = False
        self.field = ""
        """That a refusal names."""
        self.version = 100
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.bodies: list[Any] = []

    async def call(self, method: str, path: str, body: Any = None, *rest: Any, **_: Any) -> Reply:
        document = msgspec.json.decode(body)
        self.bodies.append(document)
        if method == "PATCH":
            said = document["status"]["conditions"][0]["message"]
            self.written.put_nowait((path.split("/")[-2], said))
        else:
            note = document["note"]
            self.written.put_nowait((f"event {document['regarding']['name']}", note))
        await self.may_answer.wait()
        if self.is_silent:
            raise Unknown("silent")
        self.version += 1
        answer = {"metadata": {"resourceVersion": str(self.version)}, "message": "forbidden"}
        answer |= {"details": {"causes": [{"field": self.field}]}}
        return Reply(self.status[method], msgspec.json.encode(answer))

    async def next(self, count: int) -> list[tuple[str, Any]]:
        """So many writes."""
        return [await self.written.get() for _ in range(count)]


class World:
    """A teller with its pods, fed by hand."""

    def __init__(self, per_second_max: float = 1e6) -> None:
        self.server = Server()
        self.log = StringIO()
        self.pods = Pods(OURS)
        log = Log("test", self.log)
        refusals = Refusals(log)
        self.events = Events(self.server, OURS, "binder", refusals, lambda: True)
        self.telling = Telling(
            self.server, self.pods, self.events, refusals, per_second_max, lambda: True
        )
        self.successes = Successes(self.events, log)

    def show(self, name: str, *, version: int = 1, is_deleted: bool = False, **spec: Any) -> None:
        """The watch shows a pod; `message` is that of its condition."""
        told = spec.pop("message", "")
        conditions = [
            {"type": "Ready", "status": "False"},
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": spec.pop("reason", "Unschedulable"),
                "message": told,
            },
        ]
        metadata = {"name": name, "namespace": "shop", "uid": uid_of(name)}
        metadata["resourceVersion"] = str(version)
        pod = {
            "metadata": metadata,
            "spec": {"containers": [{"name": "c", "image": "i"}], "schedulerName": OURS, **spec},
            "status": {"phase": "Pending", **({"conditions": conditions} if told else {})},
        }
        raw = msgspec.Raw(msgspec.json.encode(pod))
        self.telling.see(self.pods.take(raw, is_deleted=is_deleted))

    def tell(self, text: str, *names: str) -> None:
        """The dispatcher says why pods wait."""
        uids = [self.pods.unit_of(a_name(name)) for name in names]
        self.telling.tell(Tell(tuple(Line(hi, lo, text) for hi, lo in uids)))

    def listed(self, *names: str) -> None:
        kept = {a_name(name) for name in names}
        self.pods.forget_others(kept)
        self.telling.listed(kept)


def uid_of(name: str) -> str:
    return str(UUID(bytes=name.encode().rjust(16, b"-")))


def a_name(name: str) -> Name:
    return Name("shop", name, uid_of(name))


async def idle() -> None:
    """Let everything happen that can happen without time."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world whose teller writes."""
    made = World()
    running = [asyncio.ensure_future(run()) for run in (made.telling.run, made.successes.run)]
    yield made
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_pod_is_told_once_and_again_when_the_line_is_another(world: World) -> None:
    world.show("a")
    world.tell(NO_CPU, "a")
    assert await world.server.next(2) == [("a", NO_CPU), ("event a", NO_CPU)]
    body, event = world.server.bodies
    assert body["metadata"] == {"uid": uid_of("a")}
    assert body["status"]["conditions"][0].pop("lastTransitionTime").endswith("Z")
    assert body["status"]["conditions"] == [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_CPU}
    ]
    assert (event["type"], event["reason"]) == ("Warning", "FailedScheduling")
    assert (event["reportingController"], event["reportingInstance"]) == (OURS, "binder")
    world.tell(NO_CPU, "a")
    world.show("a", version=101, message=NO_CPU)
    await idle()
    world.tell(NO_NODES, "a")
    assert await world.server.next(2) == [("a", NO_NODES), ("event a", NO_NODES)]
    assert "lastTransitionTime" not in world.server.bodies[2]["status"]["conditions"][0]


async def test_what_a_pod_says_already_is_not_written_again(world: World) -> None:
    world.show("a", message=NO_CPU)
    world.show("b", message=NO_CPU, reason="SchedulingGated")
    world.tell(NO_CPU, "a", "b")
    assert await world.server.next(2) == [("b", NO_CPU), ("event b", NO_CPU)]


async def test_line_that_comes_before_the_pod_is_told_with_it(world: World) -> None:
    world.tell(NO_CPU, "a", "gone")
    world.show("a")
    world.listed("a")
    assert await world.server.next(2) == [("a", NO_CPU), ("event a", NO_CPU)]
    assert len(world.telling._lines) == 1
    world.tell(NO_CPU, "unknown")
    assert len(world.telling._lines) == 1


async def test_newest_line_wins_while_a_write_is_under_way(world: World) -> None:
    world.server.may_answer.clear()
    world.show("a")
    world.tell("first", "a")
    assert await world.server.next(1) == [("a", "first")]
    world.tell("second", "a")
    world.tell("third", "a")
    await idle()
    assert world.server.written.empty()
    world.server.may_answer.set()
    assert await world.server.next(3) == [
        ("event a", "first"),
        ("a", "third"),
        ("event a", "third"),
    ]


async def test_an_older_view_than_our_own_write_says_nothing(world: World) -> None:
    world.show("a")
    world.tell(NO_CPU, "a")
    await world.server.next(2)
    await idle()
    world.show("a", version=50, message="of somebody else")
    await idle()
    assert world.server.written.empty()
    world.show("a", version=200, message="of somebody else")
    assert await world.server.next(1) == [("a", NO_CPU)]


@pytest.mark.parametrize("change", ["bound", "deleted", "gone"])
async def test_who_waits_no_more_is_left_alone(change: str) -> None:
    world = World()
    for name in ("a", "b"):
        world.show(name)
    world.tell(NO_CPU, "a", "b")
    match change:
        case "bound":
            world.show("a", version=2, nodeName="n1")
        case "deleted":
            world.show("a", version=2, is_deleted=True)
        case "gone":
            world.listed("b")
    running = asyncio.ensure_future(world.telling.run())
    assert await world.server.next(2) == [("b", NO_CPU), ("event b", NO_CPU)]
    await idle()
    assert world.server.written.empty()
    assert len(world.telling._lines) == 1
    running.cancel()


async def test_pod_that_is_not_understood_is_told_its_field(world: World) -> None:
    world.show("a", resourceClaims=[{"name": "gpu", "resourceClaimName": "gpu"}])
    (told, _) = await world.server.next(2)
    assert told[0] == "a"
    assert "resourceClaims" in told[1]


async def test_pods_of_others_and_with_gates_are_told_nothing(world: World) -> None:
    broken = [{"name": "c", "resources": {"requests": {"cpu": "many"}}}]
    world.show("a", schedulerName="other", containers=broken)
    world.show("b", schedulingGates=[{"name": "later"}], containers=broken)
    await idle()
    assert world.server.written.empty()


async def test_refusal_is_said_once_the_event_is_sent_and_it_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    world.server.status["PATCH"] = 403
    world.show("a")
    world.tell(NO_CPU, "a")
    assert await world.server.next(4) == [("a", NO_CPU), ("event a", NO_CPU), *[("a", NO_CPU)] * 2]
    assert world.log.getvalue().count("PATCH pods/status") == 1
    world.server.status["PATCH"] = 200
    await world.server.next(1)
    await idle()
    assert world.telling._waiting[a_name("a")].condition.message == NO_CPU


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_pod_whose_name_is_anothers_has_no_event(world: World, status: int) -> None:
    world.server.status["PATCH"], world.server.field = status, "metadata.uid"
    world.show("a")
    world.tell(NO_CPU, "a")
    assert await world.server.next(1) == [("a", NO_CPU)]
    await idle()
    assert world.server.written.empty()
    assert world.log.getvalue() == ""


async def test_what_is_refused_for_another_field_is_said(world: World) -> None:
    world.server.status["PATCH"], world.server.field = 422, "status.conditions"
    world.show("a")
    world.tell(NO_CPU, "a")
    assert await world.server.next(2) == [("a", NO_CPU), ("event a", NO_CPU)]
    assert "status=422" in world.log.getvalue()


async def test_who_may_not_be_told_now_is_told_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    world.server.is_silent = True
    world.show("a")
    world.tell(NO_CPU, "a")
    assert await world.server.next(2) == [("a", NO_CPU), ("a", NO_CPU)]
    world.server.is_silent = False
    while await world.server.next(1) != [("event a", NO_CPU)]:
        pass
    await idle()
    assert world.telling._waiting[a_name("a")].condition.message == NO_CPU


async def test_each_pod_bound_has_an_event_where_that_is_asked_for(world: World) -> None:
    world.successes.put(a_name("a"), "n1")
    assert await world.server.next(1) == [("event a", "Successfully assigned shop/a to n1")]


async def test_success_events_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.kubernetes.events.BOUND_MAX", 2)
    world = World()
    for name in ("a", "b", "c", "d"):
        world.successes.put(a_name(name), "n1")
    running = asyncio.ensure_future(world.successes.run())
    assert [name for name, _ in await world.server.next(2)] == ["event c", "event d"]
    assert world.log.getvalue().count("limit=2") == 1
    running.cancel()


async def test_names_and_notes_are_cut_to_what_the_server_takes(world: World) -> None:
    long = Name("shop", "a" * 229 + "." + "b" * 23, uid_of("x"))
    await world.events.failed(long, "x" * 5000)
    body = world.server.bodies[0]
    assert len(body["metadata"]["name"]) <= 253
    assert body["metadata"]["name"].startswith("a" * 229 + ".")
    assert ".." not in body["metadata"]["name"]
    assert len(body["note"].encode()) == NOTE_BYTES_MAX


@given(st.text(), st.integers(4, 50))
def test_cut_text_is_a_prefix_that_fits(text: str, size: int) -> None:
    found = cut(text, size)
    assert len(found.encode()) <= size
    assert found == text or text.startswith(found.removesuffix("..."))


@given(st.integers(1, 50), st.lists(st.floats(0, 3), max_size=60))
def test_bucket_lets_no_more_through_than_it_may(rate: int, pauses: list[float]) -> None:
    """In any span there are at most those of the span and of the rest before it."""
    bucket, now, times = Bucket(rate), 100.0, []
    for pause in pauses:
        now += pause
        times.append(now + bucket.take(now))
    assert times == sorted(times)
    for first in range(len(times)):
        for last in range(first, len(times)):
            span = times[last] - times[first]
            assert last - first + 1 <= rate * (span + REST_SECONDS) + 1 + 1e-6
