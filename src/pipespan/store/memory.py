"""A store in memory: the reference for what a store does, and a double for tests."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final, TypeVar

from pipespan.model.attributes import plain_text
from pipespan.model.merge import precedence
from pipespan.model.records import ExperimentRecord, JobRecord, LogRecord, NodeRecord
from pipespan.model.rows import (
    ROW_TYPES,
    EventRow,
    ExperimentRow,
    JobRow,
    LogRow,
    MetricRow,
    NodeRow,
    Row,
    SpanNote,
)
from pipespan.model.status import ERROR_LEVELS, LOG_LEVELS, TERMINAL_STATUSES, levels_at_least
from pipespan.model.tree import Rollup, rollup
from pipespan.store.base import Batch, ErrorGroup, LogFilter, RequestRow, StreamKey, offset_error
from pipespan.store.copytext import decode_span
from pipespan.store.memory_chronicle import MemoryChronicle
from pipespan.store.memory_links import linked, merged_note
from pipespan.store.memory_records import decoded_rows, log_record, record_values, stub_experiment, unix_us

RowT = TypeVar("RowT", ExperimentRow, JobRow, NodeRow)
KeyT = TypeVar("KeyT")

_PERCENT_PPB: Final = 10_000_000


class MemoryStore(MemoryChronicle):
    """Implements both `pipespan.store.base.Sink` and `Source`; any thread may use it."""

    def __init__(self, *, clock: Callable[[], datetime] | None = None) -> None:
        self._clock = clock or _now
        self._turn = threading.RLock()
        self._offsets: dict[StreamKey, int] = {}
        self._experiments: dict[str, ExperimentRow] = {}
        self._jobs: dict[str, JobRow] = {}
        self._nodes: dict[tuple[str, str], NodeRow] = {}
        self._spans: dict[str, dict[str, SpanNote]] = {}
        self._logs: list[LogRow] = []
        self._events: list[EventRow] = []
        self._metrics: list[MetricRow] = []
        self._errors: Counter[str] = Counter()
        self._requests: dict[str, tuple[RequestRow, str]] = {}
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._created: dict[object, datetime] = {}
        self._updated: dict[object, datetime] = {}

    def ship(self, *batches: Batch) -> None:
        """See `Sink.ship`."""
        brought = [(batch, _rows_of(batch)) for batch in batches]  # refused before anything is written
        with self._turn:
            for batch in batches:
                stands = self.offset(batch.key)
                if stands != batch.start_bytes:
                    raise offset_error(batch, stands)
            for batch, rows in brought:
                self._write(batch, rows)

    def _write(self, batch: Batch, rows: Sequence[Row]) -> None:
        self._offsets[batch.key] = batch.end_bytes
        for row in rows:
            self._take(row)
        for experiment_id in batch.error_logs:
            self._need_experiment(experiment_id)
        self._errors.update(batch.error_logs)
        self._link([decode_span(line) for line in batch.spans], rows)

    def ship_requests(self, batches: Sequence[Batch]) -> Sequence[StreamKey]:
        """See `pipespan.store.base.RequestSink.ship_requests`."""
        with self._turn:
            known = [batch.key for batch in batches if self.offset(batch.key)]
            # The same one twice is one.
            self.ship(*{batch.key: batch for batch in batches if batch.key not in known}.values())
            return known

    def prune_requests(self) -> None:
        """Keep all: a test may send again what it sent."""

    def offset(self, key: StreamKey) -> int:
        """See `Sink.offset`."""
        with self._turn:
            return self._offsets.get(key, 0)

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """See `pipespan.store.base.Desk.open_requests`; nothing grows old here."""
        with self._turn:
            return [
                request
                for request, job_id in self._requests.values()
                if job_id in job_ids and request.id not in self._answers
            ]

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """See `pipespan.store.base.Desk.answer_request`."""
        with self._turn:
            if request_id in self._requests:
                self._answers.setdefault(request_id, answer)

    def ask(self, request: RequestRow, experiment_id: str, job_id: str) -> None:
        """See `pipespan.store.base.Asker.ask`."""
        with self._turn:
            self._requests.setdefault(request.id, (request, job_id))

    def answers(self, request_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """See `pipespan.store.base.Asker.answers`."""
        with self._turn:
            return {one: self._answers[one] for one in request_ids if one in self._answers}

    def close(self) -> None:
        """Keep everything: a test may look at the store afterwards."""

    def experiments(self, *, limit: int) -> list[ExperimentRecord]:
        """See `Source.experiments`."""
        return self._newest_experiments(self._experiments.values(), limit)

    def find_experiments(self, reference: str, *, limit: int) -> list[ExperimentRecord]:
        """See `Source.find_experiments`."""
        name, prefix = plain_text(reference), reference.lower()
        found = [
            row
            for row in self._experiments.values()
            if row.name == name or (prefix and row.id.startswith(prefix))
        ]
        return self._newest_experiments(found, limit)

    def jobs(self, experiment_id: str) -> list[JobRecord]:
        """See `Source.jobs`."""
        with self._turn:
            found = [row for row in self._jobs.values() if row.experiment_id == experiment_id]
        found.sort(key=lambda row: (row.started_at, row.id))
        return [JobRecord(**record_values(row)) for row in found]

    def nodes(self, experiment_id: str) -> list[NodeRecord]:
        """See `Source.nodes`."""
        with self._turn:
            found = [row for row in self._nodes.values() if row.experiment_id == experiment_id]
            sums = rollup(found)
            # Stable: what starts at the same time stays in order of creation.
            found.sort(key=lambda row: (row.start_time is None, row.start_time or 0))
            return [self._node_record(row, sums[row.node_id]) for row in found]

    def open_nodes(self, experiment_id: str, job_id: str) -> list[NodeRecord]:
        """See `Source.open_nodes`."""
        return [
            node
            for node in self.nodes(experiment_id)
            if node.job_id == job_id and node.status not in TERMINAL_STATUSES
        ]

    def error_counts(self, experiment_id: str) -> Mapping[str | None, int]:
        """See `Source.error_counts`."""
        return Counter(row.node_id for _, row in self._errors_of(experiment_id))

    def logs(self, experiment_id: str, wanted: LogFilter) -> list[LogRecord]:
        """See `Source.logs`."""
        with self._turn:
            wants = self._log_predicate(experiment_id, wanted)
            found = [(number, row) for number, row in enumerate(self._logs, start=1) if wants(row)]
        if wanted.after_id is not None:
            newer = [(number, row) for number, row in found if number > wanted.after_id]
            return [log_record(number, row) for number, row in newer[: max(0, wanted.limit)]]
        found.sort(key=_time_of_log)
        return [log_record(number, row) for number, row in _last(found, wanted.limit)]

    def error_groups(self, experiment_id: str, *, limit: int) -> list[ErrorGroup]:
        """See `Source.error_groups`."""
        groups: dict[str, list[LogRecord]] = {}
        for numbered in sorted(self._errors_of(experiment_id), key=_time_of_log):
            record = log_record(*numbered)
            groups.setdefault(record.fingerprint or "", []).append(record)
        ranked = sorted(groups.items(), key=lambda group: -len(group[1]))  # ties stay in order of first seen
        return [ErrorGroup.of(key, len(logs), logs[0], logs[-1]) for key, logs in ranked[: max(0, limit)]]

    def _take(self, row: Row) -> None:
        if isinstance(row, ExperimentRow):
            self._merge(self._experiments, row.id, row)
        elif isinstance(row, JobRow):
            self._need_experiment(row.experiment_id)
            self._merge(self._jobs, row.id, row)
        elif isinstance(row, NodeRow):
            self._need_experiment(row.experiment_id)
            self._merge(self._nodes, (row.experiment_id, row.node_id), row)
        elif isinstance(row, LogRow):
            self._logs.append(row)
        elif isinstance(row, EventRow):
            self._events.append(row)
        else:
            self._metrics.append(row)

    def _merge(self, table: dict[KeyT, RowT], key: KeyT, row: RowT) -> None:
        known = table.get(key)
        if known is None or precedence(row) > precedence(known):
            table[key] = row
            moment = self._clock()
            self._created.setdefault((type(row), key), moment)
            self._updated[type(row), key] = moment

    def _link(self, notes: Iterable[SpanNote], rows: Iterable[Row]) -> None:
        """Put nodes made of spans of other programs in their place, where a batch may have changed it."""
        touched = {row.experiment_id for row in rows if isinstance(row, NodeRow)}
        for note in notes:
            self._need_experiment(note.experiment_id)
            touched.add(note.experiment_id)
            known = self._spans.setdefault(note.experiment_id, {})
            known[note.span_id] = merged_note(known.get(note.span_id), note)
        for experiment_id in touched & self._spans.keys():
            nodes = [row for row in self._nodes.values() if row.experiment_id == experiment_id]
            for node in linked(nodes, self._spans[experiment_id]):
                self._nodes[experiment_id, node.node_id] = node
                self._updated[NodeRow, (experiment_id, node.node_id)] = self._clock()

    def _need_experiment(self, experiment_id: str) -> None:
        if experiment_id not in self._experiments:
            self._merge(self._experiments, experiment_id, stub_experiment(experiment_id, self._clock()))

    def _newest_experiments(self, rows: Iterable[ExperimentRow], limit: int) -> list[ExperimentRecord]:
        with self._turn:
            newest = sorted(rows, key=lambda row: (row.started_at, row.id), reverse=True)[: max(0, limit)]
            return [
                ExperimentRecord(
                    **record_values(row),
                    error_count=self._errors[row.id],
                    created_at=self._created[ExperimentRow, row.id],
                )
                for row in newest
            ]

    def _node_record(self, row: NodeRow, sums: Rollup) -> NodeRecord:
        key = (NodeRow, (row.experiment_id, row.node_id))
        return NodeRecord(
            **record_values(row),
            progress_percent=sums.ppb / _PERCENT_PPB,
            child_weight=sums.child_weight,
            child_sum=sums.child_sum,
            child_reached=sums.child_reached,
            created_at=self._created[key],
            updated_at=self._updated[key],
        )

    def _errors_of(self, experiment_id: str) -> list[tuple[int, LogRow]]:
        with self._turn:
            return [
                (number, row)
                for number, row in enumerate(self._logs, start=1)
                if row.experiment_id == experiment_id and row.level in ERROR_LEVELS
            ]

    def _log_predicate(self, experiment_id: str, wanted: LogFilter) -> Callable[[LogRow], bool]:
        levels = LOG_LEVELS if wanted.level is None else levels_at_least(wanted.level)
        text = None if wanted.contains is None else plain_text(wanted.contains).lower()
        below = None if wanted.node_id is None else self._below(experiment_id, plain_text(wanted.node_id))
        since = None if wanted.since is None else unix_us(wanted.since)
        until = None if wanted.until is None else unix_us(wanted.until)

        def wants(row: LogRow) -> bool:
            return (
                row.experiment_id == experiment_id
                and row.level in levels
                and (text is None or text in row.message.lower() or text in (row.traceback or "").lower())
                and (below is None or below(row.node_id))
                and (since is None or row.timestamp // 1000 >= since)
                and (until is None or row.timestamp // 1000 < until)
            )

        return wants

    def _below(self, experiment_id: str, node_id: str) -> Callable[[str | None], bool]:
        family = {node_id}
        grown = True
        while grown:
            children = {
                row.node_id
                for row in self._nodes.values()
                if row.experiment_id == experiment_id and row.parent_id in family
            }
            grown = not children <= family
            family |= children
        return lambda candidate: (
            candidate is not None and (candidate in family or candidate.startswith(f"{node_id}/"))
        )


def _rows_of(batch: Batch) -> list[Row]:
    return [row for row_type in ROW_TYPES for row in decoded_rows(row_type, batch.lines.get(row_type, ()))]


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _time_of_log(numbered: tuple[int, LogRow]) -> tuple[int, int]:
    number, row = numbered
    return row.timestamp, number


def _last(rows: list[KeyT], limit: int) -> list[KeyT]:
    return rows[-limit:] if limit > 0 else []
