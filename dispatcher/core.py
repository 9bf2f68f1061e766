"""The dispatcher's core: who waits, in what order, and who tries next. (Interface; filled next.)"""

from __future__ import annotations

from collections.abc import Iterable

from cell.effects import Effect, Event
from cell.messages import Summary, UnitView
from dispatcher.config import DispatcherConfig
from dispatcher.records import Record


class DispatcherCore:
    """See the module."""

    def __init__(self, term: int, config: DispatcherConfig | None = None) -> None:
        raise NotImplementedError

    def restore(self, records: Iterable[Record]) -> None:
        raise NotImplementedError

    def snapshot(self) -> list[Record]:
        raise NotImplementedError

    def handle(self, now_us: int, event: Event) -> list[Effect]:
        raise NotImplementedError

    def unit(self, key: str) -> UnitView | None:
        raise NotImplementedError

    def units(self, prefix: str = "", word: str = "", count_max: int = 0) -> list[UnitView]:
        raise NotImplementedError

    def units_whole(self, prefix: str = "") -> list[UnitView]:
        raise NotImplementedError

    def summary(self) -> Summary:
        raise NotImplementedError
