"""What a store must do, as small Protocols: `Sink` for the shipper, `Source` for readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from pipespan.errors import OffsetError
from pipespan.model.ids import stage_of
from pipespan.model.rows import RowType
from pipespan.model.status import LogLevel
from pipespan.store.chronicle import Chronicle

if TYPE_CHECKING:
    from pipespan.model.records import ExperimentRecord, JobRecord, LogRecord, NodeRecord


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One lane of one process's stream; the ledger keeps one offset for each."""

    stream_id: str
    lane: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of bytes of one lane, sorted by table.

    Attributes:
        key: the lane that it comes from.
        start_bytes: where in the lane the batch starts; equals the ledger's offset when all is well.
        end_bytes: where it ends, and where the ledger stands once it is shipped.
        lines: for each row type its COPY lines (`pipespan.store.copytext`), each ended by a newline, in the order in
            which they were written, and in pieces of one line or several.
        error_logs: how many of the log lines are of level ERROR or CRITICAL, by experiment.
        spans: lines of spans of other programs (`encode_span`), whose nodes are put in their place.
        counted: how many rows there are in `lines`, where they have been counted already.
    """

    key: StreamKey
    start_bytes: int
    end_bytes: int
    lines: Mapping[RowType, Sequence[bytes]]
    error_logs: Mapping[str, int] = field(default_factory=dict)
    spans: Sequence[bytes] = ()
    counted: int | None = None

    @property
    def row_count(self) -> int:
        """How many rows there are in `lines`."""
        if self.counted is not None:
            return self.counted
        return sum(piece.count(b"\n") for pieces in self.lines.values() for piece in pieces)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which log records to read; None means any.

    Attributes:
        level: this level and all more severe ones.
        contains: text that the message or the traceback contains, case-insensitive, literally.
        node_id: this node and all below it.
        after_id: only records with a higher id, for following; then the oldest of those come first in line.
        limit: at most so many: the newest ones, or with `after_id` the oldest; always in order of time.
        since: only records of this moment or later.
        until: only records before this moment.
    """

    level: LogLevel | None = None
    contains: str | None = None
    node_id: str | None = None
    after_id: int | None = None
    limit: int = 100
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Errors of one experiment that share a fingerprint (`pipespan.model.fingerprint`).

    Attributes:
        fingerprint: the same in each run in which this error occurs.
        error_type: of the newest of them.
        stage: of the newest of them; None at the root, and outside of nodes.
        message: first line of the newest of them.
        count: how many there are.
        first_seen_log: the first by time.
        last_seen_log: the newest.
    """

    fingerprint: str
    error_type: str | None
    stage: str | None
    message: str
    count: int
    first_seen_log: LogRecord
    last_seen_log: LogRecord

    @classmethod
    def of(cls, fingerprint: str, count: int, first: LogRecord, last: LogRecord) -> ErrorGroup:
        """Return the group of `count` records of which the first and the newest are known."""
        return cls(
            fingerprint=fingerprint,
            error_type=last.error_type,
            stage=stage_of(last.node_id),
            message=last.message.split("\n", 1)[0],
            count=count,
            first_seen_log=first,
            last_seen_log=last,
        )


def offset_error(batch: Batch, stands: int) -> OffsetError:
    """Return the error of a batch that does not start where the ledger `stands`."""
    message = (
        f"the ledger of {batch.key!r} stands at {stands}, the batch starts at {batch.start_bytes}; "
        "go on from the ledger"
    )
    return OffsetError(message, shipped_bytes=stands)


class Sink(Protocol):
    """Takes batches, exactly once. One thread uses one Sink at a time."""

    def ship(self, *batches: Batch) -> None:
        """Write all rows of `batches`, of a lane each, and move their ledger offsets: in one transaction, all or none.

        Raises:
            OffsetError: the ledger of one of them does not stand at its `start_bytes`; nothing was written.
            RefusedError: a row of one of them is not acceptable; nothing was written.
            SchemaError: the schema is missing or of another version.
            StoreUnavailableError: the database cannot be reached; whether the batch was written is unknown.
        """

    def offset(self, key: StreamKey) -> int:
        """Return where the ledger of `key` stands, 0 for an unknown one; raises as `ship` does."""

    def close(self) -> None:
        """Give back what the sink holds; never raises."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far somebody else has shipped a stream, which he fetches from its files.

    Attributes:
        offsets: where the ledger of each lane stands, as far as he knows.
        rows: how many rows he has shipped since the stream was left to him.
        slowest_s: what his slowest round took since this was told last, in seconds.
        late_s: how long ago he was to look for new rows and has not, in seconds; the database may not answer him.
        is_over: he has given it up, and the stream's process ships by itself: too much comes, or something is amiss.
    """

    offsets: Mapping[str, int]
    rows: int
    slowest_s: float
    late_s: float
    is_over: bool


class Fetcher(Protocol):
    """Ships a stream from its files, so that its process need not; a sink may be one. No method raises."""

    def fetch(self, folder: str, offsets: Mapping[str, int], interval_s: float) -> bool:
        """Begin with the stream in `folder`, whose ledger stands at `offsets`; return whether that is done."""

    def fetched(self) -> Fetched | None:
        """Return how far that is; None where nobody does it any more, and the ledger is further than is known."""

    def hurry(self) -> None:
        """Have it looked for what is new now, and not at the next turn; does not wait for it."""

    def stop_fetching(self) -> Fetched | None:
        """End it, and return how far it came; None as above."""

    def finish(self) -> bool:
        """Ship the rest, and remove the stream, once its process lets go of it; return whether that will be done."""


class RequestSink(Sink, Protocol):
    """A sink that also takes what a receiver is sent: whole requests, each noted in the ledger by its content."""

    def ship_requests(self, batches: Sequence[Batch]) -> Sequence[StreamKey]:
        """Write several requests in one transaction, all or none; return the keys of those written before.

        Each batch is a lane of its own that starts at 0; one that the ledger knows is left out, and nothing of it is
        written again. Raises as `ship` does, but for OffsetError.
        """

    def prune_requests(self) -> None:
        """Forget requests that nobody sends again; raises as `ship` does."""


@dataclass(frozen=True, slots=True)
class RequestRow:
    """What somebody asks of a live process.

    Attributes:
        id: uuid.
        kind: `stack` or `cancel`.
        asked_by: user@host.
        args: further wishes.
    """

    id: str
    kind: str
    asked_by: str
    args: Mapping[str, Any]


class Desk(Protocol):
    """Where a process finds what is asked of it; a sink may be one. Both raise as `Sink.ship` does."""

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """Return what is asked of these jobs and not answered yet; meant to be called about once a second."""

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """Answer a request; one that has an answer keeps it."""


class CommonSink(Sink, Desk, Protocol):
    """A sink through which one process ships for many programs."""

    def get_ready(self) -> None:
        """Do beforehand what the first rows would wait for, as far as that can be; raises as `ship` does."""


class Asker(Protocol):
    """Asks live processes. All raise `StoreUnavailableError` and `SchemaError`."""

    def ask(self, request: RequestRow, experiment_id: str, job_id: str) -> None:
        """Ask the process of a job; the same request again changes nothing."""

    def answers(self, request_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Return the answers that are there, by id of the request."""

    def close(self) -> None:
        """Give back what is held; never raises."""


