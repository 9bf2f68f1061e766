"""What a pod asks for in sum, counted as kube-scheduler counts it, after the API server's defaults.

Containers add up. Init containers run one after another, so their largest counts; a restartable one
(a sidecar) keeps running, so it adds to all that follow it, and to the containers. Pod-level
resources stand in for that sum where given, and the overhead comes on top. Source of the rules:
KEP-753 (sidecars), KEP-2837 (pod-level resources), KEP-688 (overhead).
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


def pod_requests(spec: Fields) -> tuple[tuple[str, int], ...]:
    """(resource, whole units) that a pod spec asks for, by name. Raises BadManifest."""
    total = _total(spec, {})
    return tuple(sorted((name, units(name, amount)) for name, amount in total.items() if amount))


def pod_unasked(spec: Fields) -> tuple[tuple[str, int], ...]:
    """(resource, whole units) that scores count beside the requests. Raises BadManifest."""
    asked, taken = _total(spec, {}), _total(spec, _UNASKED)
    beside = (
        (name, units(name, taken[name]) - units(name, asked.get(name, Fraction(0))))
        for name in UNASKED
    )
    return tuple((name, amount) for name, amount in beside if amount > 0)


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


def _total(spec: Fields, unasked: Amounts) -> Amounts:
    """The sum, where containers that do not ask for a resource of `unasked` count as much."""
    total = _containers(spec, unasked)
    level = spec.fields("resources")
    total.update(_pod_level(level, _containers(spec, {}) if unasked else total))
    _add(total, amounts(spec.fields("overhead")))
    return total


def _containers(spec: Fields, unasked: Amounts) -> Amounts:
    total: Amounts = {}
    for container in spec.each("containers"):
        _add(total, {**unasked, **_requests(container)})
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.each("initContainers"):
        requests = {**unasked, **_requests(container)}
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
