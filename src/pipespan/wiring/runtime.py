"""What runs inside a user's process: recorder, spool, threads, and their start, fork and end.

Order of start: providers are joined and the recorder is built at the first scope; threads start when the process
begins to work on an experiment. Order of the end: open nodes, job rows, ticker, shipper, stream.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from logging import LogRecord
from typing import TYPE_CHECKING, Any, Final

from pipespan.config import Settings, launched_as, otel_environment
from pipespan.model.redact_rows import RowGate
from pipespan.otel.cicd import CicdSpans
from pipespan.otel.spans import PlainSpans
from pipespan.record.blackbox import BlackBox
from pipespan.record.carrier import Carrier, RemoteNode
from pipespan.record.hangtimer import timer_use
from pipespan.record.hooks import Hooks
from pipespan.record.recorder import Recorder, RecorderConfig
from pipespan.record.ticker import Ticker, TickerConfig
from pipespan.spool.layout import remove_stream
from pipespan.spool.notices import Notices
from pipespan.spool.shipper import Shipper
from pipespan.spool.writer import SpoolWriter
from pipespan.wiring.alarms import Alarms
from pipespan.wiring.forkgate import ForkGate
from pipespan.wiring.health import health_of
from pipespan.wiring.lookout import RequestVisit, Watching
from pipespan.wiring.redaction import build_redactor
from pipespan.wiring.ship import shipper_config
from pipespan.wiring.stores import open_sink, open_source, preload, spool_dirs, target_of
from pipespan.wiring.telemetry import Telemetry, join_telemetry
from pipespan.wiring.watching import WatcherKeeper, is_watched

if TYPE_CHECKING:
    from opentelemetry.context import Context

    from pipespan.model.resources import ResourceSample
    from pipespan.model.rows import Row
    from pipespan.record.parent import Parent
    from pipespan.record.ports import Spans
    from pipespan.spool.orphans import Waiting
    from pipespan.store.base import RequestRow, Sink, Source
    from pipespan.wiring.certify import Certifier

CHILD_EXIT_S: Final = 1.0
"""A worker process waits no longer for the database at its end: its parent delivers what is left."""

OTEL_EXIT_S: Final = 2.0
"""Exporters get so much of the exit's time: where the collector is away, the SDK would go on trying for much longer."""

OWN_THREADS: Final = 3
"""So many threads there are at most besides the program's: ticker, shipper, and the timer in C now and then."""

EXPORT_THREADS: Final = 8
"""And so many more where telemetry is exported: one tells of nodes, the SDK has one or two for each signal."""

