"""Log lines: one fact each, and none of them may stop a service."""

from __future__ import annotations

import io

from runtime.log import Log


class FullDisk(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_line_is_a_fact_with_fields() -> None:
    stream = io.StringIO()
    Log("binder", stream).say("link up", peer="s0", why="it dialled")
    assert stream.getvalue().endswith("Z info binder: link up peer=s0 why='it dialled'\n")


def test_a_line_that_cannot_be_written_is_dropped() -> None:
    stream = FullDisk()
    Log("binder", stream).error("records cannot be written")
    assert stream.getvalue() == ""
