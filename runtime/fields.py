"""Typed reads of what a YAML or JSON document says, each of which names the field at fault.

Manifests are written by people and by other programs: every value may have any type, and null
counts as absent, as in Kubernetes. Nothing here knows what the fields mean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from cell.reasons import Status

KNOWN_SHOWN_MAX = 12
"""Fields that an error's text lists."""
SHOWN_CHARS_MAX = 40
"""Of a value in an error's text."""


class BadManifest(ValueError):
    """A manifest that cannot be used: the path of the field, the reason, and whether it is wrong
    (INVALID_ARGUMENT) or asks for what we do not honour yet (UNIMPLEMENTED)."""

    def __init__(
        self, field: str, reason: str, status: Status = Status.INVALID_ARGUMENT, place: str = ""
    ) -> None:
        super().__init__(f"{place}: {field}: {reason}" if place else f"{field}: {reason}")
        self.field = field
        self.reason = reason
        self.status = status
        self.place = place
        """File and document, once known."""

    def at(self, place: str) -> BadManifest:
        """The same, said of a file and document."""
        return BadManifest(self.field, self.reason, self.status, place)


def unimplemented(field: str, reason: str) -> BadManifest:
    """What to raise for a field that we would otherwise have to ignore in silence."""
    return BadManifest(field, reason, Status.UNIMPLEMENTED)


def shown(value: Any) -> str:
    """A value for an error's text: its kind, or itself when short."""
    if isinstance(value, dict | list):
        return "fields" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def join(path: str, key: str) -> str:
    """The path of a field below `path`; keys with dots or slashes are put in brackets."""
    if not key.replace("_", "").replace("-", "").isalnum():
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _known_text(key: str, known: Collection[str]) -> str:
    """What a misspelt field may have been meant to be."""
    near = get_close_matches(key, known, n=1)
    if near:
        return f"is {near[0]} meant?"
    some = ", ".join(list(known)[:KNOWN_SHOWN_MAX])
    return f"known are {some}" + (", ..." if len(known) > KNOWN_SHOWN_MAX else "")


def _check_text(path: str, value: Any) -> str:
    """The value if it is text that can be sent (JSON may hold half of a surrogate pair)."""
    if not isinstance(value, str):
        raise BadManifest(path, f"needs text, found {shown(value)}; put it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadManifest(path, f"{shown(value)} is no Unicode text") from None
    return value


class Fields:
    """The fields of one mapping of a document, and its path there."""

    def __init__(self, value: Any, path: str = "") -> None:
        if value is not None and not isinstance(value, dict):
            raise BadManifest(path or "document", f"needs fields, found {shown(value)}")
        self.path = path
        self.values: dict[Any, Any] = value or {}

    def at(self, key: str) -> str:
        """The path of a field."""
        return join(self.path, key)

    def __contains__(self, key: str) -> bool:
        """Whether the field says anything: null, an empty list and no fields do not."""
        return self.values.get(key) not in (None, [], {}, "")

    def __iter__(self) -> Iterator[str]:
        """Names of the fields that are not null, in the document's order."""
        for key, value in self.values.items():
            _check_text(self.path or "document", key)
            if value is not None:
                yield key

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Refuse the first field that is not known."""
        for key in self:
            if key not in known:
                raise BadManifest(self.at(key), f"no such field; {_known_text(key, known)}")

    def raw(self, key: str) -> Any:
        """The value as it stands in the document; None when absent."""
        return self.values.get(key)

    def text(self, key: str, default: str = "") -> str:
        """A text; a number or a bare `yes` needs quotes, as in Kubernetes."""
        value = self.values.get(key)
        if value is None:
            return default
        return _check_text(self.at(key), value)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number within the bounds."""
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise BadManifest(self.at(key), f"needs a whole number, found {shown(value)}")
        if not low <= value <= high:
            raise BadManifest(self.at(key), f"{shown(value)} is not between {low} and {high}")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false when absent."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise BadManifest(self.at(key), f"needs true or false, found {shown(value)}")
        return bool(value)

    def fields(self, key: str) -> Fields:
        """The fields below; none when absent."""
        return Fields(self.values.get(key), self.at(key))

    def items(self, key: str) -> list[Any]:
        """The items of a list; none when absent."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise BadManifest(self.at(key), f"needs a list, found {shown(value)}")
        return value

    def each(self, key: str) -> list[Fields]:
        """The fields of each item of a list."""
        return [Fields(item, f"{self.at(key)}[{i}]") for i, item in enumerate(self.items(key))]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        items = enumerate(self.items(key))
        return tuple(_check_text(f"{self.at(key)}[{i}]", item) for i, item in items)

    def pairs(self, key: str) -> tuple[tuple[str, str], ...]:
        """Texts by name, such as labels; in the document's order."""
        below = self.fields(key)
        return tuple((name, below.text(name)) for name in below)


@contextmanager
def said_of(place: str) -> Iterator[None]:
    """Faults found inside are said of this file and document."""
    try:
        yield
    except BadManifest as error:
        raise error.at(place) from None