_FINALIZE_PRIORITY: Final = 100


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
        self._gate = ForkGate()
        self._telemetry: Telemetry | None = None
        self._blackbox = BlackBox(self.writer.folder, self.notices)
        self._hooks = Hooks(
            self._take_log,
            lambda error: self.notices.trouble("hooks", f"a failure could not be told: {error!r}"),
        )
        self._watcher = WatcherKeeper(settings)
        self._certifier: Certifier | None = None
        self._is_last_look = False
        self.ticker: Ticker | None = None
        self.shipper: Shipper | None = None
        self._watching: Watching | None = None
        self._is_closed = False
        self._is_starting = False
        self._past_cpu_s = 0.0
        self._alarms = self._new_alarms()
        # Kept for good in a forked child: to collect the parent's shipper would close the parent's connection.
        self._inherited: list[Any] = []
        self.recorder = self._build_recorder()
        _call_after_fork(self)
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
        rank = launched_as()
        config = RecorderConfig(experiment_id=experiment_id, attempt=attempt)
        if rank is not None:
            config = replace(config, rank=rank.number, world_size=rank.size, worker=rank.identity)
        told = None if self._telemetry is None else self._telemetry.lifecycle
        recorder = Recorder(
            told or self.writer, spans, self._take_log, config, self.notices, self._on_job, self.redactor
        )
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
        if self.settings.capture_logs and self._telemetry is not None:
            self._telemetry.capture.ensure()
        return self.recorder

    def _on_job(self) -> None:
        for job in list(self.recorder.jobs.values()):
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
                self.settings, self.recorder, self.writer, self._flush_rows, self._timer_before
            )
        if self.ticker is None:
            self.ticker = self._start_ticker(watching)
            _call_at_child_exit(self.close)
        if self.shipper is None and self.settings.store != "none":
            visit = RequestVisit(lambda: self.recorder, self._answer)
            config = shipper_config(self.settings)
            if self.settings.store != "otlp":  # without a database nobody asks for a certificate
                config = replace(config, settle=self._settle)
            self.shipper = Shipper(config, self.writer, self._open_sink, self.notices, visit)
            self.shipper.start()

    def _answer(self, question: RequestRow) -> Mapping[str, Any]:
        watching = self._watching
        if watching is None:
            return {"error": "the process is about to end"}
        return watching.responder.answer(question)

    def _open_sink(self) -> Sink:
        with self._gate:
            preload(self.settings)
        return open_sink(self.settings)

    def _open_source(self) -> Source:
        with self._gate:
            preload(self.settings, is_for_reading=True)
        return open_source(self.settings)

    def _settle(self, found: Waiting, sink: Sink) -> bool:
        """Certify the death of another process, whose rows are delivered; called in the shipper's thread."""
        if self._certifier is None:
            with self._gate:
                from pipespan.wiring.certify import Certifier  # noqa: PLC0415 - most processes never need it

            self._certifier = Certifier(
                self._open_source,
                "another process",
                self.notices,
                lambda: is_watched(self.settings),
                self.gate.row,
            )
        self._certifier.is_patient = not self._is_last_look
        return self._certifier.settle(found, sink)

    def _new_alarms(self) -> Alarms:
        return Alarms(
            lambda: self.recorder, lambda: health_of(self), lambda: self.shipper, self.settings.away_alarm_s
        )

    def own_cpu_s(self) -> float:
        """Return the CPU time of the threads that were started here, as they told it last."""
        told = None if self._telemetry is None else self._telemetry.lifecycle
        return self._past_cpu_s + sum(
            one.cpu_s for one in (self.ticker, self.shipper, told) if one is not None
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

    def after_fork_in_child(self) -> None:
        """Start anew: the child has no threads, a stream of its own, and leaves the parent's connection alone."""
        self._inherited += [self.shipper, self.ticker, self._watching]
        self.shipper = self.ticker = self._watching = None
        self._lock = threading.RLock()
        self._is_closed = self._is_starting = False
        self._past_cpu_s = 0.0
        self._alarms = self._new_alarms()
        self._blackbox.after_fork_in_child()
        self.writer.after_fork_in_child()
        self.recorder.after_fork_in_child()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was recorded is in the database; return whether it is.

        Exporters deliver meanwhile, and are waited for only as long as there is time left.
        """
        deadline = time.monotonic() + timeout_s
        exporting = None if self.telemetry is None else self.telemetry.flush()
        is_done = self._flush_rows(timeout_s)
        if exporting is not None:
            exporting.wait(self._export_s(deadline - time.monotonic()))
        return is_done

    def _export_s(self, left_s: float) -> float:
        """Return how long exporters are waited for; where they are the only way out, all the time there is."""
        return max(0.0, left_s if self.settings.store in {"none", "otlp"} else min(left_s, OTEL_EXIT_S))

    def _flush_rows(self, timeout_s: float) -> bool:
        return self.shipper is None or self.shipper.flush(timeout_s)

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
        if _is_worker_process():
            timeout_s = min(timeout_s, CHILD_EXIT_S)
        deadline = time.monotonic() + timeout_s
        # Begun before the database is waited for: if that is away, exporters have the same time.
        exporting = None if self._telemetry is None else self._telemetry.close()
        self._is_last_look = True
        if self.shipper is not None:
            is_done = self.shipper.stop(timeout_s)
            if not is_done and not _is_worker_process():
                self._tell_waiting(self.shipper.last_error)
            self._close_stream(is_done=is_done)
        self._blackbox.close()
        if exporting is not None:
            exporting.wait(max(self._export_s(deadline - time.monotonic()), 0.1))

    def _close_stream(self, *, is_done: bool) -> None:
        stream = self.writer.close()
        if stream is None:
            return
        if is_done:
            remove_stream(stream.folder)
        stream.close()

    def _tell_waiting(self, reason: str | None) -> None:
        because = f" ({reason})" if reason and not self.notices.is_fresh("ship") else ""
        held = self.writer.held_rows()
        if held:
            self.notices.say(f"{held} rows are lost: no folder could be written to; set PIPESPAN_STATE_DIR")
        self.notices.say(
            f"{self.waiting_rows() - held} rows wait in the spool{because}; `pipespan ship` delivers them"
        )

    def waiting_rows(self) -> int:
        """Return how many rows were accepted and are not acknowledged yet."""
        counters = self.writer.counters
        shipped = 0 if self.shipper is None else self.shipper.tally.rows + self.shipper.tally.rejected
        return max(counters.accepted - counters.dropped - shipped, 0)


class _RecorderInUse:
    """Writes rows by the recorder that a runtime uses at the time."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def write(self, row: Row) -> None:
        """Accept `row`."""
        self._runtime.recorder.write(row)


def _call_after_fork(runtime: Runtime) -> None:
    if not hasattr(os, "register_at_fork"):
        return
    # Hooks cannot be taken back, so they must not keep a runtime alive.
    reference = weakref.ref(runtime)

    def after_in_child() -> None:
        found = reference()
        if found is not None:
            found.after_fork_in_child()

    os.register_at_fork(after_in_child=after_in_child)


def _is_worker_process() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _call_at_child_exit(function: Callable[[], None]) -> None:
    """Arrange the call in a `multiprocessing` child, which ends by `os._exit` and runs no atexit functions."""
    if _is_worker_process():
        from multiprocessing.util import Finalize  # noqa: PLC0415 - loaded already in such a child

        Finalize(None, function, exitpriority=_FINALIZE_PRIORITY)
