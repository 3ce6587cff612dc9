"""Lists of records that a client hands out: immutable, and a data frame when asked."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar, overload

from pipespan.errors import UsageError

ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class Records(Sequence[ItemT_co], Generic[ItemT_co]):
    """An immutable list of records of one class; equal to any other list of equal records."""

    __slots__ = ("_items", "_kind")

    def __init__(self, kind: type[Any], items: Iterable[ItemT_co]) -> None:
        self._kind = kind
        self._items = tuple(items)

    @overload
    def __getitem__(self, index: int) -> ItemT_co: ...
    @overload
    def __getitem__(self, index: slice) -> Records[ItemT_co]: ...
    def __getitem__(self, index: int | slice) -> ItemT_co | Records[ItemT_co]:
        if isinstance(index, slice):
            return Records(self._kind, self._items[index])
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[ItemT_co]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Records):
            return self._items == other._items
        return list(self._items) == list(other) if isinstance(other, list | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"<{len(self._items)} of {self._kind.__name__}: {list(self._items[:3])!r:.500}>"

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame`: a row for each record, a column for each field.

        Fields of a record within a record are columns of their own, named `outer.inner`.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            pandas: Any = importlib.import_module("pandas")
        except ImportError as error:
            raise UsageError("to_pandas() needs pandas; pip install pandas") from error
        rows = [dict(_cells(one)) for one in self._items]
        columns = list(rows[0]) if rows else [one.name for one in fields(self._kind)]
        return pandas.DataFrame(rows, columns=columns)


def _cells(record: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for one in fields(record):
        value = getattr(record, one.name)
        if is_dataclass(value):
            yield from _cells(value, f"{prefix}{one.name}.")
        else:
            yield prefix + one.name, value
