"""The result of a run: figures from columns, as JSON and as a table; pure.

Latency is submit → bound by the client's clock, from the moment a unit was due, so a generator or
a service that lags is not flattered. Utilisation is what claims name by what nodes have.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from godel.v1 import cluster_pb2
from loadtest.tally import Tally
from loadtest.workload import Workload

PERCENTILES = (50, 90, 99)
Rows = list[tuple[str, str]]
"""Rows of a table: name and text."""
WHY_LINES_MAX = 12
"""Reasons for waiting that the table shows."""


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds from due to bound."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


class UsageSample(msgspec.Struct, frozen=True):
    """Share of each resource that claims name, over all nodes."""

    at_s: float
    ratios: dict[str, float]
    nodes: int


class Waiting(msgspec.Struct, frozen=True):
    """What waits at the end, and what our own fit check says of it."""

    units: int
    why: dict[str, int]
    """Units per line that says why; "" for none given."""
    fitting: tuple[str, ...]
    """Keys of those for which there is room: these should have been placed."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    name: str
    seconds: float
    submit_seconds: float
    units: int
    replicas: int
    acked: int
    refused: int
    refused_why: dict[str, int]
    retried: int
    placed: int
    replicas_placed: int
    ended: int
    lost: int
    unacked: int
    placed_rate: float
    """Replicas bound per second between the first submission and the last binding."""
    late_ms_max: float
    """How far the generator fell behind its schedule."""
    watch_breaks: int
    latency: Latency | None
    usage: tuple[UsageSample, ...]
    waiting: Waiting
    notes: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every unit was placed, was refused with a reason, or waits while nothing fits."""
        is_said = "" not in self.waiting.why
        return not self.unacked and not self.waiting.fitting and is_said

    def as_json(self) -> str:
        """The whole report."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return json.dumps({**fields, "is_complete": self.is_complete}, indent=2)


def latency_of(placed_at_s: NDArray[np.float64], due_s: NDArray[np.float64]) -> Latency | None:
    """Percentiles over the units placed since they were due; None when none was."""
    waits_ms = (placed_at_s - due_s) * 1e3
    waits_ms = waits_ms[waits_ms >= 0]
    if not len(waits_ms):
        return None
    p50, p90, p99 = np.percentile(waits_ms, PERCENTILES).tolist()
    return Latency(p50, p90, p99, float(waits_ms.max()))


def usage_of(views: Iterable[cluster_pb2.NodeView], at_s: float) -> UsageSample:
    """One sample from ListNodes."""
    whole: dict[str, int] = {}
    used: dict[str, int] = {}
    nodes = 0
    for view in views:
        nodes += 1
        for name, amount in view.allocatable.items():
            whole[name] = whole.get(name, 0) + amount
        for name, amount in view.used.items():
            used[name] = used.get(name, 0) + amount
    ratios = {n: used.get(n, 0) / amount for n, amount in sorted(whole.items()) if amount}
    return UsageSample(at_s, ratios, nodes)


def peak_of(samples: Sequence[UsageSample]) -> dict[str, float]:
    """The largest share of each resource in any sample."""
    names = sorted({name for sample in samples for name in sample.ratios})
    return {name: max(sample.ratios.get(name, 0.0) for sample in samples) for name in names}


def rate_of(work: Workload, tally: Tally) -> float:
    """Replicas of placed units per second, from the first due to the last placed."""
    is_known = ~np.isnan(tally.placed_at_s)
    if not is_known.any():
        return 0.0
    seconds = float(tally.placed_at_s[is_known].max() - work.at_s.min())
    return float(work.count[is_known].sum()) / max(seconds, 1e-3)


