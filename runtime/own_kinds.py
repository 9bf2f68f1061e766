"""Our own kinds, `Unit` and `Rollingset`: the fields of the API under `spec`, with quantities.

A group or column says what a replica needs by class fields (`demand`, `selector`, ...) or by a
`template`, a Kubernetes pod template. Called by `manifests`; pure.
"""

from __future__ import annotations

from cell.classes import AMOUNT_MAX, ClassSpec, normalise
from cell.release import ReleaseColumn, RollingsetSpec
from cell.requirements import BadSpec, Term
from cell.unit import GROUPS_MAX, PRIORITY_MAX, REPLICAS_MAX, GroupSpec, Place, UnitSpec
from runtime.fields import BadManifest, Fields, join, shown, unimplemented
from runtime.pod_class import Cluster, PodNeeds, pod_needs, toleration
from runtime.pod_requests import amounts
from runtime.quantities import units
from runtime.selectors import requirement

API_VERSION = "godel.dev/v1"
CLASS_FIELDS = ("demand", "unasked", "selector", "affinity", "tolerations", "profile")
GROUP_FIELDS = ("role", "count", "min", "pin", "template", *CLASS_FIELDS)
UNIT_FIELDS = ("priority", "groups")
COLUMN_FIELDS = ("name", "count", "template", *CLASS_FIELDS)
ROLLINGSET_FIELDS = (
    *("rows", "columns", "max_unavailable", "max_surge", "keep", "place", "is_paused"),
    "priority",
)
LATER = frozenset(
    (
        *("queue", "intent", "replaces", "handover", "deadline_us", "policy"),
        *("topology", "children"),
    )
)
"""Fields of the API that are not acted on yet."""
PLACES = {"keep": Place.KEEP, "anywhere": Place.ANYWHERE}
ROWS_MAX = 1_000_000
"""Far above what a rolling controller takes: it says its own limit."""


def unit(key: str, spec: Fields, cluster: Cluster) -> UnitSpec:
    """The unit that a spec describes. Raises BadManifest."""
    _refuse_unknown(spec, UNIT_FIELDS)
    listed = spec.each("groups")
    if not 1 <= len(listed) <= GROUPS_MAX:
        reason = f"{len(listed)} groups, needs 1 to {GROUPS_MAX}"
        raise BadManifest(spec.at("groups"), reason)
    groups = []
    needs = []
    for fields in listed:
        _refuse_unknown(fields, GROUP_FIELDS)
        need = _needs(fields, cluster)
        count = fields.integer("count", 1, 1, REPLICAS_MAX)
        groups.append(
            GroupSpec(
                klass=need.klass,
                role=fields.text("role"),
                count=count,
                min=fields.integer("min", count, 0, count),
                pin=fields.text("pin") or need.pin,
            )
        )
        needs.append(need)
    of_templates = max((need.priority for need in needs), default=0)
    priority = spec.integer("priority", of_templates, -PRIORITY_MAX, PRIORITY_MAX)
    return UnitSpec(key, tuple(groups), priority)


def rollingset(name: str, spec: Fields, cluster: Cluster) -> RollingsetSpec:
    """The rollingset that a spec describes. Raises BadManifest."""
    _refuse_unknown(spec, ROLLINGSET_FIELDS)
    if spec.raw("rows") is None:
        raise BadManifest(spec.at("rows"), "is needed")
    place = spec.text("place", "keep").lower()
    if place not in PLACES:
        raise BadManifest(spec.at("place"), f"{shown(place)} is none of {', '.join(PLACES)}")
    columns = []
    for fields in spec.each("columns"):
        _refuse_unknown(fields, COLUMN_FIELDS)
        need = _needs(fields, cluster)
        if need.pin:
            path = f"{fields.at('template')}.spec.nodeName"
            raise unimplemented(path, "a column of many rows cannot be pinned to one node")
        count = fields.integer("count", 1, 1, REPLICAS_MAX)
        columns.append(ReleaseColumn(fields.text("name"), need.klass, count))
    if not columns:
        raise BadManifest(spec.at("columns"), "needs at least one column")
    return RollingsetSpec(
        name=name,
        rows=spec.integer("rows", 0, 0, ROWS_MAX),
        columns=tuple(columns),
        max_unavailable=_share(spec, "max_unavailable", 1),
        max_surge=_share(spec, "max_surge", 0),
        keep=_share(spec, "keep", 0),
        place=PLACES[place],
        is_paused=spec.flag("is_paused"),
        priority=spec.integer("priority", 0, -PRIORITY_MAX, PRIORITY_MAX),
    )


def demand(listed: Fields) -> tuple[tuple[str, int], ...]:
    """Whole amounts by resource. Raises BadManifest."""
    found = []
    for name, quantity in amounts(listed).items():
        amount = units(name, quantity)
        if amount > AMOUNT_MAX:
            reason = f"{amount} is above the limit {AMOUNT_MAX}"
            raise BadManifest(f"{listed.path}[{name}]", reason)
        found.append((name, amount))
    return tuple(found)


def _needs(fields: Fields, cluster: Cluster) -> PodNeeds:
    """What a group's or column's replica needs, by its template or its class fields."""
    if "template" not in fields:
        return PodNeeds(_class(fields))
    for name in CLASS_FIELDS:
        if fields.raw(name) is not None:
            raise BadManifest(fields.at(name), "stands beside a template: give one of them")
    return pod_needs(fields.raw("template"), fields.at("template"), cluster=cluster)


def _class(fields: Fields) -> ClassSpec:
    affinity = None
    if fields.raw("affinity") is not None:
        affinity = tuple(_term(each) for each in fields.each("affinity"))
    klass = ClassSpec(
        demand=demand(fields.fields("demand")),
        unasked=demand(fields.fields("unasked")),
        selector=fields.pairs("selector"),
        affinity=affinity,
        tolerations=tuple(toleration(each) for each in fields.each("tolerations")),
        profile=fields.text("profile"),
    )
    try:
        return normalise(klass)
    except BadSpec as error:
        raise BadManifest(f"{fields.path}.{error.field}", error.reason) from None


def _term(fields: Fields) -> Term:
    fields.refuse_unknown(("labels", "fields"))
    return Term(
        labels=tuple(requirement(each) for each in fields.each("labels")),
        fields=tuple(requirement(each) for each in fields.each("fields")),
    )


def _share(spec: Fields, key: str, default: int) -> int | str:
    """A count or a percentage; the rolling controller reads it."""
    value = spec.raw(key)
    if value is None:
        return default
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    digits = text.removesuffix("%") if isinstance(text, str) else ""
    if not (digits.isascii() and digits.isdecimal()):
        raise BadManifest(spec.at(key), f"{shown(value)} is no count and no percentage")
    return text


def _refuse_unknown(fields: Fields, known: tuple[str, ...]) -> None:
    for key in fields:
        if key in LATER and key not in known:
            raise unimplemented(join(fields.path, key), "is not supported yet")
    fields.refuse_unknown(known)
