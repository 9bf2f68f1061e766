"""`godel cancel`: units by key or prefix, in batches."""

from __future__ import annotations

import click

from runtime.cli.exits import BAD_INPUT, NOT_FOUND, Stop
from runtime.cli.options import Reach, reaches, shows

BATCH_KEYS_MAX = 1000


@click.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--prefix", help="All units whose key begins with this.")
@click.option("--all", "is_all", is_flag=True, help="All units.")
@reaches("dispatcher")
@shows("table", "name", "json", "yaml")
def cancel(
    keys: tuple[str, ...], prefix: str | None, is_all: bool, reach: Reach, output: str
) -> int:
    """End units: waiting ones leave the queue, the room of bound ones is freed.

    A rollingset's rows come back; end it with `godel release delete`.
    """
    from godel.v1 import placement_pb2
    from runtime.cli.connect import service
    from runtime.cli.refusals import Refused, code_of, refused_of, tell
    from runtime.cli.show import batches, counted, emit

    if sum((bool(keys), bool(prefix), is_all)) != 1:
        raise Stop(BAD_INPUT, "give keys, or --prefix, or --all")
    refused: list[Refused] = []
    with service(reach, "dispatcher") as stub:
        if keys:
            listed = [key.removeprefix("unit/") for key in keys]
        else:
            request = placement_pb2.ListRequest(prefix=prefix or "")
            replies = stub.List(request, timeout=reach.timeout)
            listed = [unit.key for reply in replies for unit in reply.units if _is_alive(unit)]
        if not listed:
            raise Stop(
                NOT_FOUND, f"no living unit has the prefix {prefix!r}" if prefix else "no units"
            )
        for batch in batches(listed, BATCH_KEYS_MAX):
            reply = stub.Cancel(placement_pb2.CancelRequest(keys=batch), timeout=reach.timeout)
            refused += [refused_of(batch[each.index], each) for each in reply.refused]
    kept = {each.key for each in refused}
    done = [f"unit/{key}" for key in listed if key not in kept]
    content = {"cancelled": done, "refused": [each._asdict() for each in refused]}

    def people() -> str:
        return "\n".join(done) if output == "name" else f"cancelled {counted(len(done), 'unit')}"

    tell(refused)
    emit(output, content, people)
    return code_of(refused)


def _is_alive(unit: object) -> bool:
    return getattr(unit, "word", "") not in ("DONE", "FAILED", "CANCELLED")
