"""From documents to units and rollingsets: keys, counts, gangs, and faults told by their place."""

from dataclasses import dataclass
from typing import Any

import pytest

from cell.reasons import Status
from cell.unit import Place
from runtime.documents import documents
from runtime.fields import BadManifest
from runtime.manifests import PODS_MAX, Submission, submission

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{resources: {requests: {cpu: 1}}}]}
"""


def read(*texts: str, namespace: str = "default") -> Submission:
    """What texts ask for, each a file of its own: f0, f1, ..."""
    listed = [each for i, text in enumerate(texts) for each in documents(text, f"f{i}")]
    return submission(listed, namespace)


def workload(kind: str, spec: str = "", metadata: str = "name: w") -> str:
    """A workload whose pods ask for one cpu."""
    version = "batch/v1" if kind == "Job" else "apps/v1"
    template = "template: {spec: {containers: [{resources: {requests: {cpu: 1}}}]}}"
    inner = f"{spec}, {template}" if spec else template
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{inner}}}\n"


def own(kind: str, spec: str, metadata: str = "name: u") -> str:
    """An object of our own kinds."""
    return f"apiVersion: godel.dev/v1\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n"


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    want: list[tuple[str, int, int]]
    """(key, count, min) of each unit."""


GANG = 'name: w, annotations: {godel.dev/gang: "%s"}'
CASES = [
    Case("a pod", POD, [("default/web", 1, 1)]),
    Case(
        "a deployment",
        workload("Deployment", "replicas: 2"),
        [("default/w-0", 1, 1), ("default/w-1", 1, 1)],
    ),
    Case("one replica by default", workload("Deployment"), [("default/w-0", 1, 1)]),
    Case("no replicas", workload("Deployment", "replicas: 0"), []),
    Case("a replica set", workload("ReplicaSet"), [("default/w-0", 1, 1)]),
    Case(
        "a stateful set that starts at 5",
        workload("StatefulSet", "replicas: 2, ordinals: {start: 5}", "name: w, namespace: db"),
        [("db/w-5", 1, 1), ("db/w-6", 1, 1)],
    ),
    Case("a job", workload("Job"), [("default/w-0", 1, 1)]),
    Case(
        "a job's pods that start first",
        workload("Job", "parallelism: 2, completions: 9, completionMode: Indexed"),
        [("default/w-0", 1, 1), ("default/w-1", 1, 1)],
    ),
    Case(
        "a job of fewer pods",
        workload("Job", "parallelism: 5, completions: 1"),
        [("default/w-0", 1, 1)],
    ),
    Case(
        "a work queue",
        workload("Job", "parallelism: 2"),
        [("default/w-0", 1, 1), ("default/w-1", 1, 1)],
    ),
    Case("a suspended job", workload("Job", "suspend: true"), []),
    Case("a gang", workload("Job", "parallelism: 4", GANG % "true"), [("default/w", 4, 4)]),
    Case(
        "an elastic gang", workload("Deployment", "replicas: 4", GANG % "3"), [("default/w", 4, 3)]
    ),
    Case("no gang", workload("Deployment", "replicas: 1", GANG % "false"), [("default/w-0", 1, 1)]),
    Case("a unit", own("Unit", "groups: [{demand: {cpu: 1}}]"), [("u", 1, 1)]),
    Case(
        "a unit in a namespace",
        own("Unit", "groups: [{count: 3}]", "name: u, namespace: n"),
        [("n/u", 3, 3)],
    ),
    Case("an elastic unit", own("Unit", "groups: [{count: 3, min: 0}]"), [("u", 3, 0)]),
    Case(
        "a list in a list",
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: PodList\n  items:\n"
        "  - {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{}]}}\n",
        [("default/a", 1, 1)],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_units(case: Case) -> None:
    units = read(case.text).units
    assert [(unit.key, unit.groups[0].count, unit.groups[0].min) for unit in units] == case.want
    assert all(len(unit.groups) == 1 for unit in units)


def test_replicas_of_one_template_are_one_class() -> None:
    units = read(workload("Deployment", "replicas: 3")).units
    assert len({unit.groups[0].klass for unit in units}) == 1
    assert units[0].groups[0].klass.demand == (("cpu", 1000),)


def test_documents_keep_their_order_over_files_and_kinds() -> None:
    made = read(POD + "---\n" + workload("Deployment"), own("Unit", "groups: [{}]"))
    assert [unit.key for unit in made.units] == ["default/web", "default/w-0", "u"]


def test_a_namespace_given_from_outside_is_for_kubernetes_manifests() -> None:
    made = read(POD, own("Unit", "groups: [{}]"), namespace="prod")
    assert [unit.key for unit in made.units] == ["prod/web", "u"]


def test_a_unit_says_everything_the_class_has() -> None:
    groups = """
        priority: 5,
        groups: [
          {role: ps, count: 2, pin: n1, demand: {cpu: 500m, memory: 1Gi, gpu: 0.5},
           selector: {zone: a}, profile: most,
           affinity: [{labels: [{key: a, operator: In, values: [b]}]}],
           tolerations: [{key: k, operator: Exists}]},
          {role: worker, count: 8, min: 6,
           template: {spec: {priority: 9, containers: [{resources: {limits: {cpu: 2}}}]}}}]"""
    unit = read(own("Unit", groups)).units[0]
    ps, worker = unit.groups
    assert unit.priority == 5
    assert (ps.role, ps.count, ps.min, ps.pin) == ("ps", 2, 2, "n1")
    assert ps.klass.demand == (("cpu", 500), ("gpu", 500), ("memory", 1 << 30))
    assert ps.klass.selector == (("zone", "a"),)
    assert ps.klass.profile == "most"
    assert ps.klass.affinity is not None
    assert ps.klass.tolerations[0].operator == "Exists"
    assert (worker.role, worker.count, worker.min) == ("worker", 8, 6)
    assert worker.klass.demand == (("cpu", 2000),)


def test_a_units_priority_is_that_of_its_templates_where_it_names_none() -> None:
    text = "groups: [{template: {spec: {priority: 9, containers: [{}]}}}, {}]"
    assert read(own("Unit", text)).units[0].priority == 9


def test_a_rollingset() -> None:
    text = """
        rows: 10, max_unavailable: 25%, keep: 1, place: anywhere, is_paused: true, priority: 3,
        columns: [{name: web, count: 2, demand: {cpu: 1}},
                  {name: log, template: {spec: {containers: [{}]}}}]"""
    (made,) = read(own("Rollingset", text, "name: r")).rollingsets
    assert (made.name, made.rows, made.max_unavailable, made.keep) == ("r", 10, "25%", "1")
    assert (made.place, made.is_paused, made.priority) == (Place.ANYWHERE, True, 3)
    assert [(c.name, c.count, c.klass.demand) for c in made.columns] == [
        ("web", 2, (("cpu", 1000),)),
        ("log", 1, ()),
    ]


def test_priority_classes_among_the_files_are_known_wherever_they_stand() -> None:
    classes = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: usual}
value: 10
globalDefault: true
"""
    pod = POD.replace("{containers", "{priorityClassName: high, containers")
    made = read(pod, classes, workload("Deployment"))
    assert [unit.priority for unit in made.units] == [1000, 10]


