"""The uid index against a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cell.uid_index import UidIndex

UIDS = st.tuples(st.integers(0, 7), st.integers(0, 7))
STEPS = st.lists(st.tuples(st.booleans(), st.lists(UIDS, max_size=20, unique=True)), max_size=30)


def columns(uids: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Words whose low bits collide: all uids hash into a few slots."""
    hi = np.array([u[0] << 40 for u in uids], np.uint64)
    lo = np.array([u[1] << 50 for u in uids], np.uint64)
    return hi, lo


@given(STEPS)
def test_it_agrees_with_a_dictionary(steps: list[tuple[bool, list[tuple[int, int]]]]) -> None:
    index, twin = UidIndex(), dict[tuple[int, int], int]()
    row = 0
    for is_put, uids in steps:
        hi, lo = columns(uids)
        if is_put:
            index.put(hi, lo, np.arange(row, row + len(uids)))
            twin |= {uid: row + i for i, uid in enumerate(uids)}
            row += len(uids)
        else:
            index.drop(hi, lo)
            twin = {uid: r for uid, r in twin.items() if uid not in uids}
        everything = [(a, b) for a in range(8) for b in range(8)]
        found = index.find(*columns(everything)).tolist()
        assert found == [twin.get(uid, -1) for uid in everything]
        assert len(index) == len(twin)
