"""What a Kubernetes pod says of other pods, as `cell.between` has it: affinity, spread, host ports.

Namespace selectors are resolved here, to the names of namespaces that match, and the label keys to
match are made requirements, as kube-apiserver does when it admits a pod (doing it again changes
nothing).
"""

from __future__ import annotations

from collections.abc import Mapping

from cell.between import (
    ANY_ADDRESS,
    Between,
    HostPort,
    PodTerm,
    PodWish,
    Spread,
    is_selected,
)
from cell.requirements import Operator, Requirement
from runtime.fields import BadManifest, Fields, unimplemented
from runtime.pod_requests import is_restartable
from runtime.selectors import label_selector

Namespaces = Mapping[str, Mapping[str, str]]
"""Labels of namespaces, by name."""
REPLICA_KEYS = frozenset(
    (
        *("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"),
        *("batch.kubernetes.io/job-completion-index", "batch.kubernetes.io/controller-uid"),
        *("batch.kubernetes.io/job-name", "controller-uid", "job-name"),
    )
)
"""Labels that controllers give each pod, or each of many jobs, anew: with them nearly every pod
would be a class of its own."""
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NAME_LABEL = "kubernetes.io/metadata.name"
"""Label that every namespace has."""


def pod_between(
    metadata: Fields,
    spec: Fields,
    namespace: str,
    namespaces: Namespaces,
    *,
    is_held: bool,
    is_live: bool = False,
) -> Between:
    """What the pod of that namespace says. Raises BadManifest.

    Where no `namespaces` are known, selectors of them are refused. In a cluster that is followed
    (`is_live`) such a selector of a pod that is there (`is_held`) is taken to mean all, since the
    pod is not read again when namespaces change; and labels of REPLICA_KEYS are left out, and so
    are not to be read.
    """
    affinity = spec.fields("affinity")
    reader = _Reader(metadata, namespace, namespaces, is_held=is_held, is_live=is_live)
    attract, repel = affinity.fields("podAffinity"), affinity.fields("podAntiAffinity")
    for each in (attract, repel):
        each.refuse_unknown((REQUIRED, PREFERRED))
    wishes = [reader.wish(each, 1) for each in attract.each(PREFERRED)]
    wishes += [reader.wish(each, -1) for each in repel.each(PREFERRED)]
    labels = metadata.pairs("labels")
    if is_live:
        labels = tuple((key, value) for key, value in labels if key not in REPLICA_KEYS)
    return Between(
        namespace=namespace,
        labels=labels,
        affinity=tuple(reader.term(each) for each in attract.each(REQUIRED)),
        anti_affinity=tuple(reader.term(each) for each in repel.each(REQUIRED)),
        wishes=tuple(wishes),
        spread=tuple(reader.spread(each) for each in spec.each("topologySpreadConstraints")),
        ports=host_ports(spec),
    )


def host_ports(spec: Fields) -> tuple[HostPort, ...]:
    """Ports of the node that containers and sidecars take; on the host's network all they name."""
    is_host_network = spec.flag("hostNetwork")
    sidecars = [each for each in spec.each("initContainers") if is_restartable(each)]
    found = []
    for container in (*spec.each("containers"), *sidecars):
        for port in container.each("ports"):
            key = "containerPort" if is_host_network and not port.raw("hostPort") else "hostPort"
            number = port.integer(key, 0, 0, 65_535)
            if number:
                protocol = port.text("protocol") or "TCP"
                found.append(HostPort(number, protocol, port.text("hostIP") or ANY_ADDRESS))
    return tuple(found)


class _Reader:
    """Reads the terms of one pod."""

    def __init__(
        self,
        metadata: Fields,
        namespace: str,
        namespaces: Namespaces,
        *,
        is_held: bool,
        is_live: bool,
    ) -> None:
        self._is_held, self._is_live = is_held, is_live
        self._labels = dict(metadata.pairs("labels"))
        self._namespace = namespace
        self._namespaces = namespaces

    def wish(self, fields: Fields, sign: int) -> PodWish:
        """A weighted term; a negative sign is for anti-affinity."""
        weight = fields.integer("weight", 0, 1, 100)
        return PodWish(sign * weight, self.term(fields.fields("podAffinityTerm")))

    def term(self, fields: Fields) -> PodTerm:
        """A term of pod affinity."""
        selector = self._selector(fields)
        if selector is not None:
            selector += self._keys(fields, "matchLabelKeys", Operator.IN)
            selector += self._keys(fields, "mismatchLabelKeys", Operator.NOT_IN)
        return PodTerm(fields.text("topologyKey"), selector, self._meant(fields))

    def spread(self, fields: Fields) -> Spread:
        """A topology spread constraint."""
        selector = self._selector(fields)
        if selector is not None:
            selector += self._keys(fields, "matchLabelKeys", Operator.IN)
        most = (1 << 31) - 1
        return Spread(
            key=fields.text("topologyKey"),
            max_skew=fields.integer("maxSkew", 0, 1, most),
            selector=selector,
            is_required=_one_of(fields, "whenUnsatisfiable", "DoNotSchedule", "ScheduleAnyway"),
            domains_min=fields.integer("minDomains", 1, 1, most),
            is_affinity_honoured=_one_of(fields, "nodeAffinityPolicy", "Honor", "Ignore"),
            are_taints_honoured=not _one_of(fields, "nodeTaintsPolicy", "Ignore", "Honor"),
        )

    def _keys(self, fields: Fields, name: str, operator: Operator) -> tuple[Requirement, ...]:
        """Requirements on the pod's own values of some keys, where it has them."""
        return tuple(
            Requirement(key, operator, (self._labels[key],))
            for key in fields.texts(name)
            if key in self._labels
        )

    def _selector(self, fields: Fields) -> tuple[Requirement, ...] | None:
        if fields.raw("labelSelector") is None:
            return None
        selector = label_selector(fields.fields("labelSelector"))
        read = {requirement.key for requirement in selector} | {*fields.texts("matchLabelKeys")}
        unread = sorted(read & REPLICA_KEYS)
        if unread and self._is_live and not self._is_held:
            reason = f"labels that each pod has anew are not read yet: {unread[0]}"
            raise unimplemented(fields.at("labelSelector"), reason)
        return selector

    def _meant(self, fields: Fields) -> tuple[str, ...] | None:
        """Names of the namespaces that a term is about; None for all."""
        named = fields.texts("namespaces")
        if fields.raw("namespaceSelector") is None:
            return named or (self._namespace,)
        selector = label_selector(fields.fields("namespaceSelector"))
        if not selector or (self._is_live and self._is_held):
            return None
        if not self._namespaces:
            reason = "labels of namespaces are not known here: name the namespaces"
            raise unimplemented(fields.at("namespaceSelector"), reason)
        found = [
            name
            for name, labels in self._namespaces.items()
            if is_selected(selector, {**labels, NAME_LABEL: name})
        ]
        return (*named, *found)


def _one_of(fields: Fields, key: str, first: str, second: str) -> bool:
    """Whether a field says `first`, as it does when absent."""
    value = fields.text(key) or first
    if value not in (first, second):
        raise BadManifest(fields.at(key), f"{value!r} is neither {first} nor {second}")
    return value == first