def test_what_has_no_pods_is_left_out_with_a_warning() -> None:
    made = read("apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---" + POD)
    assert len(made.units) == 1
    assert made.warnings == ["f0: document 1: Service: nothing to place, left out"]


@dataclass(frozen=True)
class Warned:
    name: str
    text: str
    want: str


WARNED = [
    Warned("a job's later pods", workload("Job", "parallelism: 2, completions: 9"), "the 7 pods"),
    Warned("a suspended job", workload("Job", "suspend: true"), "asks for no pods"),
    Warned("no replicas", workload("Deployment", "replicas: 0"), "asks for no pods"),
]


@pytest.mark.parametrize("case", WARNED, ids=lambda case: case.name)
def test_a_warning_says_what_is_not_submitted(case: Warned) -> None:
    warnings = read(case.text).warnings
    assert any(
        case.want in warning and warning.startswith("f0: document 1: ") for warning in warnings
    )


@dataclass(frozen=True)
class Bad:
    name: str
    text: str
    want_field: str
    want_reason: str
    want_status: Status = Status.INVALID_ARGUMENT


BAD = [
    Bad("no kind", "apiVersion: v1", "kind", "is needed"),
    Bad("no version", "kind: Pod", "apiVersion", "is needed"),
    Bad("no fields", "- a", "document", "needs fields"),
    Bad(
        "another kind",
        "apiVersion: apps/v1\nkind: DaemonSet",
        "kind",
        "is none of",
        Status.UNIMPLEMENTED,
    ),
    Bad("another version", POD.replace("v1", "v2"), "kind", "v2 Pod", Status.UNIMPLEMENTED),
    Bad(
        "no name", POD.replace("{name: web}", "{generateName: web-}"), "metadata.name", "is needed"
    ),
    Bad("a number for a name", POD.replace("web", "5"), "metadata.name", "put it in quotes"),
    Bad("a long name", POD.replace("web", "w" * 254), "metadata.name", "limit 253"),
    Bad(
        "text for a count", workload("Deployment", 'replicas: "3"'), "spec.replicas", "whole number"
    ),
    Bad("a negative count", workload("Deployment", "replicas: -1"), "spec.replicas", "not between"),
    Bad(
        "a huge count",
        workload("Deployment", f"replicas: {PODS_MAX + 1}"),
        "spec.replicas",
        "not between",
    ),
    Bad("a huge job", workload("Job", f"parallelism: {PODS_MAX + 1}"), "spec", "limit"),
    Bad(
        "a fault in a template",
        workload("Deployment").replace("cpu: 1", "cpu: x"),
        "spec.template.spec.containers[0].resources.requests[cpu]",
        "no quantity",
    ),
    Bad(
        "volumes of a stateful set",
        workload("StatefulSet", "volumeClaimTemplates: [{}]"),
        "spec.volumeClaimTemplates",
        "not supported",
        Status.UNIMPLEMENTED,
    ),
    Bad(
        "a job's own gang",
        workload("Job", "scheduling: {policy: {gang: {minCount: 2}}}"),
        "spec.scheduling",
        "godel.dev/gang",
        Status.UNIMPLEMENTED,
    ),
    Bad(
        "a gang of words",
        workload("Job", "", GANG % "all"),
        "metadata.annotations[godel.dev/gang]",
        "neither",
    ),
    Bad(
        "a gang's minimum above it",
        workload("Job", "", GANG % "2"),
        "metadata.annotations[godel.dev/gang]",
        "1 to 1",
    ),
    Bad(
        "a gang too large",
        workload("Deployment", "replicas: 4097", GANG % "true"),
        "metadata.annotations[godel.dev/gang]",
        "limit 4096",
    ),
    Bad("no groups", own("Unit", "priority: 1"), "spec.groups", "needs 1 to 16"),
    Bad("a misspelt field", own("Unit", "group: [{}]"), "spec.group", "no such field"),
    Bad(
        "a misspelt demand",
        own("Unit", "groups: [{demands: {cpu: 1}}]"),
        "spec.groups[0].demands",
        "no such field",
    ),
    Bad(
        "a minimum above the count",
        own("Unit", "groups: [{count: 2, min: 3}]"),
        "spec.groups[0].min",
        "between 0 and 2",
    ),
    Bad(
        "no replicas in a group",
        own("Unit", "groups: [{count: 0}]"),
        "spec.groups[0].count",
        "between 1",
    ),
    Bad(
        "a negative demand",
        own("Unit", "groups: [{demand: {cpu: -1}}]"),
        "spec.groups[0].demand[cpu]",
        "negative",
    ),
    Bad(
        "a bad label",
        own("Unit", 'groups: [{selector: {"": a}}]'),
        "spec.groups[0].selector[]",
        "empty",
    ),
    Bad("no unit name", own("Unit", "groups: [{}]", "labels: {}"), "metadata.name", "is needed"),
    Bad(
        "a later field",
        own("Unit", "queue: q, groups: [{}]"),
        "spec.queue",
        "not supported yet",
        Status.UNIMPLEMENTED,
    ),
    Bad(
        "a later field of a group",
        own("Unit", "groups: [{topology: {level: rack}}]"),
        "spec.groups[0].topology",
        "not supported yet",
        Status.UNIMPLEMENTED,
    ),
    Bad(
        "a template and a demand",
        own("Unit", "groups: [{demand: {cpu: 1}, template: {spec: {containers: [{}]}}}]"),
        "spec.groups[0].demand",
        "beside a template",
    ),
    Bad("no rows", own("Rollingset", "columns: [{name: a}]"), "spec.rows", "is needed"),
    Bad("no columns", own("Rollingset", "rows: 1"), "spec.columns", "at least one"),
    Bad(
        "no share",
        own("Rollingset", "rows: 1, max_unavailable: many"),
        "spec.columns",
        "at least one",
    ),
    Bad(
        "a share that is none",
        own("Rollingset", "rows: 1, columns: [{name: a}], max_unavailable: -1"),
        "spec.max_unavailable",
        "no percentage",
    ),
    Bad(
        "a place that is none",
        own("Rollingset", "rows: 1, place: here"),
        "spec.place",
        "keep, anywhere",
    ),
    Bad(
        "rows on one node",
        own(
            "Rollingset",
            "rows: 1, columns: [{name: a, template: {spec: {nodeName: n, containers: [{}]}}}]",
        ),
        "spec.columns[0].template.spec.nodeName",
        "pinned",
        Status.UNIMPLEMENTED,
    ),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.name)
