"""Export lets the program go on between two slices of work, loses nothing, and holds up nobody who waits."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from pipespan.otel.paced import (
    LOOK_S,
    PAUSE_S,
    PAUSES,
    QUEUE,
    SLICE_S,
    Pace,
    PacedExporter,
    PacedLogRecordProcessor,
    PacedSpanProcessor,
    _waiting_in,
)

WORK_S = 2 * SLICE_S


def compute(seconds: float) -> None:
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


class Encoder:
    """An exporter that computes for each record, and says how often it was held up."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def export(self, batch: Sequence[Any]) -> bool:
        taken = []
        for record in batch:
            compute(WORK_S)
            taken.append(record)
        self.batches.append(taken)
        return True

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the pauses instead of making them."""
    made: list[float] = []
    monkeypatch.setattr("pipespan.otel.paced.time.sleep", made.append)
    return made


@pytest.fixture
def greedy() -> Iterator[None]:
    """Let a thread keep the interpreter for as long as it computes."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before_s)


@pytest.mark.usefixtures("greedy")
def test_the_program_goes_on_between_two_slices() -> None:
    """Without pauses it would stand still from the first record to the last."""
    encoder = Encoder()
    batch = list(range(20))
    seen: list[int] = []
    exporting = threading.Thread(target=lambda: PacedExporter(_Counting(encoder, seen)).export(batch))
    turns = set()
    exporting.start()
    while exporting.is_alive():
        turns.add(len(seen))
        exporting.join(0)
        time.sleep(0)
    assert encoder.batches == [batch]
    assert len(turns) > 3


class _Counting:
    def __init__(self, inner: Encoder, seen: list[int]) -> None:
        self._inner = inner
        self._seen = seen

    def export(self, batch: Sequence[Any]) -> bool:
        return self._inner.export(_Watched(batch, self._seen))


class _Watched(list[Any]):
    def __init__(self, batch: Sequence[Any], seen: list[int]) -> None:
        super().__init__()
        self._batch = batch
        self._seen = seen

    def __iter__(self) -> Iterator[Any]:
        for record in self._batch:
            self._seen.append(record)
            yield record


