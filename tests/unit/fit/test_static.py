"""Static rules: Kubernetes' own corner cases by name, and the kernels against a dumb twin."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell.classes import ClassSpec, Toleration, normalise
from cell.fit.static import LOG_MAX, StaticMask, StaticNodes, rules_of
from cell.node import NodeSpec, Taint
from cell.requirements import Operator, Requirement, Term
from tests.unit.fit.tables import put_nodes

NO_SCHEDULE = Taint("dedicated", "gpu", "NoSchedule")


def a_node(name: str = "n", **fields: object) -> NodeSpec:
    return NodeSpec(name, **fields)  # type: ignore[arg-type]


def wants(*labels: Requirement, fields: tuple[Requirement, ...] = ()) -> ClassSpec:
    return ClassSpec(affinity=(Term(labels, fields),))


def is_matched(spec: ClassSpec, node: NodeSpec) -> bool:
    statics = StaticNodes()
    put_nodes(statics, {0: node})
    return bool(StaticMask(statics, rules_of(normalise(spec), statics.strings)).read()[0])


@dataclass(frozen=True)
class Case:
    name: str
    spec: ClassSpec
    node: NodeSpec
    want: bool


R = Requirement
CASES = [
    Case("nothing demanded, any node does", ClassSpec(), a_node(), True),
    Case("selector needs the key", ClassSpec(selector=(("a", ""),)), a_node(), False),
    Case(
        "selector needs the value",
        ClassSpec(selector=(("a", "1"),)),
        a_node(labels=(("a", "2"),)),
        False,
    ),
    Case("no terms match nothing", ClassSpec(affinity=()), a_node(), False),
    Case("an empty term matches nothing", ClassSpec(affinity=(Term(),)), a_node(), False),
    Case("NotIn matches an absent key", wants(R("a", Operator.NOT_IN, ("1",))), a_node(), True),
    Case("In needs the key", wants(R("a", Operator.IN, ("1",))), a_node(), False),
    Case(
        "Gt compares numbers, not text",
        wants(R("a", Operator.GT, ("9",))),
        a_node(labels=(("a", "10"),)),
        True,
    ),
    Case(
        "Gt never matches what is no number",
        wants(R("a", Operator.GT, ("-1",))),
        a_node(labels=(("a", "x"),)),
        False,
    ),
    Case(
        "a number beyond int64 is none",
        wants(R("a", Operator.GT, ("1",))),
        a_node(labels=(("a", str(1 << 63)),)),
        False,
    ),
    Case(
        "underscores make no number",
        wants(R("a", Operator.LT, ("99",))),
        a_node(labels=(("a", "1_0"),)),
        False,
    ),
    Case(
        "a plus sign makes a number",
        wants(R("a", Operator.LT, ("99",))),
        a_node(labels=(("a", "+5"),)),
        True,
    ),
    Case("Lt never matches an absent key", wants(R("a", Operator.LT, ("9",))), a_node(), False),
    Case(
        "the name is a field",
        wants(fields=(R("metadata.name", Operator.IN, ("n",)),)),
        a_node("n"),
        True,
    ),
    Case(
        "the name may be excluded",
        wants(fields=(R("metadata.name", Operator.NOT_IN, ("n",)),)),
        a_node("n"),
        False,
    ),
    Case(
        "selector and affinity both count",
        ClassSpec(selector=(("a", "1"),), affinity=(Term((R("b", Operator.EXISTS),)),)),
        a_node(labels=(("a", "1"),)),
        False,
    ),
    Case("NoSchedule filters", ClassSpec(), a_node(taints=(NO_SCHEDULE,)), False),
    Case("NoExecute filters", ClassSpec(), a_node(taints=(Taint("a", "", "NoExecute"),)), False),
    Case(
        "PreferNoSchedule does not",
        ClassSpec(),
        a_node(taints=(Taint("a", "", "PreferNoSchedule"),)),
        True,
    ),
    Case(
        "Exists with no key tolerates all",
        ClassSpec(tolerations=(Toleration("", "Exists"),)),
        a_node(taints=(NO_SCHEDULE, Taint("a", "", "NoExecute"))),
        True,
    ),
    Case(
        "a toleration of another effect does not help",
        ClassSpec(tolerations=(Toleration("dedicated", "Exists", "", "NoExecute"),)),
        a_node(taints=(NO_SCHEDULE,)),
        False,
    ),
    Case(
        "Equal needs the value",
        ClassSpec(tolerations=(Toleration("dedicated", "Equal", "cpu"),)),
        a_node(taints=(NO_SCHEDULE,)),
        False,
    ),
    Case("a cordoned node takes nothing", ClassSpec(), a_node(unschedulable=True), False),
    Case(
        "unless its taint is tolerated",
        ClassSpec(tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists"),)),
        a_node(unschedulable=True),
        True,
    ),
    Case(
        "for NoSchedule, not for NoExecute",
        ClassSpec(
            tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoExecute"),)
        ),
        a_node(unschedulable=True),
        False,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_class_on_a_node(case: Case) -> None:
    assert is_matched(case.spec, case.node) is case.want


def test_a_removed_node_matches_nothing_and_loses_its_name() -> None:
    statics = StaticNodes()
    mask = StaticMask(statics, rules_of(ClassSpec(), statics.strings))
    put_nodes(statics, {0: a_node("a"), 1: a_node("b")})
    assert mask.read().tolist() == [True, True]
    put_nodes(statics, {0: None})
    assert mask.read().tolist() == [False, True]
    assert statics.node_of("a") == -1
    assert statics.node_of("b") == 1


def test_a_mask_far_behind_the_log_is_computed_afresh() -> None:
    statics = StaticNodes()
    put_nodes(statics, {0: a_node("a"), 1: a_node("b")})
    mask = StaticMask(statics, rules_of(ClassSpec(), statics.strings))
    mask.read()
    put_nodes(statics, {1: a_node("b", unschedulable=True)})
    many = {i: a_node(f"n{i}") for i in range(2, LOG_MAX * 2 + 10)}
    put_nodes(statics, many)
    assert statics.changed_since(0) is None
    assert mask.read()[:3].tolist() == [True, False, True]


# Differential: the same rules, one node at a time, from the words of Kubernetes' documentation.

_KEYS = st.sampled_from(["a", "b"])
_VALUES = st.sampled_from(["", "1", "2", "-7", "x", "99999999999999999999"])
_EFFECT = st.sampled_from(["NoSchedule", "PreferNoSchedule", "NoExecute"])
_NAMES = ["n0", "n1", "n2", "n3"]


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(list(Operator)))
    match operator:
        case Operator.IN | Operator.NOT_IN:
            values = tuple(draw(st.lists(_VALUES, min_size=1, max_size=3)))
        case Operator.GT | Operator.LT:
            values = (draw(st.sampled_from(["0", "1", "-8"])),)
        case _:
            values = ()
    return Requirement(draw(_KEYS), operator, values)


_FIELDS = st.builds(
    Requirement,
    st.just("metadata.name"),
    st.sampled_from([Operator.IN, Operator.NOT_IN]),
    st.tuples(st.sampled_from(_NAMES)),
)
_TERMS = st.builds(
    Term,
    st.lists(requirements(), max_size=2).map(tuple),
    st.lists(_FIELDS, max_size=1).map(tuple),
)
_TOLERATIONS = st.one_of(
    st.builds(Toleration, _KEYS, st.just("Equal"), _VALUES, st.one_of(st.just(""), _EFFECT)),
    st.builds(
        Toleration,
        st.sampled_from(["", "a", "node.kubernetes.io/unschedulable"]),
        st.just("Exists"),
        st.just(""),
        st.one_of(st.just(""), _EFFECT),
    ),
)
_CLASSES = st.builds(
    ClassSpec,
    selector=st.dictionaries(_KEYS, _VALUES, max_size=1).map(lambda d: tuple(d.items())),
    affinity=st.one_of(st.none(), st.lists(_TERMS, max_size=2).map(tuple)),
    tolerations=st.lists(_TOLERATIONS, max_size=2).map(tuple),
).map(normalise)
_NODES = st.builds(
    NodeSpec,
    st.sampled_from(_NAMES),
    labels=st.dictionaries(_KEYS, _VALUES, max_size=2).map(lambda d: tuple(d.items())),
    taints=st.lists(st.builds(Taint, _KEYS, _VALUES, _EFFECT), max_size=2).map(tuple),
    unschedulable=st.booleans(),
)
_STEPS = st.lists(
    st.dictionaries(st.integers(0, 3), st.one_of(st.none(), _NODES), min_size=1), max_size=4
)


def twin(spec: ClassSpec, node: NodeSpec | None) -> bool:
    if node is None:
        return False
    labels = dict(node.labels)
    taints = list(node.taints)
    if node.unschedulable:
        taints.append(Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"))
    for taint in taints:
        if taint.effect != "PreferNoSchedule" and not any(
            t.effect in ("", taint.effect)
            and t.key in ("", taint.key)
            and (t.operator == "Exists" or t.value == taint.value)
            for t in spec.tolerations
        ):
            return False
    if any(labels.get(key) != value for key, value in spec.selector):
        return False
    if spec.affinity is None:
        return True
    return any(
        (term.labels or term.fields)
        and all(holds(r, labels.get(r.key)) for r in term.labels)
        and all(holds(r, node.name) for r in term.fields)
        for term in spec.affinity
    )


def holds(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case Operator.IN:
            return value in requirement.values
        case Operator.NOT_IN:
            return value not in requirement.values
        case Operator.EXISTS:
            return value is not None
        case Operator.DOES_NOT_EXIST:
            return value is None
    try:
        number = int(value or "")
    except ValueError:
        return False
    if not -(2**63) <= number < 2**63:
        return False
    bound = int(requirement.values[0])
    return number > bound if requirement.operator is Operator.GT else number < bound


@given(_CLASSES, _STEPS)
def test_a_mask_repaired_along_any_history_equals_the_twin(
    spec: ClassSpec, steps: list[dict[int, NodeSpec | None]]
) -> None:
    statics = StaticNodes()
    mask = StaticMask(statics, rules_of(spec, statics.strings))
    now: dict[int, NodeSpec | None] = {}
    for step in steps:
        put_nodes(statics, step)
        now |= step
        want = [twin(spec, now.get(i)) for i in range(max(now) + 1)]
        assert mask.read().tolist() == want
