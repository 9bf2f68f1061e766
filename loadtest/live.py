"""Progress of a run in the terminal: one live table on a tty, else a line every second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from loadtest.report import ratios_text
from loadtest.run import LoadRun

REFRESHES_PER_SECOND = 4

Rows = Sequence[tuple[str, str]]
Show = Callable[[Rows], None]


def rows_of(run: LoadRun) -> list[tuple[str, str]]:
    """Where a run is now."""
    tally = run.tally
    total = len(tally.is_sent)
    pending = len(tally.pending)
    made = [
        ("time", f"{run.now_s:.1f} s"),
        ("submitted", f"{int(tally.is_sent.sum()):,} of {total:,}"),
        ("acknowledged", f"{int(tally.is_acked.sum()):,}"),
        ("placed", f"{int(tally.is_placed.sum()):,}"),
        ("not placed yet", f"{pending:,}"),
    ]
    if run.usage:
        made.append(("in use", ratios_text(run.usage[-1].ratios)))
    return made


@contextmanager
def display(title: str) -> Iterator[Show]:
    """What shows rows: a table redrawn in place, or one line per call, on stderr."""
    if not sys.stderr.isatty():
        yield lambda rows: print(_line(title, rows), file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True) as live:
        yield lambda rows: live.update(_table(title, rows))


def _line(title: str, rows: Rows) -> str:
    return f"{title}: " + "; ".join(f"{name} {text}" for name, text in rows)


def _table(title: str, rows: Rows) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left", min_width=72)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in rows:
        table.add_row(escape(name), escape(text))
    return table
