"""What a class says of other replicas: its own labels, pod affinity, topology spread, host ports,
volumes that it shares or must not share.

Part of `ClassSpec`. Two classes with the same needs and other labels are two classes only where
labels are read: who makes classes of pods leaves out labels that no selector reads. Namespaces are
names here; a namespace selector is resolved by whoever reads the pod.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cell.requirements import (
    BadSpec,
    Operator,
    Requirement,
    check_count,
    check_label,
    check_name,
    check_requirement,
    holds,
)

POD_TERMS_MAX = 32
"""Terms of one kind (required affinity, wishes, ...), and spread constraints, of one class."""
POD_LABELS_MAX = 256
NAMESPACES_MAX = 4096
"""Namespaces that one term names."""
PORTS_MAX = 256
CLAIMS_MAX = 256
"""Claims of volumes, and disks, of one class."""
WEIGHT_MAX = 100
PORT_MAX = 65_535
ANY_ADDRESS = "0.0.0.0"
PROTOCOLS = ("SCTP", "TCP", "UDP")

Labels = tuple[tuple[str, str], ...]
Selector = tuple[Requirement, ...] | None
"""All requirements must hold; an empty one selects everything, None nothing."""


class PodTerm(msgspec.Struct, frozen=True, array_like=True):
    """Replicas that a selector selects in some namespaces, within a domain of a node label."""

    key: str
    """The node label whose values are the domains."""
    selector: Selector
    namespaces: tuple[str, ...] | None
    """None: all."""


class PodWish(msgspec.Struct, frozen=True, array_like=True):
    """A preference for domains with such replicas, or with a negative weight against them."""

    weight: int
    term: PodTerm


class Spread(msgspec.Struct, frozen=True, array_like=True):
    """A topology spread constraint over replicas of the class's own namespace."""

    key: str
    max_skew: int
    selector: Selector
    is_required: bool = True
    domains_min: int = 1
    is_affinity_honoured: bool = True
    """Whether only nodes that the class's node affinity allows are counted."""
    are_taints_honoured: bool = False
    are_keys_needed: bool = True
    """For a wish: whether nodes that lack the key of any are ignored, as all but kube-scheduler's
    default constraints have it."""


