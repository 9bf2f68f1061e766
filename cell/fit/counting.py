"""Kernels over counters: a replica comes or goes, and what the rules between replicas say of nodes.

A node's domain under a key that it lacks is the key's last, `sizes[key]`, which no counter counts.
`judge` first judges the domains of each key and then looks each node's up, so that it costs one
gather per key and node, whatever the number of checks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cell.jit import bare_njit

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Bits = NDArray[np.bool_]

R_PORT, R_AFFINITY, R_ANTI_AFFINITY, R_HELD, R_SPREAD = 30, 31, 32, 33, 34
R_CLAIM, R_DISK, R_VOLUMES = 37, 38, 39
"""Kinds of checks: the `cell.reasons.Reason` they refuse with, as numba reads it; a test compares
them."""
_MANY = 1 << 62


class Seats(NamedTuple):
    """Which volumes a node has attached, and for how many residents: open addressing, never full.

    An entry stays when nobody is left, until the table is made anew.
    """

    key: I64
    """[entry]: node and volume, 0 for none."""
    users: I64
    """[entry]"""
    filled: I64
    """[1]: entries in use."""


class Counts(NamedTuple):
    """Counters, the moves of each class in them, and the checks of each class against them."""

    domain: I32
    """[key, node]"""
    sizes: I32
    """[key]: domains that there is room for; of those without a node `members` and `pool` are 0."""
    key: I32
    """[counter]"""
    at: I64
    """[counter]: its first entry in the two pools."""
    pool: I64
    """[counter's domains ...]: residents counted."""
    members: I32
    """[counter's domains ...]: eligible nodes."""
    total: I64
    """[counter]: sum over its domains."""
    is_leaving_counted: Bits
    """[counter]"""
    row: I32
    """[counter]: its row in `eligible`, -1 where every node is."""
    eligible: Bits
    """[row, node]"""
    move_at: I32
    """[klass]: its first entry below."""
    move_count: I32
    """[klass]"""
    move_counter: I32
    move_weight: I32
    check_at: I32
    """[klass]: its first entry below."""
    check_count: I32
    """[klass]"""
    check_kind: U8
    check_counter: I32
    check_self: I64
    """1 where the replica would count itself."""
    check_skew: I64
    """Largest skew of a spread constraint."""
    check_least: I64
    """Domains without which a spread constraint's minimum is 0."""
    check_floor: I64
    """Scratch: the minimum as `look` found it."""
    wanted: I64
    """[check's volumes ...]: what `check_skew` to `check_least` of an R_VOLUMES check delimit."""
    limits: I64
    """[row, node]: volumes of a driver that the node can attach, -1 for any number."""
    limit_row: I32
    """[counter]: its row in `limits`, -1 where it is no driver's."""
    use_at: I32
    """[klass]: its first entry below."""
    use_count: I32
    """[klass]"""
    use_counter: I32
    use_volume: I64
    seats: Seats
    pull_at: I32
    """[klass]: its first entry below: wishes to be near some others, or far from them."""
    pull_count: I32
    """[klass]"""
    pull_counter: I32
    pull_weight: I64
    even_at: I32
    """[klass]: its first entry below: wishes to be spread."""
    even_count: I32
    """[klass]"""
    even_counter: I32
    even_label: I32
    """The key whose label a node needs to have a domain."""
    even_skew: I64
    even_needed: Bits
    """Whether nodes without the label are ignored."""
    bad: U8
    """[key, domain]: scratch."""
    why: U8
    """[node]: scratch."""
    worth: F64
    """[key, domain]: scratch."""
    pull: I64
    """[node]: scratch."""
    even: I64
    """[node]: scratch."""
    cost: F64
    """[node]: scratch."""


@bare_njit
def move(counts: Counts, klass: int, node: int, replicas: int, leaving: int) -> None:
    """So many replicas of the class come to the node (negative: go), of which some are leaving."""
    if klass < len(counts.move_at):
        begin = counts.move_at[klass]
        for i in range(begin, begin + counts.move_count[klass]):
            _count(counts, counts.move_counter[i], counts.move_weight[i], node, replicas, leaving)
    if klass < len(counts.use_at):
        begin = counts.use_at[klass]
        for i in range(begin, begin + counts.use_count[klass]):
            _attach(counts, counts.use_counter[i], counts.use_volume[i], node, replicas)


@bare_njit
def _count(
    counts: Counts, counter: int, weight: int, node: int, replicas: int, leaving: int
) -> None:
    """As `move`, in one counter."""
    row, key = counts.row[counter], counts.key[counter]
    domain = counts.domain[key, node]
    if domain == counts.sizes[key] or (row >= 0 and not counts.eligible[row, node]):
        return
    moved = replicas if counts.is_leaving_counted[counter] else replicas - leaving
    moved *= weight
    counts.pool[counts.at[counter] + domain] += moved
    counts.total[counter] += moved


@bare_njit
def count_all(
    counts: Counts, counter: int, weight: int, node: I64, replicas: I64, leaving: I64
) -> None:
    """Replicas of one class, all of them, in a counter that is new."""
    for i in range(len(node)):
        _count(counts, counter, weight, node[i], replicas[i], leaving[i])


@bare_njit
def enroll(counts: Counts, counters: int, nodes: I64, sign: int) -> None:
    """Eligible nodes come (sign -1: go) as members of their domains, in the first counters."""
    for counter in range(counters):
        row, key = counts.row[counter], counts.key[counter]
        if row < 0:
            continue
        for node in nodes:
            domain = counts.domain[key, node]
            if domain != counts.sizes[key] and counts.eligible[row, node]:
                counts.members[counts.at[counter] + domain] += sign


@bare_njit
def _seat(seats: Seats, volume: int, node: int) -> int:
    """The entry of a volume on a node, or the free one where it would be."""
    key = (np.int64(node) << 32) + volume + 1
    last = len(seats.key) - 1
    at = ((key * np.int64(-7046029254386353131)) >> 20) & last
    while seats.key[at] != key and seats.key[at] != 0:
        at = (at + 1) & last
    return int(at)


@bare_njit
def _attach(counts: Counts, counter: int, volume: int, node: int, replicas: int) -> None:
    """So many users more of a volume on a node (negative: fewer); counted while there is any."""
    seats = counts.seats
    at = _seat(seats, volume, node)
    if seats.key[at] == 0:
        if 8 * seats.filled[0] >= 7 * len(seats.key):
            return
        seats.key[at] = (np.int64(node) << 32) + volume + 1
        seats.filled[0] += 1
    before = seats.users[at]
    seats.users[at] = before + replicas
    counts.pool[counts.at[counter] + node] += int(before + replicas > 0) - int(before > 0)


@bare_njit
def _is_attachable(counts: Counts, i: int, counter: int, node: int) -> bool:
    """Whether the node can attach what a check wants and the node has not attached yet."""
    limit = counts.limits[counts.limit_row[counter], node]
    if limit < 0:
        return True
    wanted = counts.pool[counts.at[counter] + node]
    new = np.int64(0)
    for j in range(counts.check_skew[i], counts.check_least[i]):
        at = _seat(counts.seats, counts.wanted[j], node)
        new += counts.seats.key[at] == 0 or counts.seats.users[at] <= 0
    return bool(new == 0 or wanted + new <= limit)


@bare_njit
def move_all(counts: Counts, klass: I64, node: I64, replicas: I64, leaving: I64) -> None:
    """`move` for each entry of the arrays."""
    for i in range(len(klass)):
        move(counts, klass[i], node[i], replicas[i], leaving[i])


@bare_njit
def judge(counts: Counts, klass: int, nodes: int, why: U8) -> None:
    """why[node] = 0, or the kind of the first check that refuses the class there."""
    why[:nodes] = 0
    if klass >= len(counts.check_at):
        return
    begin = counts.check_at[klass]
    end = begin + counts.check_count[klass]
    for i in range(begin, end):
        key = counts.key[counts.check_counter[i]]
        counts.bad[key, : counts.sizes[key] + 1] = 0
    is_first = _is_first(counts, begin, end)
    for i in range(begin, end):
        _judge_domains(counts, i, is_first)
    for i in range(begin, end):
        key = counts.key[counts.check_counter[i]]
        if _is_repeated(counts, begin, i, key):
            continue
        domain, bad = counts.domain[key], counts.bad[key]
        for node in range(nodes):
            found = bad[domain[node]]
            why[node] = found if why[node] == 0 else why[node]


@bare_njit
def judge_node(counts: Counts, klass: int, node: int) -> int:
    """0, or the kind of the first check that refuses the class on the node."""
    return judge_there(counts, klass, node, look(counts, klass))


@bare_njit
def look(counts: Counts, klass: int) -> bool:
    """What checks of the class compare all domains for, once for many nodes: each minimum, and
    whether the replica would be the first of its kind."""
    if klass >= len(counts.check_at):
        return False
    begin = counts.check_at[klass]
    end = begin + counts.check_count[klass]
    for i in range(begin, end):
        counts.check_floor[i] = _floor(counts, i, counts.check_counter[i])
    return _is_first(counts, begin, end)


@bare_njit
def judge_there(counts: Counts, klass: int, node: int, is_first: bool) -> int:
    """As `judge_node`, after `look` and before anybody moves."""
    if klass >= len(counts.check_at):
        return 0
    begin = counts.check_at[klass]
    for i in range(begin, begin + counts.check_count[klass]):
        counter = counts.check_counter[i]
        domain = counts.domain[counts.key[counter], node]
        if not _is_passed(counts, i, counter, domain, counts.check_floor[i], is_first):
            return int(counts.check_kind[i])
    return 0


@bare_njit
def _is_first(counts: Counts, begin: int, end: int) -> bool:
    """Whether the replica is the first of a series that is drawn to itself: it matches all its
    own terms, and nobody else does."""
    is_first = False
    for i in range(begin, end):
        if counts.check_kind[i] == R_AFFINITY:
            if counts.total[counts.check_counter[i]] != 0 or counts.check_self[i] == 0:
                return False
            is_first = True
    return is_first


@bare_njit
def _is_repeated(counts: Counts, begin: int, i: int, key: int) -> bool:
    found = False
    for j in range(begin, i):
        found |= counts.key[counts.check_counter[j]] == key
    return found


@bare_njit
def _floor(counts: Counts, i: int, counter: int) -> int:
    """The smallest count of a spread constraint's domains; 0 where there are too few of them."""
    if counts.check_kind[i] != R_SPREAD:
        return 0
    at, size = counts.at[counter], counts.sizes[counts.key[counter]]
    pool, members = counts.pool[at : at + size], counts.members[at : at + size]
    domains, least = np.int64(0), np.int64(_MANY)
    for d in range(size):
        is_there = members[d] > 0
        domains += is_there
        least = min(least, pool[d] if is_there else np.int64(_MANY))
    return int(least) if domains >= counts.check_least[i] and domains > 0 else 0


@bare_njit
def _is_passed(
    counts: Counts, i: int, counter: int, domain: int, floor: int, is_first: bool
) -> bool:
    """Whether check i lets the replica into a domain."""
    kind = counts.check_kind[i]
    if domain == counts.sizes[counts.key[counter]]:
        return kind not in (R_AFFINITY, R_SPREAD)
    held = counts.pool[counts.at[counter] + domain]
    if kind == R_AFFINITY:
        return bool(held > 0 or is_first)
    if kind == R_SPREAD:
        return bool(held + counts.check_self[i] - floor <= counts.check_skew[i])
    if kind == R_VOLUMES:
        return _is_attachable(counts, i, counter, domain)
    return bool(held == 0)


@bare_njit
def _judge_domains(counts: Counts, i: int, is_first: bool) -> None:
    """As `_is_passed`, for all domains; in a loop that vectorises for all kinds but volumes."""
    counter, kind = counts.check_counter[i], counts.check_kind[i]
    key, at = counts.key[counter], counts.at[counter]
    size = counts.sizes[key]
    if kind == R_VOLUMES:
        for node in range(size):
            if counts.bad[key, node] == 0 and not _is_attachable(counts, i, counter, node):
                counts.bad[key, node] = kind
        return
    least, most = np.int64(0), np.int64(0)
    if kind == R_AFFINITY:
        least, most = np.int64(-_MANY if is_first else 1), np.int64(_MANY)
    elif kind == R_SPREAD:
        least = np.int64(-_MANY)
        most = counts.check_skew[i] + _floor(counts, i, counter) - counts.check_self[i]
    held, bad = counts.pool[at : at + size], counts.bad[key][:size]
    for d in range(len(held)):
        is_out = (held[d] < least) | (held[d] > most)
        bad[d] = kind if is_out & (bad[d] == 0) else bad[d]
    lacking = counts.bad[key]
    if lacking[size] == 0 and not _is_passed(counts, i, counter, size, 0, is_first):
        lacking[size] = kind
