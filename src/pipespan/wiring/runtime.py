"""What runs inside a user's process: recorder, spool, threads, and their start, fork and end.

Order of start: providers are joined and the recorder is built at the first scope; threads start when the process
begins to work on an experiment. Order of the end: open nodes, job rows, ticker, shipper, stream.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Mapping
from logging import LogRecord
from typing import TYPE_CHECKING, Any, Final

from pipespan.config import Settings, otel_environment, process_environment
from pipespan.model.redact_rows import RowGate
from pipespan.otel.cicd import CicdSpans
from pipespan.otel.spans import PlainSpans
from pipespan.record.blackbox import BlackBox
from pipespan.record.carrier import Carrier, RemoteNode
from pipespan.record.forks import FORKS
from pipespan.record.hangtimer import timer_use
from pipespan.record.hooks import Hooks
from pipespan.record.launch import launched_as
from pipespan.record.recorder import Recorder, RecorderConfig
from pipespan.record.ticker import Ticker, TickerConfig
from pipespan.spool.notices import Notices
from pipespan.spool.writer import SpoolWriter
from pipespan.wiring.alarms import Alarms
from pipespan.wiring.delivery import Delivery
from pipespan.wiring.health import health_of
from pipespan.wiring.lifetimes import call_at_child_exit, is_worker_process
from pipespan.wiring.lookout import RequestVisit, Watching
from pipespan.wiring.redaction import build_redactor
from pipespan.wiring.stores import spool_dirs
from pipespan.wiring.target import target_of
from pipespan.wiring.telemetry import Telemetry, join_telemetry
from pipespan.wiring.watching import WatcherKeeper

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from pipespan.model.resources import ResourceSample
    from pipespan.model.rows import Row
    from pipespan.model.status import LogLevel
    from pipespan.record.parent import Parent
    from pipespan.record.ports import Spans
    from pipespan.store.base import RequestRow
    from pipespan.wiring.logcapture import LogCapture

CHILD_EXIT_S: Final = 1.0
"""A worker process waits no longer for the database at its end: its parent delivers what is left."""

OTEL_EXIT_S: Final = 2.0
"""Exporters get so much of the exit's time: where the collector is away, the SDK would go on trying for much longer."""

OWN_THREADS: Final = 3
"""So many threads there are at most besides the program's: ticker, shipper, and the timer in C now and then."""

EXPORT_THREADS: Final = 8
"""And so many more where telemetry is exported: one tells of nodes, the SDK has one or two for each signal."""


