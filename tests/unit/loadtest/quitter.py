"""A service for tests of the supervisor: says something and ends, or serves health until told."""

import asyncio
import sys
from pathlib import Path

from runtime.servers import Listener


async def serve(address: str) -> None:
    listener = Listener(address, (), ())
    await listener.start()
    await listener.set_health(True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    address, note, *code = sys.argv[1:]
    with Path(note).open("a") as notes:
        notes.write("started\n")
    if code:
        print("cannot go on: the reason")
        sys.exit(int(code[0]))
    asyncio.run(serve(address))
