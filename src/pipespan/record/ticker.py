"""The thread that looks after the nodes: progress, samples, heartbeats. It writes to the spool only and never waits."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pipespan.model.resources import ResourceSample
from pipespan.model.rows import MetricRow
from pipespan.record.job import Job
from pipespan.record.node import Node
from pipespan.record.recorder import Recorder
from pipespan.record.resources import MB
from pipespan.spool.turns import Turns

_MIN_TICK_S: Final = 0.05
_AHEAD_S: Final = 0.05
"""A tick comes so long before the shippers' turn, if both have the same interval: what it writes goes along at once."""

_STOP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class TickerConfig:
    """How often the ticker does what, in seconds; 0 turns metrics off."""

    progress_s: float
    sample_s: float
    metrics_s: float
    heartbeat_s: float


class Watch(Protocol):
    """Looks after the program at each tick; see `pipespan.wiring.lookout`."""

    def look(
        self, jobs: Sequence[Job], nodes: Sequence[Node], now_s: float, sample: ResourceSample | None
    ) -> None:
        """Do what is due at `now_s` of the monotonic clock; never raises, never waits."""

    def close(self) -> None:
        """End it; never raises."""


class Ticker:
    """Reads what the nodes of a recorder count, samples resources, and tells that the process lives.

    Args:
        recorder: whose nodes.
        config: how often.
        state_dir: on the disk that is measured.
        beside: called with each sample, for what else is to be done now and then; must not raise.
        watch: looks after the program at each tick.
    """

    def __init__(
        self,
        recorder: Recorder,
        config: TickerConfig,
        state_dir: Path,
        beside: Callable[[ResourceSample | None], None] = lambda _sample: None,
        watch: Watch | None = None,
    ) -> None:
        self._beside = beside
        self._recorder = recorder
        self._config = config
        self._state_dir = state_dir
        self._watch = watch
        self._stop = threading.Event()
        self._latest: ResourceSample | None = None
        self.cpu_s = 0.0
        now = time.monotonic()
        self._sample_at = now
        self._metrics_at = now + min(1.0, config.metrics_s)
        self._heartbeat_at = now + config.heartbeat_s
        self._turns = Turns(
            max(config.progress_s, _MIN_TICK_S), lambda: time.monotonic() + _AHEAD_S, is_in_step=True
        )
        self._told_units: dict[int, tuple[int, float]] = {}
        self._thread = threading.Thread(target=self._run, name="pipespan-ticker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, so that nothing is written after the last delivery."""
        self._stop.set()
        self._thread.join(_STOP_S)
        if self._watch is not None:
            self._watch.close()

    def latest(self) -> ResourceSample | None:
        """Return the last sample, None before the first."""
        return self._latest

    def _run(self) -> None:
        pause_s = self._turns.until_first_s()
        while not self._stop.wait(pause_s):
            try:
                self.tick(time.monotonic())
            except Exception as trouble:  # noqa: BLE001 - a bug of ours must not end the heartbeat
                self._recorder.notices.trouble("ticker", f"watching the nodes failed: {trouble!r}")
            self.cpu_s = time.thread_time()
            pause_s = self._turns.until_next_s()

    def tick(self, now_s: float) -> None:
        """Do what is due at `now_s` of the monotonic clock."""
        jobs = list(self._recorder.jobs)
        nodes = [node for job in jobs for node in list(job.open_nodes.values())]
        for node in nodes:
            if node.take_changes():
                self._recorder.write_progress(node)
        if now_s >= self._sample_at:
            self._sample_at = now_s + self._config.sample_s
            self._sample(nodes)
            self._beside(self._latest)
        if self._config.metrics_s and now_s >= self._metrics_at:
            self._metrics_at = now_s + self._config.metrics_s
            for job in jobs:
                self._write_metrics(job, now_s)
        if now_s >= self._heartbeat_at:
            self._heartbeat_at = now_s + self._config.heartbeat_s
            for job in jobs:
                if not self._recorder.jobs.end_if_idle(job, time.time_ns()):
                    self._recorder.write(job.row())
        if self._watch is not None:
            self._watch.look(jobs, nodes, now_s, self._latest)

    def _sample(self, nodes: Iterable[Node]) -> None:
        reader = self._recorder.jobs.reader
        if reader is None:
            return
        sample = self._latest = reader.sample()
        for node in nodes:
            node.memory_peak_bytes = max(node.memory_peak_bytes, sample.memory_rss_bytes)

    def _write_metrics(self, job: Job, now_s: float) -> None:
        sample = self._latest
        if sample is None:
            return
        leaf = next(reversed(list(job.open_nodes.values())), None)
        self._recorder.write(
            MetricRow(
                experiment_id=job.experiment.id,
                job_id=job.id,
                node_id=None if leaf is None else leaf.node_id,
                timestamp=sample.timestamp,
                memory_mb=round(sample.memory_rss_bytes / MB, 3),
                cpu_percent=round(sample.cpu_percent, 2),
                disk_usage_mb=self._disk_usage_mb(),
                throughput_per_sec=None if leaf is None else self._throughput(leaf, now_s),
                custom_metrics=_further(sample),
            )
        )

    def _throughput(self, node: Node, now_s: float) -> float | None:
        """Return units per second of `node` since the last look; None at the first."""
        completed = node.completed
        last = self._told_units.get(id(node))
        self._told_units = {id(node): (completed, now_s)}
        if last is None or now_s <= last[1]:
            return None
        return round(max(completed - last[0], 0) / (now_s - last[1]), 3)

    def _disk_usage_mb(self) -> float | None:
        """Return how full the disk with the state folder is."""
        try:
            return round(shutil.disk_usage(self._state_dir).used / MB, 1)
        except OSError:
            return None


def _further(sample: ResourceSample) -> dict[str, float | int | None]:
    return {
        "memory_virtual_mb": round(sample.memory_vms_bytes / MB, 3),
        "cpu_time_user_s": sample.cpu_time_user_s,
        "cpu_time_system_s": sample.cpu_time_system_s,
        "threads": sample.thread_count,
        "open_fds": sample.open_fds,
        "read_bytes": sample.read_bytes,
        "write_bytes": sample.write_bytes,
    }
