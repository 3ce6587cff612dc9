"""How batches are written within a transaction: the ledger, the rows, what they are merged into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, RowType
from pipespan.store.base import Batch, StreamKey, offset_error
from pipespan.store.postgres.brief import BriefTransaction, Transaction

SMALL_BYTES: Final = 8 * 1024
"""Some 50 rows: INSERT takes as long as COPY there, which asks back, and twice as long with a thousand."""

_STAGED: Final[Mapping[RowType, str]] = {ExperimentRow: "experiments", JobRow: "jobs", NodeRow: "nodes"}
_DIRECT: Final[Mapping[RowType, str]] = {LogRow: "logs", EventRow: "events", MetricRow: "metrics"}

_STANDS_ELSEWHERE: Final = "PS001"
"""The SQLSTATE of `pipespan_open_batches_v1`."""

_FAULTS_OF_ROWS: Final = ("22", "23", "42", "54")
"""Classes of SQLSTATE: data, constraints, a statement that is no statement, limits."""


def are_small(batches: Sequence[Batch]) -> bool:
    """Tell whether the rows are better sent as INSERT."""
    return sum(batch.end_bytes - batch.start_bytes for batch in batches) <= SMALL_BYTES


def is_fault_of_rows(error: Exception) -> bool:
    """Tell whether a COPY of the same rows would tell more about what is wrong."""
    if isinstance(error, psycopg.Error):
        return error.sqlstate is not None and error.sqlstate.startswith(_FAULTS_OF_ROWS)
    return isinstance(error, ValueError)


def write_batches(transaction: Transaction, batches: Sequence[Batch]) -> None:
    """Move the ledger, and write all rows."""
    content = _content(batches)
    ordered = _in_order(batches)
    values = {
        "stream_ids": [batch.key.stream_id for batch in ordered],
        "lanes": [batch.key.lane for batch in ordered],
        "starts_bytes": [batch.start_bytes for batch in ordered],
        "ends_bytes": [batch.end_bytes for batch in ordered],
        **_tables(content),
    }
    transaction.open("open_batches", values)
    _fill(transaction, batches, content)


def raise_if_elsewhere(error: psycopg.Error, batches: Sequence[Batch]) -> None:
    """Raise an OffsetError if `write_batches` failed because a ledger does not stand where its batch starts."""
    if error.sqlstate == _STANDS_ELSEWHERE:
        number, stands = map(int, (error.diag.message_detail or "").split())
        raise offset_error(_in_order(batches)[number - 1], stands) from None


def write_requests(transaction: BriefTransaction, batches: Sequence[Batch]) -> Sequence[StreamKey]:
    """Write the requests that were not written before; return the others."""
    batches = list({batch.key: batch for batch in batches}.values())  # the same one twice is one
    values = {
        "stream_ids": [batch.key.stream_id for batch in batches],
        "lane": batches[0].key.lane,
        "sizes_bytes": [batch.end_bytes for batch in batches],
        **_tables(_content(batches)),
    }
    known = {str(one) for one in transaction.first("open_group", values) or ()}
    fresh = [batch for batch in batches if batch.key.stream_id not in known]
    if fresh:
        _fill(transaction, fresh, _content(fresh))
    return [batch.key for batch in batches if batch.key.stream_id in known]


def _in_order(batches: Sequence[Batch]) -> Sequence[Batch]:
    # The same for everybody: two may ship the same streams for a moment.
    return sorted(batches, key=lambda batch: (batch.key.stream_id, batch.key.lane))


def _fill(transaction: Transaction, batches: Sequence[Batch], content: Mapping[str, bool]) -> None:
    """Write the rows of batches that the ledger has been moved for."""
    if content["has_spans"]:
        transaction.execute("open_spans")
        transaction.copy("copy_staged_spans", [line for batch in batches for line in batch.spans])
    # All that comes over the network comes first: the merge takes locks that others wait for.
    for row_type, name in _STAGED.items():
        transaction.copy(f"copy_staged_{name}", _lines(batches, row_type))
    for row_type, name in _DIRECT.items():
        transaction.copy(f"copy_{name}", _lines(batches, row_type))
    counts: Counter[str] = Counter()
    for batch in batches:
        counts.update(batch.error_logs)
    if counts or any(content.values()):
        errors = {"error_ids": list(counts), "errors": list(counts.values())}
        transaction.last("merge_batch", {**content, **errors})


def _content(batches: Sequence[Batch]) -> dict[str, bool]:
    return {
        "has_owners": any(one.lines.get(ExperimentRow) or one.lines.get(JobRow) for one in batches),
        "has_nodes": any(one.lines.get(NodeRow) for one in batches),
        "has_spans": any(one.spans for one in batches),
    }


def _tables(content: Mapping[str, bool]) -> dict[str, bool]:
    """Return which of the temporary tables are needed; where spans are placed that of nodes is looked at."""
    return {"has_owners": content["has_owners"], "has_nodes": content["has_nodes"] or content["has_spans"]}


def _lines(batches: Sequence[Batch], row_type: RowType) -> Sequence[bytes]:
    if len(batches) == 1:
        return batches[0].lines.get(row_type, ())
    return [line for batch in batches for line in batch.lines.get(row_type, ())]
