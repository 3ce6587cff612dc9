"""The short way from a request to COPY lines, for the spans and log records that nearly all are.

What is usual is written down at once; what is not (a span of pipespan, events, links, a root, names with a meaning,
secrets, anything damaged) goes the long way, record by record, in `pipespan.otlp.spans` and `logs`. A property test
holds both ways equal.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus

from pipespan.model import semconv
from pipespan.model.attributes import MAX_TEXT_CHARS
from pipespan.model.rows import LogRow
from pipespan.model.status import ERROR_LEVELS, level_of_severity
from pipespan.otlp.family import Family
from pipespan.otlp.fragments import Fragments, Unusual
from pipespan.otlp.lean import lean_request
from pipespan.otlp.spans import FOREIGN_KEY, SPAN_KINDS
from pipespan.store.copytext import NULL, encode_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipespan.model.redact import Redactor
    from pipespan.otlp.decoded import Decoded
    from pipespan.otlp.origin import Origin, Seen
    from pipespan.otlp.rules import NodeRule

_MAX_TIME: Final = 2**63
_ERROR: Final = 2
_MAX_ATTRIBUTES: Final = 1_000
_MAX_JSON_CHARS: Final = MAX_TEXT_CHARS // 2
_SEVERITIES: Final = {number: f"{level_of_severity(number)}\t{number}" for number in range(25)}
_FIRST_ERROR: Final = next(number for number in range(25) if level_of_severity(number) in ERROR_LEVELS)
_UNKNOWN_KIND: Final = 0
_S: Final = 1_000_000_000
_COMPLETED: Final = ("completed", NULL)


class _Where(NamedTuple):
    """What the records of one trace have in common; `times` are theirs."""

    experiment_id: str
    trace_id: str
    tail: str
    seen: Seen
    family: Family
    times: list[int]


class FastLane:
    """Reads requests the short way; several threads may.

    Args:
        rule: which spans become nodes.
        redactor: hides secrets.
    """

    def __init__(self, rule: NodeRule, redactor: Redactor) -> None:
        self._rule = rule
        self._fragments = Fragments(redactor)
        self._requests = {"traces": lean_request("traces"), "logs": lean_request("logs")}

    def parse(self, signal: str, payload: bytes) -> Any | None:
        """Return the lean message of a request; None when there is none, and it has to be read record by record."""
        kind = self._requests.get(signal)
        if kind is None or (signal == "traces" and not self._rule.is_by_scope):
            return None
        try:
            return kind.FromString(payload)
        except (DecodeError, ValueError):
            return None

    def spans(  # noqa: PLR0915 - written out: each call here is made for every span
        self, records: Any, scope: str, origin: Origin, families: dict[str, Family]
    ) -> list[bytes]:
        """Write down the usual ones of the spans of a scope, and return the others as they came."""
        abouts = [] if scope == semconv.SCOPE else self._abouts(scope)
        if not abouts:
            return [record.SerializeToString() for record in records]
        fragments = self._fragments
        is_node = self._rule.is_node(scope, {})
        known, texts = fragments.attributes, fragments.text
        second_ns, moment = -_S, ""
        traces: dict[bytes, _Where] = {}
        others: list[bytes] = []
        for span in records:
            try:
                trace, own, above = span.trace_id, span.span_id, span.parent_span_id
                start, end = span.start, span.end
                if len(trace) != 16 or len(own) != 8 or len(above) != 8:
                    raise Unusual
                if not start or not start <= end < _MAX_TIME:
                    raise Unusual
                if own == _NO_SPAN or above == _NO_SPAN or span.events or span.links:  # noqa: PLR1714 - quicker
                    raise Unusual
                # By a slice, which makes a list at once: to iterate costs twice as much.
                parts = [known.get(raw) or fragments.attribute(raw) for raw in span.attributes[:]]
                statuses = span.status
                status, message = self._status(statuses) if statuses else _COMPLETED
                name, kind = texts(span.name) or "unnamed", span.kind
                parts.append(abouts[kind] if 0 <= kind < len(abouts) else abouts[_UNKNOWN_KIND])
                metadata = ",".join(parts)
                if len(metadata) > _MAX_JSON_CHARS or len(parts) > _MAX_ATTRIBUTES:
                    raise Unusual
                # Last, since it notes that the trace was here.
                where = traces.get(trace)
                if where is None:
                    where = traces[trace] = _where(trace, origin, families)
            except Unusual:
                others.append(span.SerializeToString())
                continue
            where.times.append(end)
            # Times of one second have the same text but for its end.
            after = start - second_ns
            if not 0 <= after < _S:
                second_ns = start - start % _S
                moment, after = encode_time(start)[:-9], start - second_ns
            began = f"{moment}{after // 1000:06d}+00"
            after = end - second_ns
            ended = f"{moment}{after // 1000:06d}+00" if after < _S else encode_time(end)
            span_id, parent_id, family = own.hex(), above.hex(), where.family
            if is_node:
                family.put(span_id, parent_id)
                rest = (
                    f"{name}\t{status}\t0\t{NULL}\t{NULL}\t1.0\t{message}\t{NULL}\t{began}\t{ended}"
                    f"\t{{{metadata}\t{where.trace_id}\t{span_id}{where.tail}{end}\n"
                )
                family.lines.append((span_id, parent_id, rest))
            else:
                family.leave_out(span_id, parent_id)
        _note_times(traces)
        return others

    def _abouts(self, scope: str) -> list[str]:
        """Return what stands in the metadata of a span of each kind, none if the scope is an unusual one."""
        plain = self._fragments.plain
        try:
            return [plain(FOREIGN_KEY, {"scope": scope, "kind": kind}) + "}" for kind in SPAN_KINDS]
        except Unusual:
            return []

    def _status(self, parts: Any) -> tuple[str, str]:
        if len(parts) > 1:
            raise Unusual
        raw = parts[0]
        if not raw:
            return _COMPLETED
        try:
            status = SpanStatus.FromString(raw)
        except DecodeError as error:
            raise Unusual from error
        message = self._fragments.text(status.message.encode()) if status.message else NULL
        return ("failed" if status.code == _ERROR else "completed"), message

    def logs(  # noqa: PLR0915 - as above
        self, records: Any, scope: str, origin: Origin, found: Decoded, now_unix_ns: int
    ) -> list[bytes]:
        """Write down the usual ones of the log records of a scope, and return the others as they came."""
        fragments, lines = self._fragments, found.lines.setdefault(LogRow, [])
        logger = fragments.text(scope.encode())
        known, message = fragments.attributes, fragments.message
        second_ns, moment = -_S, ""
        traces: dict[bytes, _Where] = {}
        # What the lines of one trace begin and end with, and where their times are noted.
        frames: dict[bytes, tuple[str, str, Callable[[int], None]]] = {}
        errors: Counter[str] = Counter()
        others: list[bytes] = []
        for record in records:
            try:
                trace, own, severity, bodies = record.trace_id, record.span_id, record.severity, record.body
                time_unix_ns = record.time or record.observed or now_unix_ns
                if time_unix_ns >= _MAX_TIME or len(bodies) != 1 or record.event_name or own == _NO_SPAN:
                    raise Unusual
                if own and len(own) != 8:
                    raise Unusual
                parts = [known.get(raw) or fragments.attribute(raw) for raw in record.attributes[:]]
                context = f"{{{','.join(parts)}}}" if parts else NULL
                if len(parts) > _MAX_ATTRIBUTES or len(context) > _MAX_JSON_CHARS:
                    raise Unusual
                body = message(bodies[0])
                frame = frames.get(trace)
                if frame is None:
                    traces[trace] = _where(trace, origin, {})
                    frame = frames[trace] = _frame(traces[trace])
            except Unusual:
                others.append(record.SerializeToString())
                continue
            head, tail, note_time = frame
            note_time(time_unix_ns)
            after = time_unix_ns - second_ns
            if not 0 <= after < _S:
                second_ns = time_unix_ns - time_unix_ns % _S
                moment, after = encode_time(time_unix_ns)[:-9], time_unix_ns - second_ns
            span_id = own.hex() or NULL
            level = _SEVERITIES.get(severity) or _SEVERITIES[24 if severity > 0 else 0]
            lines.append(
                f"{head}{span_id}\t{moment}{after // 1000:06d}+00\t{level}"
                f"\t{logger}\t{body}\t{context}{tail}{span_id}\n".encode()
            )
            if severity >= _FIRST_ERROR:
                errors[traces[trace].experiment_id] += 1
        found.error_logs.update(errors)
        _note_times(traces)
        return others


def _frame(where: _Where) -> tuple[str, str, Callable[[int], None]]:
    """Return what the lines of its log records begin and end with, and what notes their times."""
    tail = f"\t{NULL}\t{NULL}\t{NULL}\t{where.trace_id}\t"
    return f"{where.experiment_id}\t{where.seen.job_id}\t", tail, where.times.append


def _note_times(traces: dict[bytes, _Where]) -> None:
    for where in traces.values():
        where.seen.note(min(where.times))
        where.seen.note(max(where.times))


_NO_SPAN: Final = bytes(8)
_NO_TRACE: Final = bytes(16)


def _where(trace: bytes, origin: Origin, families: dict[str, Family]) -> _Where:
    if len(trace) not in {0, 16} or trace == _NO_TRACE:
        raise Unusual
    trace_id = trace.hex() or None
    experiment_id = origin.experiment_of(trace_id)
    seen = origin.seen(experiment_id, trace_id)
    seen.is_foreign = True
    family = families.setdefault(experiment_id, Family())
    return _Where(experiment_id, trace_id or NULL, f"\t{seen.job_id}\t1\t", seen, family, [])