class HostPort(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A port of the node that a replica takes for itself."""

    number: int
    protocol: str = "TCP"
    address: str = ANY_ADDRESS


class Claim(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A claim of a volume that a replica uses."""

    driver: str
    """Who attaches the volume to nodes, as far as nodes limit how many; "" for nobody."""
    name: str
    """With its namespace; one claim is one volume."""
    is_alone: bool = False
    """Whether one replica at a time may use it."""


class Disk(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A disk that the replica names itself, which a node mounts once."""

    kind: str
    name: str
    hosts: tuple[str, ...] = ()
    """Where it is served: disks of one name without a host in common are two; () for everywhere."""
    is_read_only: bool = False
    """Whether it may be mounted again by those who only read, too."""


class Between(msgspec.Struct, frozen=True, array_like=True):
    """See the module."""

    namespace: str = ""
    labels: Labels = ()
    affinity: tuple[PodTerm, ...] = ()
    """Each must have a replica in the node's domain."""
    anti_affinity: tuple[PodTerm, ...] = ()
    """None may have one, and no replica that comes later may be one."""
    wishes: tuple[PodWish, ...] = ()
    spread: tuple[Spread, ...] = ()
    ports: tuple[HostPort, ...] = ()
    claims: tuple[Claim, ...] = ()
    disks: tuple[Disk, ...] = ()


NOTHING = Between()


def is_selected(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether labels have all that a selector requires."""
    return selector is not None and all(holds(each, labels) for each in selector)


def is_meant(term: PodTerm, namespace: str, labels: dict[str, str]) -> bool:
    """Whether a replica of these labels is one of those that the term is about."""
    if term.namespaces is not None and namespace not in term.namespaces:
        return False
    return is_selected(term.selector, labels)


def keys_read(between: Between) -> set[str]:
    """Keys of pod labels that the selectors of a class read."""
    selectors = [term.selector for term in (*between.affinity, *between.anti_affinity)]
    selectors += [wish.term.selector for wish in between.wishes]
    selectors += [each.selector for each in between.spread]
    return {requirement.key for selector in selectors for requirement in selector or ()}


def normalise_between(between: Between | None) -> Between | None:
    """The canonical form: sorted, without doubles; None where nothing is said. Raises BadSpec."""
    if between is None:
        return None
    check_count("labels", len(between.labels), POD_LABELS_MAX)
    for key, value in between.labels:
        check_label(f"labels[{key}]", key, is_empty_allowed=False)
        check_label(f"labels[{key}]", value, is_empty_allowed=True)
    if len({key for key, _ in between.labels}) != len(between.labels):
        raise BadSpec("labels", "a key is named twice")
    check_label("namespace", between.namespace, is_empty_allowed=True)
    made = Between(
        namespace=between.namespace,
        labels=tuple(sorted(between.labels)),
        affinity=_terms("podAffinity", between.affinity),
        anti_affinity=_terms("podAntiAffinity", between.anti_affinity),
        wishes=_wishes(between.wishes),
        spread=_spread(between.spread),
        ports=_ports(between.ports),
        claims=_claims(between.claims),
        disks=_disks(between.disks),
    )
    return None if made == NOTHING else made


def _terms(field: str, terms: tuple[PodTerm, ...]) -> tuple[PodTerm, ...]:
    """Two that mean the same stay two: each of them is a wish of residents, too."""
    check_count(field, len(terms), POD_TERMS_MAX)
    made = [_term(f"{field}[{i}]", term) for i, term in enumerate(terms)]
    return tuple(sorted(made, key=msgspec.msgpack.encode))


def _term(field: str, term: PodTerm) -> PodTerm:
    check_label(f"{field}.topologyKey", term.key, is_empty_allowed=False)
    namespaces = term.namespaces
    if namespaces is not None:
        check_count(f"{field}.namespaces", len(namespaces), NAMESPACES_MAX)
        for name in namespaces:
            check_label(f"{field}.namespaces", name, is_empty_allowed=True)
        namespaces = tuple(sorted(set(namespaces)))
    return PodTerm(term.key, _selector(field, term.selector), namespaces)


def _selector(field: str, selector: Selector) -> Selector:
    if selector is None:
        return None
    check_count(f"{field}.labelSelector", len(selector))
    for i, requirement in enumerate(selector):
        path = f"{field}.labelSelector[{i}]"
        check_requirement(path, requirement)
        if requirement.operator in (Operator.GT, Operator.LT):
            raise BadSpec(f"{path}.operator", f"{requirement.operator} is for nodes alone")
    return tuple(sorted(set(selector)))


def _wishes(wishes: tuple[PodWish, ...]) -> tuple[PodWish, ...]:
    """Several of one term stay several: their sum may be beyond what one may weigh."""
    field = "preferredPodAffinity"
    check_count(field, len(wishes), 2 * POD_TERMS_MAX)
    made = []
    for i, wish in enumerate(wishes):
        if not 1 <= abs(wish.weight) <= WEIGHT_MAX:
            raise BadSpec(f"{field}[{i}].weight", f"{wish.weight} is not from 1 to {WEIGHT_MAX}")
        made.append(PodWish(wish.weight, _term(f"{field}[{i}]", wish.term)))
    return tuple(sorted(made, key=msgspec.msgpack.encode))


def _spread(spread: tuple[Spread, ...]) -> tuple[Spread, ...]:
    field = "topologySpreadConstraints"
    check_count(field, len(spread), POD_TERMS_MAX)
    made = []
    for i, each in enumerate(spread):
        path = f"{field}[{i}]"
        check_label(f"{path}.topologyKey", each.key, is_empty_allowed=False)
        for name, amount in (("maxSkew", each.max_skew), ("minDomains", each.domains_min)):
            if not 1 <= amount < 1 << 31:
                raise BadSpec(f"{path}.{name}", f"{amount} is not from 1 to {(1 << 31) - 1}")
        selector = _selector(path, each.selector)
        made.append(msgspec.structs.replace(each, selector=selector))
    return tuple(sorted(set(made), key=msgspec.msgpack.encode))


def _ports(ports: tuple[HostPort, ...]) -> tuple[HostPort, ...]:
    field = "ports"
    check_count(field, len(ports), PORTS_MAX)
    for i, port in enumerate(ports):
        if not 1 <= port.number <= PORT_MAX:
            raise BadSpec(f"{field}[{i}].hostPort", f"{port.number} is not from 1 to {PORT_MAX}")
        if port.protocol not in PROTOCOLS:
            known = ", ".join(PROTOCOLS)
            raise BadSpec(f"{field}[{i}].protocol", f"{port.protocol!r} is none of {known}")
        check_label(f"{field}[{i}].hostIP", port.address, is_empty_allowed=False)
    return tuple(sorted(set(ports)))


def _claims(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    field = "claims"
    check_count(field, len(claims), CLAIMS_MAX)
    for i, claim in enumerate(claims):
        check_name(f"{field}[{i}].name", claim.name)
        check_label(f"{field}[{i}].driver", claim.driver, is_empty_allowed=True)
    return tuple(sorted(set(claims)))


def _disks(disks: tuple[Disk, ...]) -> tuple[Disk, ...]:
    field = "disks"
    check_count(field, len(disks), CLAIMS_MAX)
    made = []
    for i, disk in enumerate(disks):
        check_name(f"{field}[{i}].name", disk.name)
        check_count(f"{field}[{i}].hosts", len(disk.hosts), CLAIMS_MAX)
        for host in disk.hosts:
            check_name(f"{field}[{i}].hosts", host)
        made.append(msgspec.structs.replace(disk, hosts=tuple(sorted(set(disk.hosts)))))
    return tuple(sorted(set(made)))
