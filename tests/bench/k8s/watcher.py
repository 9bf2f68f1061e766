"""The independent watcher: a process that sees when pods of one namespace appear and are bound.

`python -m tests.bench.k8s.watcher KUBECONFIG NAMESPACE COUNT` says `ready` when its watch is open,
`5` and `95` when that share of COUNT is bound, and when all are, one line of JSON: for each pod
when it was seen first and when bound, in seconds of the machine's monotonic clock. It shares the
decoder of JSON with what it observes, and nothing else.
"""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.controlplane.api import Api

READ_BYTES = 1 << 18
WATCH_SECONDS = 1800
MARKS = (5, 95)
"""Percent of the pods: between these two bindings a rate is measured."""


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Event(msgspec.Struct):
    type: str
    object: _Pod


_EVENT = msgspec.json.Decoder(_Event)


def mark_index(percent: int, count: int) -> int:
    """Which binding in order of time is that percentile's: the first is 0."""
    return max(0, percent * count // 100 - 1)


def events(api: Api, path: str) -> Iterator[tuple[float, _Event | None]]:
    """Each event with the time at which its bytes had arrived; None when a watch has been opened.

    The API server ends a watch without a word when it cannot write as fast as it would like to: it
    is begun again from the newest version seen.
    """
    version = 0
    while True:
        query = f"watch=1&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
        answer = api.stream(f"{path}?{query}")
        yield time.monotonic(), None
        for now, event in _read(answer):
            version = max(version, int(event.object.metadata.resource_version))
            yield now, event


def _read(answer: http.client.HTTPResponse) -> Iterator[tuple[float, _Event]]:
    left = b""
    while chunk := answer.read1(READ_BYTES):
        now = time.monotonic()
        *lines, left = (left + chunk).split(b"\n")
        for line in lines:
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                raise ConnectionError(line)
            yield now, event


def follow(api: Api, namespace: str, count: int) -> None:
    """See the module."""
    path = f"/api/v1/namespaces/{namespace}/pods"
    seen: dict[str, float] = {}
    bound: dict[str, float] = {}
    marks = {mark_index(percent, count): percent for percent in MARKS}
    for now, event in events(api, path):
        if event is None:
            print("ready", flush=True)
            continue
        name = event.object.metadata.name
        seen.setdefault(name, now)
        if event.object.spec.node_name and name not in bound:
            if len(bound) in marks:
                print(marks[len(bound)], flush=True)
            bound[name] = now
        if len(bound) == count:
            break
    times = [[seen[name], bound[name]] for name in bound]
    print(json.dumps(times), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    with Api(Path(sys.argv[1])) as connected:
        follow(connected, sys.argv[2], int(sys.argv[3]))
