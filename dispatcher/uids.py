"""Keys to uids to handles, for requests that name units by key."""

from __future__ import annotations

import hashlib

import numpy as np

from dispatcher.columns import I64s, U64s
from dispatcher.table import Table


def uids_of(keys: tuple[str, ...] | list[str]) -> tuple[U64s, U64s]:
    """Both halves of `cell.unit.uid_of` of each key."""
    blake = hashlib.blake2b
    raw = b"".join([blake(key.encode(), digest_size=16).digest() for key in keys])
    halves = np.frombuffer(raw, "<u8").reshape(-1, 2)
    return halves[:, 0].copy(), halves[:, 1].copy()


def find_keys(table: Table, keys: tuple[str, ...]) -> I64s:
    """Handles of keys, -1 where unknown."""
    return table.find(*uids_of(keys))
