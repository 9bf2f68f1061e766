"""Why something was refused or waits: codes with arguments, shared by events, `explain` and
dashboards.

A Reason travels as (code, argument); `text` turns it into the one line a person reads. A Status
says how a request to a public API went; its numbers are those of gRPC.
"""

from enum import IntEnum, IntFlag

import msgspec


class Reason(IntEnum):
    """Numbers are part of the wire contract: append, never renumber."""

    NONE = 0
    NO_NODES = 1
    INSUFFICIENT_RESOURCE = 2
    NODE_SELECTOR = 3
    NODE_AFFINITY = 4
    TAINT = 5
    UNSCHEDULABLE = 6
    PINNED_NODE = 7
    UNKNOWN_PROFILE = 8
    GANG_MINIMUM = 9
    CONFLICT = 10
    NODE_GONE = 11
    STALE_ATTEMPT = 12
    STALE_REVISION = 13
    CANCELLED = 14
    ALREADY_BOUND = 15
    UNKNOWN_UNIT = 16
    GANG_INCOMPLETE = 17
    REPORTED_FAILED = 18
    REPORTED_DONE = 19
    HOME_REFUSED = 20
    HOME_GONE = 21
    GANG_REPAIR = 22
    MALFORMED_PLAN = 23
    RELEASED = 24
    WAITING_FOR_SCHEDULER = 25
    WAITING_FOR_MEMBERS = 26
    EVICTED = 27
    SCHEDULER_UNREADY = 28
    PROFILE = 29
    HOST_PORT = 30
    POD_AFFINITY = 31
    POD_ANTI_AFFINITY = 32
    HELD_ANTI_AFFINITY = 33
    TOPOLOGY_SPREAD = 34
    NODE_FEATURES = 35
    VOLUME_PLACE = 36
    CLAIM_IN_USE = 37
    DISK_IN_USE = 38
    VOLUME_LIMIT = 39


class Wake(IntFlag):
    """Events that can let a parked unit fit; a parked unit names those that would help it."""

    NONE = 0
    ROOM_FREED = 1
    NODE_ADDED = 2
    NODE_CHANGED = 4
    ALL = 7


WAKERS: dict[Reason, Wake] = {
    Reason.NO_NODES: Wake.NODE_ADDED,
    Reason.INSUFFICIENT_RESOURCE: Wake.ROOM_FREED | Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.GANG_MINIMUM: Wake.ROOM_FREED | Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.NODE_SELECTOR: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.NODE_AFFINITY: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.TAINT: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.UNSCHEDULABLE: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.PINNED_NODE: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.UNKNOWN_PROFILE: Wake.NONE,
    Reason.PROFILE: Wake.ALL,
    Reason.HOST_PORT: Wake.ROOM_FREED | Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.POD_AFFINITY: Wake.ALL,
    Reason.POD_ANTI_AFFINITY: Wake.ALL,
    Reason.HELD_ANTI_AFFINITY: Wake.ALL,
    Reason.TOPOLOGY_SPREAD: Wake.ALL,
    Reason.NODE_FEATURES: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.VOLUME_PLACE: Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.CLAIM_IN_USE: Wake.ROOM_FREED,
    Reason.DISK_IN_USE: Wake.ROOM_FREED | Wake.NODE_ADDED | Wake.NODE_CHANGED,
    Reason.VOLUME_LIMIT: Wake.ROOM_FREED | Wake.NODE_ADDED | Wake.NODE_CHANGED,
}
"""What can cure a refusal. An unknown profile is cured by a new scheduler only (PeerUp wakes all).
"""

_TEXT: dict[Reason, str] = {
    Reason.NONE: "",
    Reason.NO_NODES: "the cluster has no nodes",
    Reason.INSUFFICIENT_RESOURCE: "insufficient {arg}",
    Reason.NODE_SELECTOR: "node selector matches no such node",
    Reason.NODE_AFFINITY: "node affinity matches no such node",
    Reason.TAINT: "untolerated taint",
    Reason.UNSCHEDULABLE: "cordoned",
    Reason.PINNED_NODE: "not the pinned node",
    Reason.UNKNOWN_PROFILE: "no scheduler has the profile {arg}",
    Reason.GANG_MINIMUM: "room for {arg} replicas, fewer than the minimum",
    Reason.CONFLICT: "room was taken by another commit",
    Reason.NODE_GONE: "the node is gone",
    Reason.STALE_ATTEMPT: "the attempt is void",
    Reason.STALE_REVISION: "the revision is superseded",
    Reason.CANCELLED: "cancelled",
    Reason.ALREADY_BOUND: "already bound",
    Reason.UNKNOWN_UNIT: "unknown unit",
    Reason.GANG_INCOMPLETE: "the gang was not complete in time",
    Reason.REPORTED_FAILED: "reported failed",
    Reason.REPORTED_DONE: "reported done",
    Reason.HOME_REFUSED: "refused by the API server",
    Reason.HOME_GONE: "deleted in the API server",
    Reason.GANG_REPAIR: "the gang could not be completed and was evicted",
    Reason.MALFORMED_PLAN: "the plan names what does not exist",
    Reason.RELEASED: "its room was released for a new revision",
    Reason.WAITING_FOR_SCHEDULER: "no scheduler is connected",
    Reason.WAITING_FOR_MEMBERS: "waiting for the rest of the gang",
    Reason.EVICTED: "evicted",
    Reason.SCHEDULER_UNREADY: "its scheduler lost the binder's stream",
    Reason.HOST_PORT: "host port is taken",
    Reason.POD_AFFINITY: "pod affinity is not met",
    Reason.POD_ANTI_AFFINITY: "pod anti-affinity is not met",
    Reason.HELD_ANTI_AFFINITY: "anti-affinity of a pod that is there is not met",
    Reason.TOPOLOGY_SPREAD: "topology spread is not met",
    Reason.NODE_FEATURES: "the node does not declare a feature that is needed",
    Reason.VOLUME_PLACE: "a volume is not, and cannot be made, where the node is",
    Reason.CLAIM_IN_USE: "a claim that one pod may use is in use",
    Reason.DISK_IN_USE: "a disk is mounted there already",
    Reason.VOLUME_LIMIT: "the node can attach no more volumes",
    Reason.PROFILE: "profile {arg} refuses every node with room",
}


def text(code: int, argument: str | int = "") -> str:
    """The one line for a person; an unknown code is shown by number."""
    try:
        return _TEXT[Reason(code)].format(arg=argument)
    except ValueError:
        return f"reason {code}"


class Status(IntEnum):
    """How a request to a public API went; gRPC's numbers."""

    OK = 0
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    UNAVAILABLE = 14


class Refusal(msgspec.Struct, frozen=True):
    """Why one item of a request was refused, in band."""

    status: Status
    field: str
    reason: str
    retry_after_ms: int = 0
