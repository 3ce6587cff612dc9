"""One experiment as one JSON document: all its rows, as they were recorded.

What follows from the rows (percents of parents, health, summaries) is not in it: whoever reads the rows again, in
another database or in another program, computes it as it was computed before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from pipespan._version import __version__
from pipespan.errors import NotFoundError
from pipespan.model.rows import EventRow, JobRow, LogRow, MetricRow, NodeRow, RowType
from pipespan.query.document import json_line
from pipespan.query.rowjson import row_object
from pipespan.store.base import Source
from pipespan.store.chronicle import Snapshot

FORMAT: Final = "pipespan.experiment"
"""What the document says it is."""

VERSION: Final = 1
"""Rises when a reader of the former version could not read it."""

SECTIONS: Final[Mapping[str, RowType]] = {
    "jobs": JobRow,
    "nodes": NodeRow,
    "logs": LogRow,
    "events": EventRow,
    "metrics": MetricRow,
}
"""The lists of the document, in its order."""

ERROR_COUNT: Final = "error_count"
"""Field of the experiment that is not of its row."""


def export_document(source: Source, experiment_id: str) -> dict[str, Any]:
    """Return an experiment as a document.

    Raises:
        NotFoundError: there is no experiment of this id.
        StoreError: the store does not answer.
    """
    with source.snapshot(experiment_id) as snapshot:
        rows = _rows_by_type(snapshot)
        document: dict[str, Any] = {**_head(rows, snapshot, experiment_id), **{name: [] for name in SECTIONS}}
        for row_type, objects in rows:
            document[_name_of(row_type)].extend(objects)
    return document


def write_document(source: Source, experiment_id: str, write: Callable[[str], object]) -> None:
    """Write an experiment as a document, a row on a line, without ever holding it whole.

    Raises:
        NotFoundError: there is no experiment of this id; nothing was written.
        StoreError: the store does not answer; what was written is not whole.
    """
    with source.snapshot(experiment_id) as snapshot:
        rows = _rows_by_type(snapshot)
        head = _head(rows, snapshot, experiment_id)
        write("{" + ",\n".join(f"{json_line(key)}: {json_line(value)}" for key, value in head.items()))
        waiting = iter(SECTIONS)
        for row_type, objects in rows:
            for name in waiting:
                write(f",\n{json_line(name)}: [")
                if SECTIONS[name] is row_type:
                    break
                write("]")
            separator = "\n"
            for one in objects:
                write(separator + _line(one))
                separator = ",\n"
            write("\n]")
        for name in waiting:
            write(f",\n{json_line(name)}: []")
        write("}\n")


def _head(
    rows: Iterator[tuple[RowType, Iterator[dict[str, Any]]]], snapshot: Snapshot, experiment_id: str
) -> dict[str, Any]:
    first = next(rows, None)
    if first is None:
        message = f"there is no experiment {experiment_id!r}; `pipespan list` shows those that exist"
        raise NotFoundError(message)
    experiment = next(first[1])
    return {
        "format": FORMAT,
        "version": VERSION,
        "written_by": f"pipespan {__version__}",
        "experiment": {**experiment, ERROR_COUNT: snapshot.error_count},
    }


def _rows_by_type(snapshot: Snapshot) -> Iterator[tuple[RowType, Iterator[dict[str, Any]]]]:
    for row_type, rows in groupby(snapshot.rows, key=type):
        yield row_type, (row_object(row) for row in rows)


def _line(value: dict[str, Any]) -> str:
    """Return an object that JSON knows as ASCII, which is safe to print; `json_line` would look at each part of it."""
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")


def _name_of(row_type: RowType) -> str:
    return next(name for name, known in SECTIONS.items() if known is row_type)
