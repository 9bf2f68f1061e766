"""What a pod asks for in sum, counted as kube-scheduler counts it, after the API server's defaults.

Containers add up. Init containers run one after another, so their largest counts; a restartable one
(a sidecar) keeps running, so it adds to all that follow it, and to the containers. Pod-level
resources stand in for that sum where given, and the overhead comes on top. A pod that is being
resized counts with the largest of what it asks for, was allocated and has, unless it cannot be.
Source of the rules: KEP-753 (sidecars), KEP-2837 (pod-level resources), KEP-688 (overhead),
KEP-1287 (resizing in place).
"""

from __future__ import annotations

from fractions import Fraction

from cell.classes import UNASKED
from runtime.fields import BadManifest, Fields
from runtime.quantities import BadQuantity, parse, units

Amounts = dict[str, Fraction]

NATIVE = frozenset({"cpu", "memory", "ephemeral-storage"})
"""Resources that may be asked for in parts of their unit; all others are whole things."""
_UNASKED: Amounts = {"cpu": Fraction(UNASKED["cpu"], 1000), "memory": Fraction(UNASKED["memory"])}


class Resizing:
    """What a pod's status says of its resources, beside what its spec asks for."""

    def __init__(self, status: Fields) -> None:
        self._status = status
        listed = (*status.each("containerStatuses"), *status.each("initContainerStatuses"))
        self._containers = {each.text("name"): each for each in listed}
        pending = [c for c in status.each("conditions") if c.text("type") == "PodResizePending"]
        self._is_infeasible = any(each.text("reason") == "Infeasible" for each in pending[:1])

    def container(self, name: str, asked: Amounts) -> Amounts:
        """What a container counts as."""
        found = self._containers.get(name)
        return asked if found is None else self._largest(found, asked)

    def whole(self, asked: Amounts) -> Amounts:
        """What the pod's own resources count as."""
        found = self._largest(self._status, asked)
        return {name: found.get(name, Fraction(0)) for name in asked}

    def _largest(self, found: Fields, asked: Amounts) -> Amounts:
        if found.raw("resources") is None:
            return asked
        total = {} if self._is_infeasible else dict(asked)
        _raise(total, amounts(found.fields("resources").fields("requests")))
        _raise(total, amounts(found.fields("allocatedResources")))
        return total


_AS_ASKED = Resizing(Fields({}))


Listed = tuple[tuple[str, int], ...]


def pod_amounts(spec: Fields, resizing: Resizing = _AS_ASKED) -> tuple[Listed, Listed]:
    """(resource, whole units) that a pod spec asks for, by name; and those that scores count beside
    them. Raises BadManifest."""
    level = spec.fields("resources")
    plain = _containers(spec, {}, _AS_ASKED) if "resources" in spec else {}
    whole = resizing.whole(_pod_level(level, plain))
    overhead = amounts(spec.fields("overhead"))
    asked = _total(_containers(spec, {}, resizing), whole, overhead)
    demand = tuple(sorted((name, units(name, amount)) for name, amount in asked.items() if amount))
    if _is_all_asked(spec):
        return demand, ()
    taken = _total(_containers(spec, _UNASKED, resizing), whole, overhead)
    beside = (
        (name, units(name, taken[name]) - units(name, asked.get(name, Fraction(0))))
        for name in UNASKED
    )
    return demand, tuple((name, amount) for name, amount in beside if amount > 0)


def amounts(listed: Fields) -> Amounts:
    """Quantities by resource. Raises BadManifest with the resource's path."""
    found: Amounts = {}
    for name in listed:
        path = f"{listed.path}[{name}]"
        try:
            amount = parse(listed.raw(name))
        except BadQuantity as error:
            raise BadManifest(path, str(error)) from None
        if amount < 0:
            raise BadManifest(path, f"{listed.raw(name)} is negative")
        found[name] = amount
    return found


def is_restartable(container: Fields) -> bool:
    """Whether an init container is a sidecar."""
    return container.text("restartPolicy") == "Always"


def _total(containers: Amounts, whole: Amounts, overhead: Amounts) -> Amounts:
    total = {**containers, **whole}
    _add(total, overhead)
    return total


def _is_all_asked(spec: Fields) -> bool:
    """Whether every container asks for all that scores count of those who do not."""
    return all(
        name in container.fields("resources").fields("requests").values
        for container in (*spec.each("containers"), *spec.each("initContainers"))
        for name in UNASKED
    )


def _containers(spec: Fields, unasked: Amounts, resizing: Resizing) -> Amounts:
    total: Amounts = {}
    for container in spec.each("containers"):
        counted = resizing.container(container.text("name"), _requests(container))
        _add(total, {**unasked, **counted})
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.each("initContainers"):
        requests = _requests(container)
        if is_restartable(container):
            requests = resizing.container(container.text("name"), requests)
        requests = {**unasked, **requests}
        if is_restartable(container):
            _add(total, requests)
            _add(sidecars, requests)
            requests = {}
        running = dict(sidecars)
        _add(running, requests)
        _raise(peak, running)
    _raise(total, peak)
    return total


def _requests(container: Fields) -> Amounts:
    """A container's requests; a resource with a limit alone asks for that."""
    resources = container.fields("resources")
    asked = {
        **amounts(resources.fields("limits")),
        **amounts(resources.fields("requests")),
    }
    for name, amount in asked.items():
        if name not in NATIVE and amount.denominator != 1 and name != "gpu":
            path = f"{resources.at('requests')}[{name}]"
            raise BadManifest(path, "needs a whole number: this resource has no parts")
    return asked


def _pod_level(resources: Fields, containers: Amounts) -> Amounts:
    """What stands in for the containers' sum. A limit alone counts where no container asks; huge
    pages always ask for their limit."""
    limits = amounts(resources.fields("limits"))
    requests = amounts(resources.fields("requests"))
    for name in (*limits, *requests):
        if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
            reason = "only cpu, memory and hugepages-* can be asked for by the pod"
            raise BadManifest(f"{resources.path}[{name}]", reason)
    for name, limit in limits.items():
        is_asked = name in containers and not name.startswith("hugepages-")
        requests.setdefault(name, containers[name] if is_asked else limit)
    return requests


def _add(total: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, Fraction(0)) + amount


def _raise(total: Amounts, least: Amounts) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, Fraction(0)), amount)
