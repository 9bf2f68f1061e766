"""Which dispatcher leads: the binder gives each a term of its own, one at a time.

A term is made of the Lease's and a number, so it grows over all leaders. Who comes with the term
that was granted last keeps it: nobody has led since. It is awaited a moment before another one
is granted: a link that broke is soon dialled again, and its core knows what a new one has to learn.
"""

from __future__ import annotations

from collections.abc import Callable

NUMBER_BITS = 20
"""Terms of the Lease are below 1 << 28: a dispatcher's fit 48 bits."""
NUMBER_MAX = (1 << NUMBER_BITS) - 1
"""Terms that one leader grants at most; after that nobody new leads until the next one."""
AWAITED_US = 500_000
"""Dispatchers dial again within 0.3 s."""


class Grants:
    """See the module. `last` was granted last, by a former leader; `on_grant` is told new ones."""

    def __init__(self, now_us: int, term: int, last: int, on_grant: Callable[[int], None]) -> None:
        self._base = term << NUMBER_BITS
        self._last = last
        self._number = 0
        self._on_grant = on_grant
        self._awaited_until_us = 0
        if last:
            self.lose(now_us)

    def lose(self, now_us: int) -> None:
        """The dispatcher that leads has no session any more."""
        self._awaited_until_us = now_us + AWAITED_US

    def grant(self, now_us: int, term: int, *, is_taken: bool) -> int:
        """The term of a dispatcher that had `term` (0: none); 0 while another leads, or may."""
        if term and term == self._last:
            return term
        if is_taken or now_us < self._awaited_until_us or self._number == NUMBER_MAX:
            return 0
        self._number += 1
        self._last = self._base | self._number
        self._on_grant(self._last)
        return self._last
