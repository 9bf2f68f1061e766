"""Kernels of wishes between replicas: what each node is worth to a class, 0 to 100, as
kube-scheduler's InterPodAffinity and PodTopologySpread normalise it over the feasible nodes.

Both first weigh the domains of each key and then look each node's up. Quotients and logarithms are
float64 in kube-scheduler's order of operations, so that rounding agrees; results are integers.
"""

from __future__ import annotations

import numpy as np

from cell.fit.counting import I32, I64, Counts
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
    even = counts.even
    if begin == end:
        even[:nodes] = 0
        return
    _ignore(counts, begin, end, keys, nodes)
    for i in range(begin, end):
        label = counts.even_label[i]
        counts.worth[counts.key[counts.even_counter[i]], :] = 0.0
        counts.bad[label, : counts.sizes[label] + 1] = 0
    for i in range(begin, end):
        _weigh_domains(counts, i, nodes)
    least, most = _FAR, np.int64(0)
    for node in range(nodes):
        if even[node] == IGNORED:
            continue
        cost = 0.0
        for i in range(begin, end):
            key, label = counts.key[counts.even_counter[i]], counts.even_label[i]
            is_there = counts.domain[label, node] != counts.sizes[label]
            if is_there and not _is_repeated(counts, counts.even_counter, begin, i, key):
                cost += counts.worth[key, counts.domain[key, node]]
        even[node] = np.int64(np.floor(cost + 0.5))
        least, most = min(least, even[node]), max(most, even[node])
    for node in range(nodes):
        if even[node] == IGNORED:
            even[node] = 0
        else:
            even[node] = 100 * (most + least - even[node]) // most if most > 0 else 100


@bare_njit
def _ignore(counts: Counts, begin: int, end: int, keys: I32, nodes: int) -> None:
    """even[node] = IGNORED where the node is not feasible, or lacks a label that is needed."""
    for node in range(nodes):
        is_open = keys[node] >= 0 and counts.why[node] == 0
        counts.even[node] = 0 if is_open else IGNORED
    for i in range(begin, end):
        label = counts.even_label[i]
        if counts.even_needed[i]:
            domain, size = counts.domain[label], counts.sizes[label]
            for node in range(nodes):
                counts.even[node] = IGNORED if domain[node] == size else counts.even[node]


@bare_njit
def _weigh_domains(counts: Counts, i: int, nodes: int) -> None:
    """Add wish i to what the domains of its key cost."""
    counter, label = counts.even_counter[i], counts.even_label[i]
    key, seen, even = counts.key[counter], counts.bad[label], counts.even
    domain, size = counts.domain[label], counts.sizes[label]
    open_count, domains = 0, 0
    for node in range(nodes):
        if even[node] != IGNORED:
            open_count += 1
            domains += seen[domain[node]] == 0
            seen[domain[node]] = 1
    seen[: size + 1] = 0
    weight = np.log(float((domains if key == label else open_count) + 2))
    pool = counts.pool[counts.at[counter] : counts.at[counter] + counts.sizes[key]]
    worth = counts.worth[key]
    for d in range(len(pool)):
        worth[d] += float(pool[d]) * weight + float(counts.even_skew[i] - 1)


@bare_njit
def _is_repeated(counts: Counts, counters: I32, begin: int, i: int, key: int) -> bool:
    found = False
    for j in range(begin, i):
        found |= counts.key[counters[j]] == key
    return found


@bare_njit
def best_wished(counts: Counts, keys: I32, weights: I64, low_bits: int, nodes: int) -> int:
    """The largest of score | what is below it, of feasible nodes; -1 for none.

    keys[node] >> low_bits is a node's score so far; `weights` are those of pull and even.
    """
    best = np.int64(-1)
    why, pull, even = counts.why, counts.pull, counts.even
    low = (np.int64(1) << low_bits) - 1
    for node in range(nodes):
        key = np.int64(keys[node])
        score = (key >> low_bits) + weights[0] * pull[node] + weights[1] * even[node]
        whole = (score << low_bits) | (key & low)
        best = max(best, whole if key >= 0 and why[node] == 0 else np.int64(-1))
    return int(best)
