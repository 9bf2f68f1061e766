"""Tables: frozen groups of equally long numpy columns, the shape in which everything travels.

A table class lists its columns as annotations with one of the aliases below; that schema also is
the wire and store format (one little-endian `bytes` value per column). Tables are immutable by
agreement: whoever changes rows makes a new table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, dataclass_transform, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

U8 = Annotated[NDArray[np.uint8], np.dtype("<u1")]
U16 = Annotated[NDArray[np.uint16], np.dtype("<u2")]
U32 = Annotated[NDArray[np.uint32], np.dtype("<u4")]
U64 = Annotated[NDArray[np.uint64], np.dtype("<u8")]
I32 = Annotated[NDArray[np.int32], np.dtype("<i4")]
I64 = Annotated[NDArray[np.int64], np.dtype("<i8")]


class BadTable(ValueError):
    """Column bytes that cannot be a table; the text names the column and the reason."""


@dataclass_transform(kw_only_default=True, eq_default=False)
class Table:
    """Base of all tables: a subclass is a list of annotated columns, built by keyword.

    No dataclass: msgspec would encode one by itself, row objects instead of bytes.
    """

    ragged: ClassVar[frozenset[str]] = frozenset()
    """Columns whose length is not the row count (flattened matrices and CSR contents)."""

    types: ClassVar[dict[str, np.dtype[Any]]] = {}

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.types = {
            name: get_args(hint)[1]
            for name, hint in hints.items()
            if get_args(hint) and isinstance(get_args(hint)[-1], np.dtype)
        }

    def __init__(self, **columns: NDArray[Any]) -> None:
        self.__dict__.update(columns)

    def __len__(self) -> int:
        return len(getattr(self, next(iter(schema(type(self))))))

    @classmethod
    def empty(cls) -> Self:
        """A table of no rows."""
        return cls(**{name: np.empty(0, dtype) for name, dtype in schema(cls).items()})

    @classmethod
    def of(cls, **columns: Any) -> Self:
        """A table from array-likes; a scalar fills its column, but the first is a sequence."""
        types = schema(cls)
        first = next(iter(types))
        length = len(columns[first])
        made = {}
        for name, dtype in types.items():
            value = columns[name]
            made[name] = (
                np.full(length, value, dtype) if np.ndim(value) == 0 else np.asarray(value, dtype)
            )
        return cls(**made)

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.empty()
        return cls(
            **{name: np.concatenate([getattr(p, name) for p in parts]) for name in schema(cls)}
        )

    def take(self, rows: Any) -> Self:
        """The chosen rows (indices, mask or slice) of a table without ragged columns."""
        return type(self)(**{name: getattr(self, name)[rows] for name in schema(type(self))})

    def to_bytes(self) -> dict[str, bytes]:
        """Each column's little-endian bytes. Raises TypeError on a column of another type: numpy
        makes int64 of a uint8 column plus an IntEnum, and the peer would read eight times as many.
        """
        made = {}
        for name, dtype in schema(type(self)).items():
            column = getattr(self, name)
            if column.dtype != dtype:
                raise TypeError(f"{type(self).__name__}.{name} is {column.dtype}, not {dtype}")
            made[name] = column.tobytes()
        return made

    @classmethod
    def from_bytes(cls, columns: Mapping[str, bytes | memoryview]) -> Self:
        """A table over the given bytes. A missing column counts as empty, unknown ones are ignored.

        Raises BadTable when a length is no multiple of its item size or the columns differ in
        length.
        """
        made = {}
        length = -1
        for name, dtype in schema(cls).items():
            raw = columns.get(name, b"")
            if len(raw) % dtype.itemsize:
                raise BadTable(
                    f"{cls.__name__}.{name}: {len(raw)} bytes, items of {dtype.itemsize}"
                )
            made[name] = np.frombuffer(raw, dtype)
            if name in cls.ragged:
                continue
            if length >= 0 and len(made[name]) != length:
                raise BadTable(f"{cls.__name__}.{name}: {len(made[name])} rows, others {length}")
            length = len(made[name])
        return cls(**made)

    def rows(self) -> list[dict[str, int]]:
        """Rows as dictionaries, for tests, stories and reports; never on a hot path."""
        names = [name for name in schema(type(self)) if name not in self.ragged]
        return [{n: int(getattr(self, n)[i]) for n in names} for i in range(len(self))]


def schema(table: type[Table]) -> dict[str, np.dtype[Any]]:
    """The columns of a table class in order, with their types."""
    return table.types