def test_pauses_have_a_bound_and_a_backlog_has_none(
    sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that follow at once are held up less and then not at all; after a rest it begins anew."""
    encoder = Encoder()
    exporter = PacedExporter(encoder)
    batch = list(range(PAUSES[0] + 3))
    made = []
    for follows_s in (0, 3600, 3600, 3600, 0, 3600):
        monkeypatch.setattr("pipespan.otel.paced.FOLLOWS_S", follows_s)
        before = len(sleeps)
        exporter.export(batch)
        made.append(len(sleeps) - before)
    assert (
        made == [PAUSES[0], PAUSES[1], PAUSES[2], PAUSES[2], PAUSES[0], PAUSES[1]] == [32, 10, 0, 0, 32, 10]
    )
    assert encoder.batches == [batch] * 6


def test_little_work_is_not_held_up(sleeps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipespan.otel.paced.SLICE_S", 3600)
    pause = Pace().pauses(10)
    for _ in range(10):
        pause()
    assert sleeps == []


def test_nobody_who_waits_is_held_up(sleeps: list[float]) -> None:
    pace = Pace()
    pause = pace.pauses(10)
    with pace.at_once(), pace.at_once():
        compute(WORK_S)
        pause()
    assert sleeps == []
    pause()
    assert sleeps == [PAUSE_S]


class Burst:
    """Says how many records wait, at each look; what comes last is said again."""

    def __init__(self, *counts: int) -> None:
        self.counts = list(counts)

    def __call__(self) -> int:
        return self.counts.pop(0) if len(self.counts) > 1 else self.counts[0]


@pytest.mark.parametrize(
    ("counts", "looks", "has_room"),
    [
        pytest.param((5,), 1, True, id="nothing comes"),
        pytest.param((5, 6, 8, 8, 9), 3, True, id="a burst"),
        pytest.param((5, 60, 99, 100, 101), 3, False, id="no more room"),
        pytest.param((100,), 0, False, id="no room at first"),
    ],
)
def test_a_burst_is_let_go_by_while_there_is_room(
    sleeps: list[float], counts: tuple[int, ...], looks: int, *, has_room: bool
) -> None:
    assert Pace().await_calm(Burst(*counts), 100) == has_room
    assert sleeps == [LOOK_S] * looks


def test_a_burst_is_let_go_by_for_a_while_only(sleeps: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on for long is told of meanwhile; and at once, when somebody waits."""
    pace, numbers = Pace(), itertools.count()
    monkeypatch.setattr("pipespan.otel.paced.CALM_S", 0.05)
    assert pace.await_calm(lambda: next(numbers), 10**9)
    assert sleeps
    sleeps.clear()
    with pace.at_once():
        assert pace.await_calm(lambda: next(numbers), 10**9)
    assert sleeps == []


@pytest.mark.parametrize(("counts", "most"), [((1, 2, 2), PAUSES[0]), ((1, 50, 100), PAUSES[1])])
def test_a_burst_that_needs_the_room_is_exported_faster(
    sleeps: list[float], counts: tuple[int, ...], most: int
) -> None:
    encoder = Encoder()
    exporter = PacedExporter(encoder, Burst(*counts), 100)
    exporter.export(list(range(PAUSES[0] + 3)))
    assert sleeps.count(PAUSE_S) == most


def test_processors_tell_how_many_wait() -> None:
    """Where the SDK kept its queue in another place, no burst would be let go by."""
    exporter = BlockedSpans(SpanExportResult.SUCCESS)
    exporter.may.set()
    processor, provider = PacedSpanProcessor(exporter, {}), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    for _ in range(10):
        provider.get_tracer("tests").start_span("x").end()
    assert _waiting_in(processor) == 10
    provider.shutdown()
    assert _waiting_in(processor) == 0


class Blocked:
    """Takes what it is given once it may."""

    def __init__(self, result: Any) -> None:
        self.may = threading.Event()
        self.taken: list[str] = []
        self._result = result

    def take(self, names: Iterator[str]) -> Any:
        self.may.wait(30)
        self.taken += names
        return self._result


class BlockedSpans(Blocked, SpanExporter):
    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        return self.take(span.name for span in spans)  # type: ignore[no-any-return]


class BlockedLogs(Blocked, LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return self.take(str(readable.log_record.body) for readable in batch)  # type: ignore[no-any-return]

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


def emit_spans(exporter: Any, environ: dict[str, str], names: Sequence[str]) -> Callable[[], object]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(PacedSpanProcessor(exporter, environ))
    tracer = provider.get_tracer("tests")
    for name in names:
        tracer.start_span(name).end()
    return provider.shutdown


def emit_logs(exporter: Any, environ: dict[str, str], names: Sequence[str]) -> Callable[[], object]:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(PacedLogRecordProcessor(exporter, environ))
    logger = provider.get_logger("tests")
    for name in names:
        logger.emit(body=name)
    return provider.shutdown


@pytest.mark.parametrize(
    ("emit", "exporter"),
    [
        pytest.param(emit_spans, BlockedSpans(SpanExportResult.SUCCESS), id="spans"),
        pytest.param(emit_logs, BlockedLogs(LogRecordExportResult.SUCCESS), id="logs"),
    ],
)
def test_more_may_wait_than_the_pauses_let_come(emit: Any, exporter: Any) -> None:
    """A full queue arrives complete, once each, in its order."""
    names = [str(number) for number in range(QUEUE)]
    shut_down = emit(exporter, {}, names)
    exporter.may.set()
    shut_down()
    assert exporter.taken == names


@pytest.mark.parametrize(
    ("emit", "name", "exporter"),
    [
        pytest.param(
            emit_spans, "OTEL_BSP_MAX_QUEUE_SIZE", BlockedSpans(SpanExportResult.SUCCESS), id="spans"
        ),
        pytest.param(
            emit_logs, "OTEL_BLRP_MAX_QUEUE_SIZE", BlockedLogs(LogRecordExportResult.SUCCESS), id="logs"
        ),
    ],
)
def test_the_environment_says_how_much_may_wait(
    emit: Any, name: str, exporter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what is more than that the oldest goes, as the SDK has it."""
    monkeypatch.setenv(name, "600")
    names = [str(number) for number in range(3_000)]
    shut_down = emit(exporter, {name: "600"}, names)
    exporter.may.set()
    shut_down()
    assert len(exporter.taken) <= 600 + 512
    assert exporter.taken[-600:] == names[-600:]
