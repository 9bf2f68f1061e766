"""What a class says of other replicas, between `cell.between` and the public API's messages."""

from __future__ import annotations

from cell.between import (
    ANY_ADDRESS,
    Between,
    Claim,
    Disk,
    HostPort,
    PodTerm,
    PodWish,
    Selector,
    Spread,
)
from cell.requirements import Requirement
from godel.v1 import types_pb2 as pb
from runtime.wire_requirements import requirement_message, requirement_of


def between_of(wire: pb.Between) -> Between:
    """The cell's form, to be normalised. Raises BadSpec."""
    return Between(
        namespace=wire.namespace,
        labels=tuple(wire.labels.items()),
        affinity=tuple(_term("affinity", i, term) for i, term in enumerate(wire.affinity)),
        anti_affinity=tuple(
            _term("anti_affinity", i, term) for i, term in enumerate(wire.anti_affinity)
        ),
        wishes=tuple(
            PodWish(wish.weight, _term("wishes", i, wish.term))
            for i, wish in enumerate(wire.wishes)
        ),
        spread=tuple(_spread(i, each) for i, each in enumerate(wire.spread)),
        ports=tuple(
            HostPort(port.number, port.protocol or "TCP", port.address or ANY_ADDRESS)
            for port in wire.ports
        ),
        claims=tuple(Claim(each.driver, each.name, each.is_alone) for each in wire.claims),
        disks=tuple(
            Disk(each.kind, each.name, tuple(each.hosts), each.is_read_only) for each in wire.disks
        ),
    )


def between_message(between: Between) -> pb.Between:
    """The wire form."""
    return pb.Between(
        namespace=between.namespace,
        labels=dict(between.labels),
        affinity=[_term_message(term) for term in between.affinity],
        anti_affinity=[_term_message(term) for term in between.anti_affinity],
        wishes=[
            pb.PodWish(weight=wish.weight, term=_term_message(wish.term)) for wish in between.wishes
        ],
        spread=[
            pb.Spread(
                topology_key=each.key,
                max_skew=each.max_skew,
                selector=_selector_message(each.selector),
                is_wish=not each.is_required,
                domains_min=each.domains_min,
                is_affinity_ignored=not each.is_affinity_honoured,
                are_taints_honoured=each.are_taints_honoured,
                are_keys_optional=not each.are_keys_needed,
            )
            for each in between.spread
        ],
        ports=[
            pb.HostPort(number=port.number, protocol=port.protocol, address=port.address)
            for port in between.ports
        ],
        claims=[
            pb.Claim(name=each.name, driver=each.driver, is_alone=each.is_alone)
            for each in between.claims
        ],
        disks=[
            pb.Disk(
                kind=each.kind, name=each.name, hosts=each.hosts, is_read_only=each.is_read_only
            )
            for each in between.disks
        ],
    )


def _term(name: str, i: int, wire: pb.PodTerm) -> PodTerm:
    namespaces = None if wire.is_any_namespace else tuple(wire.namespaces)
    return PodTerm(wire.topology_key, _selector(f"{name}[{i}]", wire), namespaces)


def _spread(i: int, wire: pb.Spread) -> Spread:
    return Spread(
        key=wire.topology_key,
        max_skew=wire.max_skew,
        selector=_selector(f"spread[{i}]", wire),
        is_required=not wire.is_wish,
        domains_min=wire.domains_min or 1,
        is_affinity_honoured=not wire.is_affinity_ignored,
        are_taints_honoured=wire.are_taints_honoured,
        are_keys_needed=not wire.are_keys_optional,
    )


def _selector(path: str, wire: pb.PodTerm | pb.Spread) -> Selector:
    if not wire.HasField("selector"):
        return None
    listed = enumerate(wire.selector.requirements)
    return tuple(requirement_of(f"{path}.selector[{j}]", each) for j, each in listed)


def _term_message(term: PodTerm) -> pb.PodTerm:
    return pb.PodTerm(
        topology_key=term.key,
        selector=_selector_message(term.selector),
        namespaces=term.namespaces or (),
        is_any_namespace=term.namespaces is None,
    )


def _selector_message(selector: tuple[Requirement, ...] | None) -> pb.Selector | None:
    if selector is None:
        return None
    return pb.Selector(requirements=[requirement_message(each) for each in selector])
