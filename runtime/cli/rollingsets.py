"""How rollingsets are shown to people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runtime.cli.show import pairs, table
from runtime.quantities import shown


def is_rollingset(view: Any) -> bool:
    """Whether a wire message is a view of a rollingset."""
    return bool(view.DESCRIPTOR.name == "RollingsetView")


def rollingset_table(views: Iterable[Any]) -> str:
    """One line per rollingset."""
    rows = [
        (v.spec.name, v.word, f"{v.ready_rows}/{v.spec.rows}", v.latest, v.stable, v.why)
        for v in views
    ]
    return table(("NAME", "WORD", "READY", "LATEST", "STABLE", "WHY"), rows)


def rollingset_line(view: Any) -> str:
    """Where its release stands, in one line."""
    versions = ", ".join(f"v{v.version} {v.ready}/{v.rows}" for v in view.versions)
    why = f": {view.why}" if view.why else ""
    return (
        f"{view.spec.name} {view.word} {view.ready_rows}/{view.spec.rows} ready ({versions}){why}"
    )


def rollingset_text(view: Any) -> str:
    """Everything about one rollingset."""
    spec = view.spec
    parts = [
        pairs(
            (
                ("rollingset", spec.name),
                ("word", view.word),
                ("why", view.why),
                ("rows", f"{view.ready_rows} of {spec.rows} ready"),
                ("latest", f"version {view.latest}"),
                ("stable", f"version {view.stable}" if view.stable else ""),
                ("max_unavailable", spec.max_unavailable),
                ("keep", spec.keep),
                ("generation", view.generation),
            )
        ),
        table(
            ("COLUMN", "COUNT", "DEMAND", "SELECTOR"),
            [(c.name, c.count, _demand(c.spec), _labels(c.spec.selector)) for c in spec.columns],
        ),
    ]
    if view.versions:
        versions = [(v.version, v.rows, v.ready) for v in view.versions]
        parts.append(table(("VERSION", "ROWS", "READY"), versions))
    if view.rows:
        rows = [
            (r.ordinal, r.key, r.version, r.revision, f"{r.ready_replicas}/{r.replicas}", r.why)
            for r in view.rows
        ]
        parts.append(table(("ROW", "KEY", "VERSION", "REVISION", "READY", "WHY"), rows))
    return "\n\n".join(parts)


def _demand(spec: Any) -> str:
    return ", ".join(f"{name} {shown(name, spec.demand[name])}" for name in sorted(spec.demand))


def _labels(labels: Any) -> str:
    return ", ".join(f"{key}={labels[key]}" for key in sorted(labels))
