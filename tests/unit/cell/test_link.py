"""The link discipline under every single fault of a transport."""

from typing import Any

import pytest

from cell.link import HEARTBEAT_US, SUSPECT_US, Frame, Hello, Link


def a_pair() -> tuple[Link, Link]:
    """A dialer and an acceptor whose session is up."""
    dialer, acceptor = (
        Link(Hello(name="s", role="scheduler")),
        Link(Hello(name="d", role="dispatcher")),
    )
    _, replies = acceptor.receive(0, dialer.open(0, 1))
    for reply in replies:
        dialer.receive(0, reply)
    return dialer, acceptor


def test_a_session_begins_with_a_hello_each_way() -> None:
    dialer, acceptor = a_pair()
    assert dialer.is_up
    assert acceptor.is_up


def test_a_doubled_frame_is_delivered_once() -> None:
    dialer, acceptor = a_pair()
    frame = dialer.frame(1, "body")
    assert acceptor.receive(1, frame)[0] == ["body"]
    assert acceptor.receive(2, frame)[0] == []
    assert acceptor.is_up


def test_a_gap_ends_the_session_and_nothing_more_of_it_is_delivered() -> None:
    dialer, acceptor = a_pair()
    lost, late = dialer.frame(1, "lost"), dialer.frame(1, "late")
    assert acceptor.receive(1, late) == ([], [])
    assert acceptor.is_ended
    assert acceptor.receive(2, lost) == ([], [])


def test_a_lost_last_frame_is_noticed_by_the_heartbeat() -> None:
    dialer, acceptor = a_pair()
    dialer.frame(1, "lost")
    heartbeat = dialer.tick(1 + HEARTBEAT_US)
    assert heartbeat is not None
    acceptor.receive(HEARTBEAT_US, heartbeat)
    assert acceptor.is_ended


def test_an_old_heartbeat_that_comes_late_is_no_gap() -> None:
    dialer, acceptor = a_pair()
    heartbeat = dialer.tick(HEARTBEAT_US)
    assert heartbeat is not None
    assert acceptor.receive(HEARTBEAT_US, dialer.frame(HEARTBEAT_US, "x"))[0] == ["x"]
    acceptor.receive(HEARTBEAT_US, heartbeat)
    assert acceptor.is_up


def test_silence_ends_the_session() -> None:
    dialer, _ = a_pair()
    dialer.tick(SUSPECT_US - 1)
    assert dialer.is_up
    dialer.tick(SUSPECT_US)
    assert dialer.is_ended


def test_frames_of_an_old_session_are_ignored() -> None:
    dialer, acceptor = a_pair()
    old = dialer.frame(1, "old")
    acceptor.receive(2, dialer.open(2, 2))
    assert acceptor.session == 2
    assert acceptor.receive(3, old) == ([], [])
    assert acceptor.is_up


def test_a_hello_of_an_old_session_that_comes_late_changes_nothing() -> None:
    dialer, acceptor = a_pair()
    stale = Frame(0, 1, Hello(name="s", role="scheduler"))
    assert acceptor.receive(1, stale) == ([], [])
    assert acceptor.session == 1
    assert dialer.is_up


@pytest.mark.parametrize("body", [Hello(name="x", role="scheduler"), Hello(name="s", role="x")])
def test_a_second_hello_ends_the_session(body: Hello) -> None:
    dialer, acceptor = a_pair()
    assert acceptor.receive(1, dialer.frame(1, body)) == ([], [])
    assert acceptor.is_ended
    assert not acceptor.is_up


def test_a_session_that_does_not_begin_with_a_hello_ends() -> None:
    dialer = Link(Hello(name="s", role="scheduler"))
    dialer.open(0, 1)
    assert dialer.receive(1, Frame(1, 1, "body")) == ([], [])
    assert dialer.is_ended


@pytest.mark.parametrize(
    ("fields", "want_up"),
    [
        ({"name": "s" * 253}, True),
        ({"name": "s" * 254}, False),
        ({"name": ""}, False),
        ({"name": "s\n"}, False),
        ({"name": "s s"}, False),
        ({"partition": 2, "partitions": 3}, True),
        ({"partition": 3, "partitions": 3}, False),
        ({"partition": -1, "partitions": 3}, False),
        ({"partition": 0, "partitions": 0}, False),
    ],
)
def test_a_hello_names_a_peer_and_its_part(fields: dict[str, Any], want_up: bool) -> None:
    dialer = Link(Hello(**{"name": "s", "role": "scheduler", **fields}))
    acceptor = Link(Hello(name="d", role="dispatcher"))
    bodies, replies = acceptor.receive(0, dialer.open(0, 1))
    assert (acceptor.is_up, bool(bodies), bool(replies)) == (want_up, want_up, want_up)
    assert acceptor.is_ended is not want_up


def test_another_protocol_is_refused() -> None:
    dialer = Link(Hello(name="s", role="scheduler", protocol_min=9, protocol_max=9))
    acceptor = Link(Hello(name="d", role="dispatcher"))
    acceptor.receive(0, dialer.open(0, 1))
    assert acceptor.is_ended
