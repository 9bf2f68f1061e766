"""Whether the checked-in proto code is current: digests of its sources and of what was generated.

`make proto` writes them with `python -m tests.tidy.proto_digest` after it has generated; the test
beside compares, so neither an edited .proto nor an edited generated file passes unnoticed, and no
generator is needed to find out.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tests.tidy.sources import PROTO, proto_files

DIGEST_FILE = PROTO / "digest.txt"


def generated_files() -> list[Path]:
    """The generated code beside the sources, in path order."""
    return sorted(path for path in PROTO.rglob("*_pb2*") if path.suffix in (".py", ".pyi"))


def digest(paths: Iterable[Path]) -> str:
    """Hash names and contents, as hex."""
    hashed = hashlib.blake2b(digest_size=16)
    for path in paths:
        text = path.read_bytes()
        hashed.update(f"{path.relative_to(PROTO).as_posix()}\0{len(text)}\0".encode())
        hashed.update(text)
    return hashed.hexdigest()


def current() -> str:
    """The text of the digest file for the tree as it is."""
    return f"sources {digest(proto_files())}\ngenerated {digest(generated_files())}\n"


if __name__ == "__main__":
    DIGEST_FILE.write_text(current(), encoding="utf-8")
