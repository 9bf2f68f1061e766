"""Place three replicas and see where they go: client.py unix:STATE/dispatcher.sock"""

import sys
import uuid

import grpc

from godel.v1 import placement_pb2 as pb
from godel.v1 import placement_pb2_grpc, types_pb2

key = f"hello-{uuid.uuid4()}"
with grpc.insecure_channel(sys.argv[1]) as channel:
    placement = placement_pb2_grpc.PlacementStub(channel)
    changes = placement.Watch(pb.WatchRequest(prefix=key))
    next(changes)  # from here on nothing is missed
    spec = types_pb2.ClassSpec(demand={"cpu": 500, "memory": 256 << 20})
    gang = pb.Unit(key=key, groups=[types_pb2.Group(class_number=1, count=3)])
    batch = pb.SubmitRequest(classes=[types_pb2.ClassEntry(number=1, spec=spec)], units=[gang])
    for reply in placement.Submit(iter([batch])):
        print("durable" if not reply.refused else f"refused: {reply.refused[0].reason}")
    placed = {}
    while len(placed) < 3:
        placed |= {c.ordinal: c.node for c in next(changes).changes if c.node}
    print(placed)
    placement.Cancel(pb.CancelRequest(keys=[key]))
