"""Random storage: classes, claims, volumes, capacities, what nodes attach, and pods' volumes."""

from __future__ import annotations

from random import Random
from typing import Any

Manifest = dict[str, Any]
DRIVER = "csi.example.com"
CLASSES = ("fast", "local", "now")
CLAIMS = 6
"""Per namespace, of which some are missing."""
VOLUMES = 8
MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany")
ALONE = "ReadWriteOncePod"


class Storage:
    """Storage of a cluster with nodes of some names."""

    def __init__(self, luck: Random, nodes: list[str], namespaces: tuple[str, ...]) -> None:
        self._luck = luck
        self._nodes = nodes
        self._namespaces = namespaces
        self._claims: list[Manifest] = []
        self.late: list[Manifest] = []
        """Claims that were made for ephemeral volumes of pods."""

    def objects(self) -> list[Manifest]:
        """All of it."""
        luck = self._luck
        made = [self._class(name) for name in CLASSES if luck.random() < 0.95]
        for namespace in self._namespaces:
            self._claims += [
                self._claim(namespace, i) for i in range(CLAIMS) if luck.random() < 0.9
            ]
        volumes = [self._volume(i) for i in range(luck.randint(2, VOLUMES))]
        for volume in volumes:
            self._bind(volume)
        made += [*self._claims, *volumes]
        made += [self._csi_node(name) for name in self._nodes if luck.random() < 0.7]
        if luck.random() < 0.5:
            spec = {"storageCapacity": luck.random() < 0.8}
            made.append(_object("storage.k8s.io/v1", "CSIDriver", DRIVER, spec=spec))
        made += [self._capacity(i) for i in range(luck.choice((0, 1, 3)))]
        free = [each for each in volumes if "claimRef" not in each["spec"]]
        for volume in luck.sample(free, min(len(free), luck.choice((0, 0, 1, 2)))):
            made.append(self._attachment(volume["metadata"]["name"]))
        return made

    def volumes_of(self, pod: Manifest) -> list[Manifest]:
        """Volumes of a pod, which may share claims with others of its namespace."""
        luck = self._luck
        made: list[Manifest] = []
        for number in luck.sample(range(CLAIMS), luck.choice((0, 1, 1, 2, 3))):
            made.append({"persistentVolumeClaim": {"claimName": f"c{number}"}})
        if luck.random() < 0.5:
            made.append(self._disk())
        if luck.random() < 0.1:
            made.append({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}})
            self._own(pod, f"v{len(made) - 1}")
        return [{"name": f"v{i}", **each} for i, each in enumerate(made)]

    def _own(self, pod: Manifest, volume: str) -> None:
        """The claim of an ephemeral volume, if somebody has made it for the pod."""
        luck, metadata = self._luck, pod["metadata"]
        claim = self._claim(metadata["namespace"], 0)
        claim["metadata"]["name"] = f"{metadata['name']}-{volume}"
        # The plugin fails altogether where somebody runs with another's claim.
        is_own = luck.random() < 0.8 or metadata["name"].startswith("r")
        uid = metadata["uid"] if is_own else "another"
        owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": uid}
        claim["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
        if luck.random() < 0.8:
            self.late.append(claim)

    def _class(self, name: str) -> Manifest:
        luck = self._luck
        provisioner = "kubernetes.io/no-provisioner" if name == "local" else DRIVER
        made = _object("storage.k8s.io/v1", "StorageClass", name, provisioner=provisioner)
        if name != "now":
            made["volumeBindingMode"] = "WaitForFirstConsumer"
        if name == "fast" and luck.random() < 0.4:
            values = luck.sample(("a", "b", "c"), 2)
            term = {"matchLabelExpressions": [{"key": "zone", "values": values}]}
            made["allowedTopologies"] = [term]
        return made

    def _claim(self, namespace: str, number: int) -> Manifest:
        luck = self._luck
        spec: Manifest = {
            "accessModes": [luck.choice((*MODES, ALONE, ALONE))],
            "resources": {"requests": {"storage": luck.choice(("1Gi", "2Gi", "5Gi"))}},
        }
        if luck.random() < 0.95:
            spec["storageClassName"] = luck.choice((*CLASSES, "fast", "fast", "local", "local"))
        if luck.random() < 0.1:
            spec["volumeMode"] = luck.choice(("Block", "Filesystem"))
        if luck.random() < 0.15:
            spec["selector"] = {"matchLabels": {"tier": luck.choice(("gold", "tin"))}}
        made = _object("v1", "PersistentVolumeClaim", f"c{number}", spec=spec)
        metadata = made["metadata"]
        metadata |= {"namespace": namespace, "uid": f"{namespace}-c{number}"}
        if luck.random() < 0.1:
            node = luck.choice(self._nodes)
            metadata["annotations"] = {"volume.kubernetes.io/selected-node": node}
        if luck.random() < 0.03:
            metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if luck.random() < 0.03:
            made["status"] = {"phase": "Lost"}
        return made

    def _volume(self, number: int) -> Manifest:
        luck = self._luck
        spec: Manifest = {
            "accessModes": sorted(luck.sample((*MODES, ALONE), luck.choice((2, 3, 4)))),
            # No two are of one size: the plugin's choice among equals is left to chance.
            "capacity": {"storage": f"{1000 * luck.choice((1, 3, 6)) + number}Mi"},
            "storageClassName": luck.choice(CLASSES),
        }
        if luck.random() < 0.6:
            spec["csi"] = {"driver": DRIVER, "volumeHandle": f"h{number}"}
        else:
            spec["hostPath"] = {"path": "/v"}
        if luck.random() < 0.1:
            spec["volumeMode"] = luck.choice(("Block", "Filesystem"))
        if luck.random() < 0.7:
            terms = [self._reach() for _ in range(luck.choice((1, 1, 2)))]
            spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": terms}}
        made = _object("v1", "PersistentVolume", f"pv{number}", spec=spec)
        made["status"] = {"phase": luck.choice(("Available", "Available", "Available", "Pending"))}
        labels = {"tier": luck.choice(("gold", "tin"))} if luck.random() < 0.5 else {}
        if luck.random() < 0.3:
            key = luck.choice(("topology.kubernetes.io", "failure-domain.beta.kubernetes.io"))
            labels[f"{key}/zone"] = luck.choice(("a", "b", "a__b"))
        made["metadata"]["labels"] = labels
        if luck.random() < 0.03:
            made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        return made

    def _reach(self) -> Manifest:
        luck = self._luck
        if luck.random() < 0.5:
            key, values = "kubernetes.io/hostname", [luck.choice(self._nodes)]
        else:
            key, values = "zone", luck.sample(("a", "b", "c"), luck.choice((1, 2)))
        operator = luck.choice(("In", "In", "In", "NotIn", "Exists"))
        made: Manifest = {"key": key, "operator": operator}
        if operator != "Exists":
            made["values"] = values
        return {"matchExpressions": [made]}

    def _bind(self, volume: Manifest) -> None:
        """Some volumes are bound to a claim, or meant for one."""
        luck = self._luck
        free = [each for each in self._claims if "volumeName" not in each["spec"]]
        if luck.random() < 0.35 or not free:
            return
        claim = luck.choice(free)
        metadata = claim["metadata"]
        ref = {"namespace": metadata["namespace"], "name": metadata["name"]}
        if luck.random() < 0.9:
            ref["uid"] = metadata["uid"]
        volume["spec"]["claimRef"] = ref
        if luck.random() < 0.75:
            volume["status"] = {"phase": "Bound"}
            claim["spec"]["volumeName"] = volume["metadata"]["name"]
            if luck.random() < 0.9:
                annotations = metadata.setdefault("annotations", {})
                annotations["pv.kubernetes.io/bind-completed"] = "yes"

    def _csi_node(self, name: str) -> Manifest:
        driver: Manifest = {"name": DRIVER, "nodeID": name}
        if self._luck.random() < 0.8:
            driver["allocatable"] = {"count": self._luck.choice((0, 1, 2, 3))}
        return _object("storage.k8s.io/v1", "CSINode", name, spec={"drivers": [driver]})

    def _capacity(self, number: int) -> Manifest:
        luck = self._luck
        made = _object("storage.k8s.io/v1", "CSIStorageCapacity", f"cap{number}")
        made["metadata"]["namespace"] = "default"
        made["storageClassName"] = luck.choice(("fast", "fast", "local"))
        if luck.random() < 0.9:
            made["capacity"] = luck.choice(("1Gi", "3Gi", "100Gi"))
        if luck.random() < 0.3:
            made["maximumVolumeSize"] = luck.choice(("1Gi", "3Gi"))
        if luck.random() < 0.9:
            labels = {"matchLabels": {"zone": luck.choice(("a", "b"))}}
            made["nodeTopology"] = luck.choice((labels, labels, {}))
        return made

    def _attachment(self, volume: str) -> Manifest:
        """Of a volume without a claim: one of a waiting pod's would be counted twice by the plugin,
        until the pod is placed."""
        source = {"persistentVolumeName": volume}
        spec = {"attacher": DRIVER, "nodeName": self._luck.choice(self._nodes), "source": source}
        made = _object("storage.k8s.io/v1", "VolumeAttachment", f"va-{volume}", spec=spec)
        made["status"] = {"attached": True}
        return made

    def _disk(self) -> Manifest:
        luck = self._luck
        name, is_read_only = luck.choice(("x", "x", "y")), luck.random() < 0.4
        monitors = sorted(luck.sample(("m", "n", "o"), luck.choice((1, 2))))
        return luck.choice(
            (
                {"gcePersistentDisk": {"pdName": name, "readOnly": is_read_only}},
                {"awsElasticBlockStore": {"volumeID": name}},
                {
                    "iscsi": {
                        **{"targetPortal": "p", "iqn": name, "lun": 0},
                        "readOnly": is_read_only,
                    }
                },
                {"rbd": {"monitors": monitors, "image": name, "readOnly": is_read_only}},
            )
        )


def _object(version: str, kind: str, name: str, **rest: Any) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **rest}
