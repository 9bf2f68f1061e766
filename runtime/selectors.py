"""Selectors as Kubernetes writes them: of labels, of nodes, of topologies. Raises BadManifest."""

from __future__ import annotations

from cell.requirements import Operator, Requirement, Term
from runtime.fields import BadManifest, Fields


def requirement(fields: Fields) -> Requirement:
    """One requirement on a node's label or field."""
    name = fields.text("operator")
    try:
        operator = Operator(name)
    except ValueError:
        known = ", ".join(Operator)
        raise BadManifest(fields.at("operator"), f"{name!r} is none of {known}") from None
    return Requirement(fields.text("key"), operator, fields.texts("values"))


def node_term(term: Fields) -> Term:
    """A NodeSelectorTerm."""
    term.refuse_unknown(("matchExpressions", "matchFields"))
    return Term(
        labels=tuple(requirement(each) for each in term.each("matchExpressions")),
        fields=tuple(requirement(each) for each in term.each("matchFields")),
    )


def label_selector(fields: Fields) -> tuple[Requirement, ...]:
    """The requirements of a LabelSelector."""
    fields.refuse_unknown(("matchLabels", "matchExpressions"))
    made = [Requirement(key, Operator.IN, (value,)) for key, value in fields.pairs("matchLabels")]
    for each in fields.each("matchExpressions"):
        name = each.text("operator")
        if name not in ("In", "NotIn", "Exists", "DoesNotExist"):
            reason = f"{name!r} is none of In, NotIn, Exists, DoesNotExist"
            raise BadManifest(each.at("operator"), reason)
        made.append(Requirement(each.text("key"), Operator(name), each.texts("values")))
    return tuple(made)


def topology_term(fields: Fields) -> Term:
    """A TopologySelectorTerm."""
    each = fields.each("matchLabelExpressions")
    return Term(tuple(Requirement(f.text("key"), Operator.IN, f.texts("values")) for f in each))