class Runtime:
    """One process's pipespan; built once, at the first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.notices = Notices()
        # Before anything of ours enables faulthandler, which would blur what is the program's.
        self._timer_before = timer_use()
        self.redactor = build_redactor(settings)
        self.gate = RowGate(self.redactor)
        self.writer = SpoolWriter(
            spool_dirs(settings),
            target=target_of(settings),
            segment_bytes=settings.segment_bytes,
            max_bytes=settings.spool_max_bytes,
            notices=self.notices,
            gate=self.gate.row,
        )
        # RLock: a signal handler may open a pipeline while its own thread begins to work on one.
        self._lock = threading.RLock()
        self._watcher = WatcherKeeper(settings)
        self.delivery = Delivery(settings, self.writer, self.notices, self.gate.row, self._watcher.ensure)
        self._telemetry: Telemetry | None = None
        self._capture: LogCapture | None = None
        self._blackbox = BlackBox(self.writer.folder, self.notices)
        self._hooks = Hooks(
            self._take_log,
            lambda error: self.notices.trouble("hooks", f"a failure could not be told: {error!r}"),
        )
        self.ticker: Ticker | None = None
        self._watching: Watching | None = None
        self._is_closed = False
        self._is_starting = False
        self._past_cpu_s = 0.0
        self._alarms = self._new_alarms()
        # Kept for good in a forked child: what the parent's threads use is not to be collected there.
        self._inherited: list[Any] = []
        self.recorder = self._build_recorder()
        FORKS.add(after_in_child=self._after_fork_in_child)
        atexit.register(self.close)

    def _build_recorder(self) -> Recorder:
        settings = self.settings
        # What PIPESPAN_EXPERIMENT_ID names beside a parent is the experiment that the parent belongs to.
        experiment_id = None if settings.parent is not None else settings.experiment_id
        recorder = self._new_recorder(PlainSpans(), settings.attempt, experiment_id)
        # By way of this object: for a later attempt of the experiment there is another recorder.
        joined = join_telemetry(
            otel_environment(),
            self._find_node,
            _RecorderInUse(self),
            self.writer if settings.lifecycle_events else None,
            self._latest,
            self._leaf_context,
            self.gate,
        )
        if settings.progress_metrics:
            joined.tell_progress(lambda: self.recorder.running())  # noqa: PLW0108 - as above
        recorder.spans = CicdSpans(joined.spans) if settings.cicd_attributes else joined.spans
        recorder.sink = joined.lifecycle or self.writer
        self._telemetry = joined
        self._capture = joined.capture if settings.capture_logs else None
        return recorder

    def next_attempt(self, attempt: int, experiment_id: str | None) -> Recorder:
        """Return a recorder for another attempt of an experiment, and use it from now on; the one before is left.

        Whoever opened nodes with the one before closes them with it: a supervisor does, whose experiment must not be
        over between two attempts of the same command.
        """
        with self._lock:
            ticker, self.ticker = self.ticker, None
            self._watching = None
        if ticker is not None:
            ticker.stop()
            self._past_cpu_s += ticker.cpu_s
        self.recorder = self._new_recorder(self.recorder.spans, attempt, experiment_id)
        return self.recorder

    def _new_recorder(self, spans: Spans, attempt: int, experiment_id: str | None) -> Recorder:
        settings = self.settings
        config = RecorderConfig(experiment_id, attempt, launched_as(process_environment()))
        recorder = Recorder(
            self.writer, spans, self._take_log, config, self.notices, self._on_job, self.redactor,
            self.delivery.hurry,
        )  # fmt: skip
        if self._telemetry is not None and self._telemetry.lifecycle is not None:
            recorder.sink = self._telemetry.lifecycle
        carrier = None if settings.parent is None else Carrier.from_text(settings.parent)
        if carrier is not None:
            recorder.adopted = RemoteNode(recorder, carrier)
        return recorder

    def _find_node(self, context: Context) -> Parent | None:
        return self.recorder.find_node(context)

    def _leaf_context(self) -> Context | None:
        return self.recorder.leaf_context()

    def _take_log(self, record: LogRecord) -> None:
        if self._telemetry is not None:
            self._telemetry.take(record)

    def _latest(self) -> Any:
        return None if self.ticker is None else self.ticker.latest()

    def ready(self) -> Recorder:
        """Return the recorder, with logs attached; called at each opening of a pipeline or phase."""
        if self._capture is not None:
            self._capture.ensure()
        return self.recorder

    def _on_job(self) -> None:
        for job in self.recorder.jobs:
            job.monitoring = self._monitoring
        self._blackbox.arm()
        self._hooks.ensure()
        self._hooks.ensure_loop()
        with self._lock:
            if not self._is_starting:
                self._is_starting = True
                try:
                    self._start_threads()
                finally:
                    self._is_starting = False

    def _start_threads(self) -> None:
        watching = self._watching
        if watching is None:
            watching = self._watching = Watching(
                self.settings, self.recorder, self.writer, self.delivery.flush, self._timer_before
            )
        if self.ticker is None:
            self.ticker = self._start_ticker(watching)
            call_at_child_exit(self.close)
        self.delivery.start(RequestVisit(lambda: self.recorder, self._answer))

    def _answer(self, question: RequestRow) -> Mapping[str, Any]:
        watching = self._watching
        if watching is None:
            return {"error": "the process is about to end"}
        return watching.responder.answer(question)

    def _new_alarms(self) -> Alarms:
        return Alarms(
            lambda: self.recorder,
            lambda: health_of(self),
            lambda: self.delivery.shipper,
            self.settings.away_alarm_s,
        )

    def own_cpu_s(self) -> float:
        """Return the CPU time of the threads that were started here, as they told it last."""
        told = None if self._telemetry is None else self._telemetry.lifecycle
        return self._past_cpu_s + sum(
            one.cpu_s for one in (self.ticker, self.delivery.shipper, told) if one is not None
        )

    def failed_records(self) -> int:
        """Return how many log records could not be made into rows."""
        joined = self._telemetry
        return 0 if joined is None else joined.handler.failure_count + joined.capture.failure_count

    def _monitoring(self) -> Mapping[str, Any]:
        try:
            return health_of(self).monitoring().evidence()
        except Exception as trouble:  # noqa: BLE001 - the row that it stands in is worth more
            self.notices.trouble("monitoring", f"the state of recording cannot be told: {trouble!r}")
            return {}

    def _beside(self, sample: ResourceSample | None) -> None:
        self._alarms.look()
        self._blackbox.arm()  # the stream may have been removed under us, and begun anew
        self._blackbox.note(sample)
        self._watcher.ensure()

    def _start_ticker(self, watching: Watching) -> Ticker:
        settings = self.settings
        config = TickerConfig(
            settings.progress_interval_s,
            settings.sample_interval_s,
            settings.metrics_interval_s,
            settings.heartbeat_interval_s,
        )
        ticker = Ticker(self.recorder, config, settings.state_dir, self._beside, watching)
        ticker.start()
        return ticker

    def _after_fork_in_child(self) -> None:
        """Start anew: the child has no threads, a stream of its own, and leaves the parent's connection alone."""
        self._inherited += [self.ticker, self._watching]
        self.ticker = self._watching = None
        self.delivery.after_fork_in_child()
        self._lock = threading.RLock()
        self._is_closed = self._is_starting = False
        self._past_cpu_s = 0.0
        self._alarms = self._new_alarms()
        self._blackbox.after_fork_in_child()
        self.writer.after_fork_in_child()
        self.recorder.after_fork_in_child()

    def flush(self, timeout_s: float, away_s: float) -> bool:
        """Wait until all that was recorded is in the database; return whether it is.

        Exporters deliver meanwhile, and are waited for only as long as there is time left.

        Args:
            timeout_s: so long at most.
            away_s: so long while the database is away.
        """
        deadline = time.monotonic() + timeout_s
        exporting = None if self.telemetry is None else self.telemetry.flush()
        is_done = self.delivery.flush(timeout_s, away_s)
        if exporting is not None:
            exporting.wait(self._export_s(deadline - time.monotonic()))
        return is_done

    def _export_s(self, left_s: float) -> float:
        """Return how long exporters are waited for; where they are the only way out, all the time there is."""
        return max(0.0, left_s if self.settings.store in {"none", "otlp"} else min(left_s, OTEL_EXIT_S))

    @property
    def telemetry(self) -> Telemetry | None:
        """The joined OTel providers."""
        return self._telemetry

    def close(self) -> None:
        """End what is open, deliver what can be delivered within the exit timeout; never raises."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            self._close()
        except Exception as error:  # noqa: BLE001 - the exit of the user's program is not ours to disturb
            self.notices.trouble("close", f"the end of recording failed: {error!r}")

    def _close(self) -> None:
        self._alarms.look()
        self.recorder.end_all(self._hooks.unhandled())
        self._hooks.end()
        if self._telemetry is not None:
            self._telemetry.capture.end()
        if self.ticker is not None:
            self.ticker.stop()
        timeout_s = self.settings.exit_timeout_s
        if is_worker_process():
            timeout_s = min(timeout_s, CHILD_EXIT_S)
        deadline = time.monotonic() + timeout_s
        # Begun before the database is waited for: if that is away, exporters have the same time.
        exporting = None if self._telemetry is None else self._telemetry.close()
        self.delivery.stop(timeout_s, tells=not is_worker_process())
        self._blackbox.close()
        if exporting is not None:
            exporting.wait(max(self._export_s(deadline - time.monotonic()), 0.1))


class _RecorderInUse:
    """Writes rows by the recorder that a runtime uses at the time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def write(self, row: Row) -> None:
        """Accept `row`."""
        self._runtime.recorder.write(row)

    def write_log(self, experiment_id: str, level: LogLevel, message: str, line: bytes) -> None:
        """Accept a log row as its line."""
        self._runtime.recorder.write_log(experiment_id, level, message, line)
