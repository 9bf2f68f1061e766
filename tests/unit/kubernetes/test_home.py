"""The home of the binder: what nobody has foreseen ends it, with a word."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cell.home import Relist
from runtime.kubernetes.home import KubernetesHome
from runtime.log import Log


class BrokenApi:
    """Its lists are nothing that was ever agreed on."""

    def pages(self, path: str, version: list[str]) -> AsyncIterator[list[Any]]:
        raise LookupError(path)


async def test_failure_that_nobody_foresaw_is_said_and_ends_it() -> None:
    said = io.StringIO()
    api: Any = BrokenApi()
    home = KubernetesHome(api, "ours", lambda event: None, Log("home", said))
    running = asyncio.ensure_future(home.run())
    home.perform(Relist(1))
    with pytest.raises(LookupError, match="/api/v1/namespaces"):
        await asyncio.wait_for(running, 10)
    assert "the home of the binder fails" in said.getvalue()