def lines(report: Report) -> Rows:
    """The table's rows."""
    made = [
        ("units", f"{report.units:,} ({report.replicas:,} replicas)"),
        ("submitted", f"{report.acked:,} acknowledged in {report.submit_seconds:.1f} s"),
        ("placed", f"{report.placed:,} units, {report.replicas_placed:,} replicas"),
        ("rate", f"{report.placed_rate:,.0f} replicas bound per second"),
    ]
    if report.latency is not None:
        at = report.latency
        made.append(
            (
                "submit → bound",
                f"p50 {_ms(at.p50_ms)}, p90 {_ms(at.p90_ms)}, "
                f"p99 {_ms(at.p99_ms)}, max {_ms(at.max_ms)}",
            )
        )
    if report.usage:
        made.append(("utilisation", ratios_text(report.usage[-1].ratios)))
        if (peak := peak_of(report.usage)) != report.usage[-1].ratios:
            made.append(("  at most", ratios_text(peak)))
        made += _usage_over_time(report.usage)
    if report.refused or report.retried:
        made.append(("refused", f"{report.refused:,} for good, {report.retried:,} tried again"))
        made += [("", f"{n:,}: {why}") for why, n in _largest(report.refused_why)]
    if report.ended:
        made.append(("failed, cancelled", f"{report.ended:,}"))
    if report.unacked:
        made.append(("without answer", f"{report.unacked:,}"))
    made += waiting_lines(report.waiting)
    if report.late_ms_max > 100:
        made.append(("generator late", f"up to {_ms(report.late_ms_max)}"))
    if report.watch_breaks:
        made.append(("watch", f"cut off {report.watch_breaks} times, begun anew"))
    return made + [("", note) for note in report.notes]


def waiting_lines(waiting: Waiting) -> Rows:
    """What waits, why in short (the whole line is in the JSON), and whether that is right."""
    if not waiting.units:
        return [("waiting", "0")]
    if waiting.fitting:
        first = ", ".join(waiting.fitting[:3])
        verdict = f"for {len(waiting.fitting):,} there is room ({first}, …): should be placed"
    else:
        verdict = "for each no node fits"
    made = [("waiting", f"{waiting.units:,}; {verdict}")]
    heads: dict[str, int] = {}
    for why, n in waiting.why.items():
        head = headline(why)
        heads[head] = heads.get(head, 0) + n
    return made + [("", f"{n:,}: {head}") for head, n in _largest(heads)]


def headline(why: str) -> str:
    """A line that says why without its counts, so that like lines are one: what keeps most nodes
    away stands first in it.
    """
    head, colon, parts = why.partition(": ")
    if not colon:
        return why or "no reason given"
    first = parts.partition(", ")[0]
    return f"{head}: {first.lstrip('0123456789 ')}"


def ratios_text(ratios: Mapping[str, float]) -> str:
    """Shares for people, in the order given."""
    return ", ".join(f"{name} {100 * ratio:.1f} %" for name, ratio in ratios.items())


def _usage_over_time(samples: Sequence[UsageSample], columns: int = 5) -> Rows:
    """A few samples, evenly spread, of the resources that are used at all."""
    if len(samples) < 3:
        return []
    picked = sorted({round(i * (len(samples) - 1) / columns) for i in range(columns + 1)})
    names = [name for name, ratio in peak_of(samples).items() if ratio and name != "pods"]
    made = [("over time", "  ".join(f"{samples[i].at_s:6.1f}s" for i in picked))]
    for name in names:
        shares = (100 * samples[i].ratios.get(name, 0.0) for i in picked)
        made.append((f"  {name}", "  ".join(f"{share:6.1f}%" for share in shares)))
    return made


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(order) <= WHY_LINES_MAX:
        return order
    rest = sum(n for _, n in order[WHY_LINES_MAX:])
    return [*order[:WHY_LINES_MAX], ("(other lines)", rest)]


def _ms(value: float) -> str:
    return f"{value / 1e3:.2f} s" if value >= 1e3 else f"{value:.1f} ms"


def show(report: Report, more: Sequence[tuple[str, str]] = ()) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=report.name, show_header=False, title_justify="left", min_width=72)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in (*lines(report), *more):
        table.add_row(escape(name), escape(text))
    console = Console(width=None if Console().is_terminal else 110)
    console.print(table)
