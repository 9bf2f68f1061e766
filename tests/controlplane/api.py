"""A small client of an API server for fixtures and tests: JSON, one connection, one identity.

Takes its identity from a kubeconfig that `identities` wrote. It retries nothing and caches nothing,
so that a test sees what the API server said; the services under test have clients of their own.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

TIMEOUT_SECONDS = 30.0
IDLE_SECONDS_MAX = 20.0
"""A connection that was idle for longer is opened anew: the API server may be ending it."""
MERGE_PATCH = "application/merge-patch+json"

Document = dict[str, Any]


class Refused(Exception):
    """The API server answered with an error; `status` is its HTTP code, `body` what it said."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class Away(ConnectionError):
    """Nobody answered: whether a write was applied is not known."""


class Api:
    """One identity's connection; not for use by several threads at a time."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        server = config["clusters"][0]["cluster"]
        self._user: Document = config["users"][0]["user"]
        context = ssl.create_default_context(cafile=server["certificate-authority"])
        if "client-certificate" in self._user:
            context.load_cert_chain(self._user["client-certificate"], self._user["client-key"])
        address = urlsplit(server["server"])
        assert address.hostname is not None
        self._connection = http.client.HTTPSConnection(
            address.hostname, address.port, timeout=TIMEOUT_SECONDS, context=context
        )
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def get(self, path: str) -> Document:
        """Read an object or a list. Raises Refused and Away, like all below."""
        return self._document("GET", path)

    def create(self, path: str, body: Document) -> Document:
        """Create an object in the collection, or post to a subresource."""
        return self._document("POST", path, body)

    def merge(self, path: str, body: Document) -> Document:
        """Merge into an object."""
        return self._document("PATCH", path, body, MERGE_PATCH)

    def delete(self, path: str) -> Document:
        """Delete an object."""
        return self._document("DELETE", path)

    def is_ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            self.text("GET", "/readyz")
        except (Refused, Away):
            return False
        return True

    def text(
        self, verb: str, path: str, body: Document | None = None, kind: str = "application/json"
    ) -> str:
        """One request and what it was answered."""
        sent = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind, "Accept": "application/json", **self._authorization()}
        if time.monotonic() - self._used_at > IDLE_SECONDS_MAX:
            self._connection.close()
        self._used_at = time.monotonic()
        try:
            self._connection.request(verb, path, sent, headers)
            answer = self._connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Away(f"{verb} {path}: {error!r}") from error
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status, text)
        return text

    def stream(self, path: str) -> http.client.HTTPResponse:
        """An answer to be read as it comes, such as a watch; it has the connection to itself."""
        headers = {"Accept": "application/json", **self._authorization()}
        self._connection.close()
        self._connection.timeout = None
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status, answer.read().decode())
        return answer

    def _document(
        self, verb: str, path: str, body: Document | None = None, kind: str = "application/json"
    ) -> Document:
        document: Document = json.loads(self.text(verb, path, body, kind))
        return document

    def _authorization(self) -> dict[str, str]:
        if "tokenFile" not in self._user:
            return {}
        token = Path(self._user["tokenFile"]).read_text(encoding="utf-8")
        return {"Authorization": f"Bearer {token}"}