class Source(Chronicle, Protocol):
    """Answers readers. All raise `StoreUnavailableError` and `SchemaError`."""

    def experiments(self, *, limit: int) -> list[ExperimentRecord]:
        """Return the newest experiments, newest first."""

    def find_experiments(self, reference: str, *, limit: int) -> list[ExperimentRecord]:
        """Return the experiments whose name equals or whose id starts with `reference`, newest first."""

    def jobs(self, experiment_id: str) -> list[JobRecord]:
        """Return the jobs of an experiment by start time."""

    def nodes(self, experiment_id: str) -> list[NodeRecord]:
        """Return all nodes of an experiment by start time, unstarted ones last, in order of creation."""

    def open_nodes(self, experiment_id: str, job_id: str) -> list[NodeRecord]:
        """Return the nodes of one job that have no final status, in order as `nodes` has it."""

    def error_counts(self, experiment_id: str) -> Mapping[str | None, int]:
        """Return how many ERROR and CRITICAL log records each node has (not counting nodes below it)."""

    def logs(self, experiment_id: str, wanted: LogFilter) -> list[LogRecord]:
        """Return log records in order of (timestamp, id), or of id when following."""

    def error_groups(self, experiment_id: str, *, limit: int) -> list[ErrorGroup]:
        """Return the errors of an experiment grouped by fingerprint, the most frequent first."""

    def close(self) -> None:
        """Give back what the source holds; never raises."""
