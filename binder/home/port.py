"""What the core asks of a home: where a judged batch becomes durable, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from binder.config import BinderConfig
from binder.evaluate import Judged
from binder.ledger import Ledger
from binder.records import Record
from binder.requests import Asked
from binder.streams import DispatcherStream
from cell.effects import Effect
from cell.home import HomeEvent
from cell.messages import Explain
from cell.reasons import Refusal
from cell.unit import Commands


class Home(Protocol):
    """One home; the ledger it writes to is the core's."""

    def __init__(
        self, term: int, config: BinderConfig, ledger: Ledger, dispatcher: DispatcherStream
    ) -> None: ...

    wake_at_us: int
    """When it wants a Tick; 0 for never."""

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the log of former lives."""

    def snapshot(self) -> list[Record]:
        """Records that stand for all so far."""

    def open_dispatcher(self, peer: str, term: int) -> list[Effect]:
        """Begin a session with the dispatcher of that term."""

    def take_plan(self, now_us: int, judged: Judged) -> list[Effect]:
        """Commit what a plan was judged to be."""

    def take_commands(self, now_us: int, run: Commands, klass: NDArray[np.int32]) -> list[Effect]:
        """Judge and commit a run of commands of one op."""

    def explain(self, explain: Explain) -> list[Effect]:
        """Tell people why units wait, where this home is asked for that."""

    def take_nodes(self, asked: Asked) -> list[Effect]:
        """Commit what a request changes of nodes."""

    def refusal(self) -> Refusal | None:
        """Why this home takes no requests for nodes, if it does not."""

    def handle(self, now_us: int, event: HomeEvent) -> list[Effect]:
        """Take an answer or a delta of the home itself."""

    def tick(self, now_us: int) -> list[Effect]:
        """Do what is due."""
