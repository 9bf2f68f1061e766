"""Volumes bound before their pod: what is written, waited for, and given up."""

from __future__ import annotations

from typing import Any

import msgspec

from cell.home import Code
from runtime.fields import Fields
from runtime.kubernetes.collections import StorageObjects
from runtime.kubernetes.objects import Name
from runtime.kubernetes.volumes import VolumeBinder
from runtime.log import Log
from runtime.storage import Storage

FIRST, SECOND = Name("shop", "a", "1"), Name("shop", "b", "2")


def a_claim(volume: str = "", **annotations: str) -> dict[str, Any]:
    metadata = {"name": "c", "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    spec = {"storageClassName": "late", "volumeName": volume}
    kind = "PersistentVolumeClaim"
    return {"kind": kind, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


def a_volume(name: str, zone: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]}
    affinity = {"required": {"nodeSelectorTerms": [term]}}
    return {
        "kind": "PersistentVolume",
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"storageClassName": "late", "nodeAffinity": affinity},
        "status": {"phase": "Available"},
    }


BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
LATE = {
    "kind": "StorageClass",
    "metadata": {"name": "late"},
    "provisioner": "kubernetes.io/no-provisioner",
    "volumeBindingMode": "WaitForFirstConsumer",
}


def a_storage() -> Storage:
    storage = Storage({"n1": {"zone": "x"}, "n2": {"zone": "y"}})
    for each in (LATE, a_claim(), a_volume("v1", "x"), a_volume("v2", "y")):
        storage.put(Fields(each))
    return storage


class Server:
    """Takes every write, and answers with the object as it is by then."""

    def __init__(self, storage: Storage) -> None:
        self.written: list[str] = []
        self._storage = storage

    async def write(self, method: str, path: str, body: dict[str, Any]) -> tuple[Code, bytes]:
        self.written.append(path)
        name = path.rpartition("/")[2]
        zone = {"v1": "x", "v2": "y"}[name]
        made = a_volume(name, zone)
        made["spec"]["claimRef"] = body["spec"]["claimRef"]
        return Code.OK, msgspec.json.encode(made)


async def test_a_volume_is_claimed_once_and_waited_for() -> None:
    storage = a_storage()
    server = Server(storage)
    binder = VolumeBinder(storage, server.write)
    for _ in range(2):
        assert await binder.bind(FIRST, ("shop/c",), "n1") is Code.THROTTLED
    assert server.written == ["/api/v1/persistentvolumes/v1"]
    storage.put(Fields(a_claim("v1", **BOUND)))
    assert await binder.bind(FIRST, ("shop/c",), "n1") is Code.OK


async def test_two_pods_of_one_claim_do_not_choose_for_two_nodes() -> None:
    """1. One chooses. 2. The other one waits. 3. The volume is not where that one would be."""
    storage = a_storage()
    server = Server(storage)
    binder = VolumeBinder(storage, server.write)
    assert await binder.bind(FIRST, ("shop/c",), "n1") is Code.THROTTLED
    assert await binder.bind(SECOND, ("shop/c",), "n2") is Code.THROTTLED
    assert server.written == ["/api/v1/persistentvolumes/v1"]
    storage.put(Fields(a_claim("v1", **BOUND)))
    assert await binder.bind(SECOND, ("shop/c",), "n2") is Code.CONFLICT
    assert await binder.bind(FIRST, ("shop/c",), "n1") is Code.OK


async def test_a_node_without_a_volume_is_given_up() -> None:
    storage = a_storage()
    storage.remove("PersistentVolume", "v2")
    binder = VolumeBinder(storage, Server(storage).write)
    assert await binder.bind(FIRST, ("shop/c",), "n2") is Code.CONFLICT


def test_what_is_known_stays_until_a_list_is_whole() -> None:
    storage, told = a_storage(), list[Any]()

    def on_change(kind: str, names: set[str] | None) -> list[Any]:
        told.append((kind, names))
        return []

    claims = StorageObjects("PersistentVolumeClaim", "", storage, on_change, Log("test"))
    claims.begin()
    assert storage.claims.keys() == {"shop/c"}
    claims.page([msgspec.Raw(msgspec.json.encode({**a_claim(), "kind": None}))])
    claims.listed()
    assert storage.claims.keys() == {"shop/c"}
    claims.begin()
    claims.listed()
    assert not storage.claims
    assert not told
