"""Kernels of wishes between replicas: what each node is worth to a class, 0 to 100, as
kube-scheduler's InterPodAffinity and PodTopologySpread normalise it over the feasible nodes.

Both first weigh the domains of each key and then look each node's up. Quotients and logarithms are
float64 in kube-scheduler's order of operations, so that rounding agrees; results are integers.
"""

from __future__ import annotations

import numpy as np

from cell.fit.counting import I32, Counts
from cell.jit import bare_njit

IGNORED = -1
"""Of a node that lacks a label which all of a class's spread wishes need."""
_FAR = np.int64(1 << 62)


@bare_njit
def weigh(counts: Counts, klass: int, keys: I32, nodes: int) -> None:
    """counts.pull and counts.even [node] = points of feasible nodes: those with keys[node] >= 0
    and counts.why[node] == 0. What others have means nothing."""
    weigh_pulls(counts, klass, keys, nodes)
    weigh_evens(counts, klass, keys, nodes)


@bare_njit
def weigh_pulls(counts: Counts, klass: int, keys: I32, nodes: int) -> None:
    """Sum of what domains are worth, from the least to the most of the feasible nodes."""
    begin, end = 0, 0
    if klass < len(counts.pull_at):
        begin = int(counts.pull_at[klass])
        end = begin + int(counts.pull_count[klass])
    pull, why = counts.pull, counts.why
    pull[:nodes] = 0
    for i in range(begin, end):
        key = counts.key[counts.pull_counter[i]]
        counts.worth[key, : counts.sizes[key] + 1] = 0.0
    for i in range(begin, end):
        counter = counts.pull_counter[i]
        key, at, weight = counts.key[counter], counts.at[counter], counts.pull_weight[i]
        for domain in range(counts.sizes[key]):
            counts.worth[key, domain] += float(weight * counts.pool[at + domain])
    for i in range(begin, end):
        key = counts.key[counts.pull_counter[i]]
        if not _is_repeated(counts, counts.pull_counter, begin, i, key):
            domain, worth = counts.domain[key], counts.worth[key]
            for node in range(nodes):
                pull[node] += np.int64(worth[domain[node]])
    if begin == end:
        return
    least, most = _FAR, -_FAR
    for node in range(nodes):
        is_open = keys[node] >= 0 and why[node] == 0
        least = min(least, pull[node] if is_open else _FAR)
        most = max(most, pull[node] if is_open else -_FAR)
    span = float(most - least) if most > least else 0.0
    for node in range(nodes):
        part = float(pull[node] - least) / span if span > 0.0 else 0.0
        pull[node] = np.int64(100.0 * part)


@bare_njit
def weigh_evens(counts: Counts, klass: int, keys: I32, nodes: int) -> None:
    """How few replicas a node's domains have, where a key of many domains weighs more."""
    begin, end = 0, 0
    if klass < len(counts.even_at):
        begin = int(counts.even_at[klass])
        end = begin + int(counts.even_count[klass])
    even, cost = counts.even[:nodes], counts.cost[:nodes]
    if begin == end:
        even[:] = 0
        return
    open_count = _ignore(counts, begin, end, keys, nodes)
    for i in range(begin, end):
        counts.worth[counts.key[counts.even_counter[i]], :] = 0.0
    for i in range(begin, end):
        _weigh_domains(counts, i, nodes, open_count)
    cost[:] = 0.0
    for i in range(begin, end):
        key = counts.key[counts.even_counter[i]]
        if not _is_repeated(counts, counts.even_counter, begin, i, key):
            domain, worth = counts.domain[key], counts.worth[key]
            for node in range(nodes):
                cost[node] += worth[domain[node]]
    least, most = np.inf, 0.0
    for node in range(nodes):
        is_scored = even[node] != IGNORED
        cost[node] = np.floor(cost[node] + 0.5)
        least = min(least, cost[node] if is_scored else np.inf)
        most = max(most, cost[node] if is_scored else 0.0)
    for node in range(nodes):
        points = np.floor(100.0 * (most + least - cost[node]) / most) if most > 0.0 else 100.0
        even[node] = np.int64(points) if even[node] != IGNORED else np.int64(0)


@bare_njit
def _ignore(counts: Counts, begin: int, end: int, keys: I32, nodes: int) -> int:
    """even[node] = IGNORED where the node is not feasible, or lacks a label that is needed; returns
    how many are left."""
    even, why = counts.even[:nodes], counts.why[:nodes]
    for node in range(nodes):
        even[node] = 0 if keys[node] >= 0 and why[node] == 0 else IGNORED
    for i in range(begin, end):
        label = counts.even_label[i]
        if counts.even_needed[i]:
            domain, size = counts.domain[label], counts.sizes[label]
            for node in range(nodes):
                even[node] = IGNORED if domain[node] == size else even[node]
    open_count = 0
    for node in range(nodes):
        open_count += even[node] != IGNORED
    return open_count


@bare_njit
def _weigh_domains(counts: Counts, i: int, nodes: int, open_count: int) -> None:
    """Add wish i to what the domains of its key cost; no domain costs nothing."""
    counter, label = counts.even_counter[i], counts.even_label[i]
    key, domain = counts.key[counter], counts.domain[label]
    size = counts.sizes[label]
    domains = open_count if key != label else _open_domains(counts, int(label), nodes)
    weight, skew = np.log(float(domains + 2)), float(counts.even_skew[i] - 1)
    at, count = counts.at[counter], counts.sizes[key]
    pool, worth = counts.pool[at : at + count], counts.worth[key]
    for d in range(len(pool)):
        more = float(pool[d]) * weight + skew
        worth[d] += more if key == label or domain[d] != size else 0.0


@bare_njit
def _open_domains(counts: Counts, label: int, nodes: int) -> int:
    """How many domains the nodes have that are scored; those without one share one."""
    seen, domain, even = counts.bad[label], counts.domain[label], counts.even
    size = counts.sizes[label]
    seen[: size + 1] = 0
    for node in range(nodes):
        seen[domain[node]] |= even[node] != IGNORED
    domains = 0
    for d in range(size + 1):
        domains += seen[d]
        seen[d] = 0
    return domains


@bare_njit
def _is_repeated(counts: Counts, counters: I32, begin: int, i: int, key: int) -> bool:
    found = False
    for j in range(begin, i):
        found |= counts.key[counters[j]] == key
    return found


@bare_njit
def is_told_apart(counts: Counts, keys: I32, nodes: int) -> bool:
    """Whether wishes between replicas prefer some feasible nodes to others."""
    why, pull, even = counts.why, counts.pull, counts.even
    least, most = _FAR, -_FAR
    low, high = _FAR, -_FAR
    for node in range(nodes):
        is_open = keys[node] >= 0 and why[node] == 0
        least = min(least, pull[node] if is_open else _FAR)
        most = max(most, pull[node] if is_open else -_FAR)
        low = min(low, even[node] if is_open else _FAR)
        high = max(high, even[node] if is_open else -_FAR)
    return bool(most > least or high > low)
