"""Certificates for tests: an authority in a directory, and files that it signed for names."""

from __future__ import annotations

from pathlib import Path

from runtime.authority import Authority, Signed, write
from runtime.config import ListenerTls
from runtime.issuing import files_of

VALID_DAYS = 1
EXPIRED_DAYS = 0
"""Ends when it is signed."""


class Papers:
    """Files of whoever was signed for, below one directory; `authority` may be exchanged."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = Authority.new()

    def of(self, *names: str, peers: tuple[str, ...] = (), days: int = VALID_DAYS) -> ListenerTls:
        """Files for a service of these names."""
        signed = self.authority.sign(names, days)
        directory = self._directory / names[0]
        self.put(directory, signed)
        return ListenerTls(
            certificate=str(directory / "tls.crt"),
            key=str(directory / "tls.key"),
            authority=str(directory / "ca.crt"),
            peers=peers,
        )

    def put(self, directory: Path, signed: Signed) -> None:
        """Write, or replace, what was signed."""
        for name, content in files_of(signed).items():
            write(directory / name, content)
