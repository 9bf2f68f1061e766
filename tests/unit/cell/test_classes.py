"""Classes and nodes: what is refused names its field; equal specs have equal hashes."""

from dataclasses import dataclass

import pytest

from cell import classes, node
from cell.classes import ClassSpec, Toleration
from cell.node import NodeSpec, Taint
from cell.requirements import BadSpec, Operator, Requirement, Term


@dataclass(frozen=True)
class Case:
    name: str
    spec: ClassSpec
    want_field: str
    want_reason: str


def needs(requirement: Requirement) -> ClassSpec:
    return ClassSpec(affinity=(Term((requirement,)),))


REFUSED = [
    Case("a negative request", ClassSpec((("cpu", -1),)), "demand[cpu]", "negative"),
    Case(
        "a request above the limit",
        ClassSpec((("cpu", classes.AMOUNT_MAX + 1),)),
        "demand[cpu]",
        "above the limit",
    ),
    Case("a resource named twice", ClassSpec((("a", 1), ("a", 2))), "demand[a]", "twice"),
    Case("a resource without a name", ClassSpec((("", 1),)), "demand[]", "empty"),
    Case("two pod slots", ClassSpec((("pods", 2),)), "demand[pods]", "exactly one"),
    Case(
        "too many resources",
        ClassSpec(tuple((f"r{i}", 1) for i in range(classes.RESOURCES_MAX + 1))),
        "demand",
        "17 resources, limit 16",
    ),
    Case(
        "an absurd label",
        ClassSpec(selector=(("k", "x" * 318),)),
        "selector[k]",
        "318 bytes, limit 317",
    ),
    Case(
        "a selector key named twice",
        ClassSpec(selector=(("k", "1"), ("k", "2"))),
        "selector",
        "twice",
    ),
    Case(
        "In without values",
        needs(Requirement("k", Operator.IN)),
        "affinity[0].labels[0].values",
        "needs",
    ),
    Case(
        "Exists with values",
        needs(Requirement("k", Operator.EXISTS, ("v",))),
        "affinity[0].labels[0].values",
        "takes none",
    ),
    Case(
        "Gt with a word",
        needs(Requirement("k", Operator.GT, ("many",))),
        "affinity[0].labels[0].values",
        "one integer",
    ),
    Case(
        "Gt beyond 64 bits",
        needs(Requirement("k", Operator.GT, (str(1 << 63),))),
        "affinity[0].labels[0].values",
        "one integer",
    ),
    Case(
        "a field that is none",
        ClassSpec(affinity=(Term((), (Requirement("spec.x", Operator.IN, ("a",)),)),)),
        "affinity[0].fields[0].key",
        "metadata.name",
    ),
    Case(
        "a toleration without key that is Equal",
        ClassSpec(tolerations=(Toleration("", "Equal", "v"),)),
        "tolerations[0].key",
        "Exists",
    ),
    Case(
        "an effect that is none",
        ClassSpec(tolerations=(Toleration("k", "Exists", "", "Never"),)),
        "tolerations[0].effect",
        "no taint effect",
    ),
]


def several(count: int) -> list[ClassSpec]:
    """Classes with `count` entries wherever TERMS_MAX holds."""
    exists = Requirement("k", Operator.EXISTS)
    names = [f"k{i}" for i in range(count)]
    return [
        ClassSpec(selector=tuple((name, "v") for name in names)),
        ClassSpec(affinity=(Term((exists,)),) * count),
        ClassSpec(affinity=(Term((exists,) * count),)),
        ClassSpec(tolerations=tuple(Toleration(name, "Exists") for name in names)),
    ]


@pytest.mark.parametrize("i", range(4), ids=["selector", "terms", "requirements", "tolerations"])
def test_lists_of_a_class_have_32_entries_at_most(i: int) -> None:
    classes.normalise(several(32)[i])
    with pytest.raises(BadSpec, match="33 entries, limit 32"):
        classes.normalise(several(33)[i])


def test_a_requirement_has_256_values_at_most() -> None:
    values = tuple(str(i) for i in range(257))
    classes.normalise(needs(Requirement("k", Operator.IN, values[:256])))
    with pytest.raises(BadSpec, match="257 entries, limit 256"):
        classes.normalise(needs(Requirement("k", Operator.IN, values)))


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c.name)
def test_a_bad_class_is_refused_by_field(case: Case) -> None:
    with pytest.raises(BadSpec) as refused:
        classes.normalise(case.spec)
    assert refused.value.field == case.want_field
    assert case.want_reason in refused.value.reason


def test_order_and_zeros_do_not_change_a_class() -> None:
    one = ClassSpec(
        (("memory", 5), ("cpu", 1), ("gpu", 0), ("pods", 1)),
        (("b", "2"), ("a", "1")),
        tolerations=(Toleration("x", "Exists"), Toleration("x", "Exists")),
    )
    two = ClassSpec(
        (("cpu", 1), ("memory", 5)),
        (("a", "1"), ("b", "2")),
        tolerations=(Toleration("x", "Exists"),),
    )
    assert classes.normalise(one).digest() == classes.normalise(two).digest()


def test_no_affinity_differs_from_one_that_matches_nothing() -> None:
    assert ClassSpec(affinity=None).digest() != ClassSpec(affinity=()).digest()


def test_a_class_survives_its_canonical_form() -> None:
    spec = classes.normalise(needs(Requirement("k", Operator.NOT_IN, ("a", "b"))))
    assert classes.decode(spec.encoded()) == spec


@dataclass(frozen=True)
class NodeCase:
    name: str
    spec: NodeSpec
    want_field: str


@pytest.mark.parametrize(
    "case",
    [
        NodeCase("no name", NodeSpec(""), "name"),
        NodeCase("a long name", NodeSpec("n" * 254), "name"),
        NodeCase("a negative amount", NodeSpec("n", (("cpu", -1),)), "allocatable[cpu]"),
        NodeCase("a label key twice", NodeSpec("n", labels=(("a", "1"), ("a", "2"))), "labels"),
        NodeCase("an absurd label", NodeSpec("n", labels=(("a", "x" * 400),)), "labels[a]"),
        NodeCase(
            "a taint without key",
            NodeSpec("n", taints=(Taint("", "", "NoSchedule"),)),
            "taints[0].key",
        ),
        NodeCase(
            "a taint effect", NodeSpec("n", taints=(Taint("k", "", "No"),)), "taints[0].effect"
        ),
        NodeCase(
            "too many labels",
            NodeSpec("n", labels=tuple((f"k{i}", "") for i in range(node.NODE_LABELS_MAX + 1))),
            "labels",
        ),
        NodeCase(
            "too many taints",
            NodeSpec("n", taints=(Taint("k", "", "NoSchedule"),) * (node.NODE_TAINTS_MAX + 1)),
            "taints",
        ),
        NodeCase(
            "too many resources",
            NodeSpec("n", tuple((f"r{i}", 1) for i in range(node.NODE_RESOURCES_MAX + 1))),
            "allocatable",
        ),
    ],
    ids=lambda c: c.name,
)
def test_a_bad_node_is_refused_by_field(case: NodeCase) -> None:
    with pytest.raises(BadSpec) as refused:
        node.normalise(case.spec)
    assert refused.value.field == case.want_field


def test_a_node_gets_pod_slots() -> None:
    made = node.normalise(NodeSpec("n1", (("cpu", 4000),)))
    assert dict(made.allocatable) == {"cpu": 4000, "pods": node.PODS_DEFAULT}
