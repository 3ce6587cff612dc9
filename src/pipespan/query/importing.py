"""A document of one experiment into a store: whole and exactly once, or not at all."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import IO, Any, Final

from pipespan.errors import ConflictError, DocumentError, NotFoundError, OffsetError
from pipespan.model.rows import ExperimentRow, JobRow, NodeRow, Row, RowType
from pipespan.query.exporting import ERROR_COUNT, FORMAT, SECTIONS, VERSION
from pipespan.query.resolve import by_id
from pipespan.query.rowjson import row_object, row_of, shown
from pipespan.store.base import Batch, Sink, Source, StreamKey
from pipespan.store.copytext import encode_rows

LANE: Final = "import"
"""Lane of the ledger; the second import of the same document, after its experiment was removed, is `import-2`."""

_STREAMS: Final = uuid.UUID("5a1c2a52-9f0e-5a53-8f0c-6c1c7d8f0e11")
"""Name space of the ids of streams that are made from digests."""

_MAX_ERRORS: Final = 2**63 - 1
_KEYS: Final = frozenset({"format", "version", "written_by", "experiment", *SECTIONS})


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What came of an import.

    Attributes:
        is_new: whether anything was written; False when the very experiment was there already.
        rows: how many rows of each kind the document has.
    """

    experiment_id: str
    name: str
    is_new: bool
    rows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document that was understood: `rows` begin with the experiment."""

    error_count: int
    rows: Sequence[Row]

    @property
    def experiment(self) -> ExperimentRow:
        """Return the experiment."""
        first = self.rows[0]
        assert isinstance(first, ExperimentRow)  # noqa: S101 - the first one that is read
        return first


def read_document(stream: IO[str]) -> Any:
    """Return what a file holds.

    Raises:
        DocumentError: it is not JSON.
    """
    try:
        return json.load(stream, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"the document is not JSON: {error}; export the experiment again") from error


def import_document(document: Any, source: Source, sink: Sink) -> ImportReport:
    """Write an exported experiment into a store; the same document again changes nothing.

    Args:
        document: as `pipespan.query.exporting` made it.
        source: reads the store.
        sink: writes the same store.

    Raises:
        DocumentError: it cannot be understood; nothing was written.
        ConflictError: the experiment or one of its jobs is there with another content; nothing was written.
        StoreError: the store does not take it; nothing was written.
    """
    parsed = parse_document(document)
    stream_id = str(uuid.uuid5(_STREAMS, digest(parsed.error_count, parsed.rows)))
    batch = _batch(parsed, StreamKey(stream_id, LANE))
    is_new = _bring(parsed, batch, source, sink)
    rows = {name: sum(type(row) is row_type for row in parsed.rows) for name, row_type in SECTIONS.items()}
    return ImportReport(parsed.experiment.id, parsed.experiment.name, is_new, rows)


def parse_document(document: Any) -> Parsed:
    """Return the rows of a document.

    Raises:
        DocumentError: it cannot be understood; the message names the place.
    """
    _check_head(document)
    experiment = document["experiment"]
    if not isinstance(experiment, dict):
        raise DocumentError(f"experiment is {shown(experiment)}; it must be an object")
    errors = experiment.get(ERROR_COUNT)
    if not isinstance(errors, int) or isinstance(errors, bool) or not 0 <= errors <= _MAX_ERRORS:
        raise DocumentError(f"experiment.{ERROR_COUNT} cannot be {shown(errors)}; it takes a count")
    values = {name: value for name, value in experiment.items() if name != ERROR_COUNT}
    root = row_of(ExperimentRow, values, "experiment", "")
    assert isinstance(root, ExperimentRow)  # noqa: S101 - what was asked for
    rows = [root]
    for name, row_type in SECTIONS.items():
        rows += _section(document[name], name, row_type, root.id)  # type: ignore[arg-type]  # rows of all kinds
    _check_unique(rows)
    return Parsed(errors, rows)


def digest(error_count: int, rows: Iterable[Row]) -> str:
    """Return what tells an experiment's content from any other, whatever the order of keys in its JSON values."""
    made = hashlib.sha256(f"{error_count}".encode())
    for row in rows:
        text = json.dumps([type(row).__name__, row_object(row)], sort_keys=True)
        made.update(f"\n{text}".encode())
    return made.hexdigest()