def test_a_fault_names_place_field_and_reason(case: Bad) -> None:
    with pytest.raises(BadManifest) as caught:
        read(POD.replace("web", "good"), "apiVersion: v1\nkind: Secret\n---\n" + case.text)
    error = caught.value
    assert (error.place, error.field, error.status) == (
        "f1: document 2",
        case.want_field,
        case.want_status,
    )
    assert case.want_reason in error.reason
    assert str(error) == f"f1: document 2: {case.want_field}: {error.reason}"


@pytest.mark.parametrize(
    ("first", "second", "want"),
    [
        (POD, POD, "default/web stands in f0: document 1 too"),
        (workload("Deployment"), POD.replace("web", "w-0"), "default/w-0 stands in f0"),
        (own("Rollingset", "rows: 1, columns: [{name: a}]"),) * 2 + ("rollingset/u stands in f0",),
    ],
)
def test_a_key_that_stands_twice_is_refused(first: str, second: str, want: str) -> None:
    with pytest.raises(BadManifest, match=want):
        read(first, second)


def test_a_unit_and_a_rollingset_may_have_one_name() -> None:
    made = read(own("Unit", "groups: [{}]"), own("Rollingset", "rows: 1, columns: [{name: a}]"))
    assert (len(made.units), len(made.rollingsets)) == (1, 1)


def test_a_list_that_holds_itself_is_refused() -> None:
    items: dict[str, Any] = {"apiVersion": "v1", "kind": "List", "items": []}
    items["items"].append(items)
    with pytest.raises(BadManifest, match="items"):
        submission([*documents(POD, "f"), documents("a: 1", "g")[0]._replace(content=items)])