def _check_head(document: Any) -> None:
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise DocumentError(
            f"this is no exported experiment: it lacks the format {FORMAT!r}; use `pipespan export`"
        )
    if document.get("version") != VERSION:
        message = (
            f"the document has version {shown(document.get('version'))}, this pipespan knows {VERSION}; "
            "use the version of pipespan that wrote it"
        )
        raise DocumentError(message)
    unknown = sorted(str(key) for key in document if key not in _KEYS)
    if unknown:
        raise DocumentError(f"the document has the unknown part {unknown[0]!r}; export the experiment again")
    missing = [key for key in ("experiment", *SECTIONS) if key not in document]
    if missing:
        raise DocumentError(f"the document lacks the part {missing[0]!r}; export the experiment again")


def _section(values: Any, name: str, row_type: RowType, owner: str) -> Iterator[Row]:
    if not isinstance(values, list | tuple):
        raise DocumentError(f"{name} is {shown(values)}; it must be a list")
    for number, value in enumerate(values):
        yield row_of(row_type, value, f"{name}[{number}]", owner)


def _check_unique(rows: Iterable[Row]) -> None:
    seen: set[tuple[type, str]] = set()
    for row in rows:
        if isinstance(row, JobRow):
            key = row.id
        elif isinstance(row, NodeRow):
            key = row.node_id
        else:
            continue
        if (type(row), key) in seen:
            raise DocumentError(f"{key!r} is there twice; export the experiment again")
        seen.add((type(row), key))


def _batch(parsed: Parsed, key: StreamKey) -> Batch:
    lines = encode_rows(parsed.rows)
    size = sum(sum(map(len, some)) for some in lines.values())
    errors = {parsed.experiment.id: parsed.error_count} if parsed.error_count else {}
    return Batch(key, 0, size, lines, errors)


def _bring(parsed: Parsed, batch: Batch, source: Source, sink: Sink) -> bool:
    """Ship the batch unless its rows are there; return whether it was shipped."""
    # The lane first and the experiment then: whoever imports the same meanwhile is seen by the one or by the other.
    key = _free_key(batch.key, sink)
    if _is_known(parsed, source):
        if key != batch.key or _is_same(parsed, source):
            return False
        message = (
            f"the experiment {parsed.experiment.id} ({parsed.experiment.name}) is there already with another content; "
            "import it into another database"
        )
        raise ConflictError(message)
    try:
        _check_jobs(parsed, source)
        sink.ship(Batch(key, batch.start_bytes, batch.end_bytes, batch.lines, batch.error_logs))
    except (OffsetError, ConflictError):
        if sink.offset(key) != batch.end_bytes:
            raise
        return False  # another process imported the same document meanwhile, or an acknowledgement was lost
    return True


def _is_known(parsed: Parsed, source: Source) -> bool:
    try:
        by_id(source, parsed.experiment.id)
    except NotFoundError:
        return False
    return True


def _is_same(parsed: Parsed, source: Source) -> bool:
    with source.snapshot(parsed.experiment.id) as there:
        return digest(there.error_count, there.rows) == digest(parsed.error_count, parsed.rows)


def _free_key(key: StreamKey, sink: Sink) -> StreamKey:
    """Return the first lane that nothing was shipped by: an experiment that was removed may come again."""
    for number in count(1):
        lane = key.lane if number == 1 else f"{key.lane}-{number}"
        candidate = StreamKey(key.stream_id, lane)
        if sink.offset(candidate) == 0:
            return candidate
    raise AssertionError("there is always another lane")


def _check_jobs(parsed: Parsed, source: Source) -> None:
    jobs = [row.id for row in parsed.rows if isinstance(row, JobRow)]
    elsewhere = source.experiments_of_jobs(jobs) if jobs else {}
    for job_id, experiment_id in elsewhere.items():  # the first one is enough
        message = f"the job {job_id} belongs to the experiment {experiment_id} already; import into another database"
        raise ConflictError(message)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
