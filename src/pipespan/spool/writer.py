"""The writing end of a process's stream: any thread, microseconds a row, never raises, never waits for a network."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipespan.model.rows import JobRow, LogRow, MetricRow, Row, RowType
from pipespan.model.status import ERROR_LEVELS, LOG_LEVELS, MILD_LEVELS, TERMINAL_STATUSES, LogLevel
from pipespan.spool.held import RING_BYTES, HeldRows
from pipespan.spool.lane import LaneWriter
from pipespan.spool.layout import ERROR_LOG_TAG, LANES, TAGS, Lane, segment_sizes_bytes
from pipespan.spool.notices import Notices
from pipespan.spool.openjobs import OpenJobs
from pipespan.spool.openstream import OpenStream
from pipespan.store.copytext import encode_row

__all__ = ["RING_BYTES", "Counters", "SpoolWriter"]

RETRY_S: Final = 1.0
"""After a failed write the disk is tried again no sooner."""

REMOVED_EVERY_S: Final = 2.0
"""How often it is looked whether the stream's folder is still there; what is written to a removed one is not lost."""

KEEP_RESERVE: Final = 0.1
"""Share of the spool's bound that only the `keep` lane may use."""

LEAST_SEGMENTS: Final = 8
"""A spool that may hold less than so many segments gets smaller ones: only closed ones can be dropped."""

_JOB_TAG: Final = TAGS[JobRow]


@dataclass(slots=True)
class Counters:
    """What happened to rows so far; for `pipespan.health()`."""

    accepted: int = 0
    dropped: int = 0
    failed: int = 0


class SpoolWriter:
    """Appends rows to this process's stream, which is opened at the first row.

    Args:
        spool_dirs: where to make the stream; the first folder that can be written to is taken.
        target: which database the rows are for (`StreamMeta.target`).
        segment_bytes: size at which a segment is closed.
        max_bytes: bound of what waits on disk; see `_make_room`.
        notices: where troubles are told.
        gate: what every row passes before it is encoded; it hides secrets.
    """

    def __init__(
        self,
        spool_dirs: tuple[Path, ...],
        *,
        target: str,
        segment_bytes: int,
        max_bytes: int,
        notices: Notices,
        gate: Callable[[Row], Row] | None = None,
    ) -> None:
        self._gate = gate
        self._spool_dirs = spool_dirs
        self._target = target
        self._segment_bytes = max(min(segment_bytes, max_bytes // LEAST_SEGMENTS), 1)
        self._max_bytes = max_bytes
        self._notices = notices
        self._renew()

    def _renew(self) -> None:
        # RLock: a signal handler may log while its own thread is inside.
        self._lock = threading.RLock()
        self.counters = Counters()
        self.stream: OpenStream | None = None
        self.own_ids: set[str] = set()
        self._jobs = OpenJobs()
        self._held = HeldRows()
        # Told by whoever ships: how many of the accepted rows are over and done with.
        self.delivered_rows: Callable[[], int] = int
        self._retry_at = 0.0
        self._look_at = 0.0
        # How much may be written before somebody looks again; nothing while rows are held, or without a stream.
        self._room_bytes = 0
        self._acknowledged: dict[Lane, int] = dict.fromkeys(LANES, 0)

    def after_fork_in_child(self) -> None:
        """Forget the parent's stream: its rows are the parent's to ship. The child opens one of its own."""
        stream = self.stream
        self._renew()
        if stream is not None:
            stream.close()

    def write(self, row: Row, *, droppable: bool = False) -> None:
        """Accept `row`; `droppable` marks a snapshot that a later one supersedes."""
        try:
            if self._gate is not None:
                row = self._gate(row)
            if type(row) is LogRow:
                tag, lane = _LOG_SORTS[row.level]
                self._accept(lane, tag + encode_row(row))
            elif type(row) is JobRow:
                self._write_job(row, _JOB_TAG + encode_row(row))
            else:
                is_bulk = droppable or type(row) is MetricRow
                self._accept("bulk" if is_bulk else "keep", TAGS[type(row)] + encode_row(row))
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the user's code
            self._failed(error)

    def _write_job(self, row: JobRow, line: bytes) -> None:
        """Accept a job's row and keep the list of open jobs; whoever is killed in between leaves the job on it."""
        with self._lock:
            is_ended = row.status in TERMINAL_STATUSES
            if not is_ended:
                self._jobs.began(row.id, row.experiment_id, self._folder())
            self._accept("keep", line)
            if is_ended:
                self._jobs.ended(row.id, self._folder())

    def _folder(self) -> Path | None:
        return None if self.stream is None else self.stream.folder

    def folder(self) -> Path | None:
        """Return the folder of this process's stream, opened if need be; None while nothing can be written to."""
        with self._lock:
            if self.stream is None:
                self._open()
            return self._folder()

    def write_line(self, row_type: RowType, line: bytes, *, droppable: bool = False) -> None:
        """Accept a row that is encoded already, of parts that its maker has let through the redactor."""
        try:
            self._accept("bulk" if droppable else "keep", TAGS[row_type] + line)
        except Exception as error:  # noqa: BLE001 - nothing of ours may reach the user's code
            self._failed(error)

    def _accept(self, lane: Lane, line: bytes) -> None:
        with self._lock:
            stream, left_bytes = self.stream, self._room_bytes - len(line)
            if left_bytes < 0 or stream is None:
                self._append(lane, line)
            else:
                self._room_bytes = left_bytes
                try:
                    stream.lanes[lane].append(line)
                except OSError as error:
                    self._disk_trouble(error)
                    self._hold(lane, line)
            self.counters.accepted += 1

    def _failed(self, error: Exception) -> None:
        self.counters.failed += 1
        self._notices.trouble("write", f"a row could not be recorded: {error!r}")

    def _append(self, lane: Lane, line: bytes) -> None:
        held = self._held
        if (held.keep or held.bulk) and time.monotonic() >= self._retry_at:
            self._drain_held()
        if held.keep or held.bulk or (self.stream is None and not self._open()):
            self._hold(lane, line)
            return
        if not self._has_room(lane, len(line)):
            self.counters.dropped += 1
            return
        try:
            self._lane(lane).append(line)
        except OSError as error:
            self._disk_trouble(error)
            self._hold(lane, line)

    def _lane(self, lane: Lane) -> LaneWriter:
        if self.stream is None:
            raise OSError("no folder can be written to")
        return self.stream.lanes[lane]

    def _open(self) -> bool:
        if time.monotonic() < self._retry_at:
            return False
        trouble: OSError | None = None
        for spool_dir in self._spool_dirs:
            try:
                opened = OpenStream(spool_dir, self._new_id(), self._target, self._segment_bytes)
            except OSError as error:
                trouble = trouble or error
                continue
            if self.stream is not None:  # a signal handler logged meanwhile
                opened.discard()
                return True
            self.stream = opened
            self._jobs.write_all(opened.folder)
            if trouble is not None:
                self._notices.trouble(
                    "folder", f"{trouble}; rows go through {str(spool_dir)!r} instead; set PIPESPAN_STATE_DIR"
                )
            return True
        if trouble is not None:
            self._disk_trouble(trouble)
        return False

    def _new_id(self) -> str:
        # Noted before anybody can see the stream: the shipper's thread may be looking for orphans right now.
        stream_id = str(uuid.uuid4())
        self.own_ids.add(stream_id)
        return stream_id

    def _disk_trouble(self, error: OSError) -> None:
        self._retry_at = time.monotonic() + RETRY_S
        self._notices.trouble(
            "disk", f"{error}; the last rows are held in memory; free space or set PIPESPAN_STATE_DIR"
        )

    def _hold(self, lane: Lane, line: bytes) -> None:
        self._room_bytes = 0
        self.counters.dropped += self._held.add(lane, line)

    def _drain_held(self) -> None:
        if self.stream is None and not self._open():
            return
        try:
            self._held.drain(lambda lane, line: self._lane(lane).append(line))
        except OSError as error:
            self._disk_trouble(error)

    def _waiting_bytes(self) -> int:
        if self.stream is None:
            return 0
        return sum(writer.end_bytes - self._acknowledged[lane] for lane, writer in self.stream.lanes.items())

    def _bound_of(self, lane: Lane) -> float:
        return self._max_bytes if lane == "keep" else self._max_bytes * (1 - KEEP_RESERVE)

    def _has_room(self, lane: Lane, size_bytes: int) -> bool:
        """Look how full the spool really is, which is too dear for each row; make room when it is full."""
        left = self._bound_of(lane) - self._waiting_bytes()
        if left < size_bytes and not self._make_room(lane):
            return False
        self._room_bytes = min(int(self._bound_of("bulk") - self._waiting_bytes()), self._segment_bytes)
        return True

    def _make_room(self, lane: Lane) -> bool:
        """Drop the oldest segment of progress and mild logs; a line of that kind itself goes when there is none."""
        before = self._acknowledged["bulk"]
        dropped, start_bytes = self._lane("bulk").drop_oldest(before)
        self.counters.dropped += dropped
        self._notices.trouble("bound", "the spool is full; the oldest progress and mild log rows are dropped")
        self._acknowledged["bulk"] = max(before, start_bytes)
        return self._waiting_bytes() < self._bound_of(lane)

    def acknowledge(self, lane: Lane, offset_bytes: int) -> None:
        """Note that the database has everything of `lane` before `offset_bytes`."""
        self._acknowledged[lane] = max(self._acknowledged[lane], offset_bytes)

    def retry_held(self) -> None:
        """Try to put rows that are held in memory on disk; the shipper's thread calls it at each round."""
        now_s = time.monotonic()
        if now_s >= self._look_at:
            self._look_at = now_s + REMOVED_EVERY_S
            if self.stream is not None and not self.stream.folder.is_dir():
                self._leave_removed()
        if self._held.keep or self._held.bulk:
            with self._lock:
                self._drain_held()

    def _leave_removed(self) -> None:
        """Give up a stream whose folder was removed under us; what is not shipped is taken from its open files."""
        with self._lock:
            stream, acknowledged = self.stream, dict(self._acknowledged)
            if stream is None:
                return
            self.close()
            for lane, writer in stream.lanes.items():
                for line in writer.read_open(acknowledged[lane]).splitlines(keepends=True):
                    self._hold(lane, line)
            stream.close()
            counters = self.counters
            lost = max(counters.accepted - counters.dropped - self.delivered_rows() - len(self._held), 0)
            counters.dropped += lost
        what = f"{lost} rows are lost" if lost else "its rows go elsewhere"
        self._notices.trouble("removed", f"{str(stream.folder)!r} was removed; {what}")

    def take_held(self) -> bytes:
        """Return rows that are held in memory for delivery, the same ones until `held_arrived`."""
        with self._lock:
            return self._held.take()

    def held_arrived(self) -> None:
        """Let go of what `take_held` gave."""
        with self._lock:
            self._held.arrived()

    def has_taken(self) -> bool:
        """Tell whether a delivery from memory was begun and not confirmed."""
        return bool(self._held.taken)

    def held_rows(self) -> int:
        """Return how many rows are in memory only, because no folder can be written to."""
        with self._lock:
            return len(self._held)

    def waiting_bytes(self) -> int:
        """Return how much is not acknowledged yet, on disk and in memory."""
        with self._lock:
            return self._waiting_bytes() + self._held.size_bytes

    def spool_bytes(self) -> int:
        """Return what this process's stream takes on disk; it may be shipped already."""
        stream = self.stream
        if stream is None:
            return 0
        # What was shipped of older segments has been removed, so that these need not be looked for.
        if all(self._acknowledged[lane] >= writer.open_bytes for lane, writer in stream.lanes.items()):
            return sum(writer.open_size_bytes for writer in stream.lanes.values())
        return sum(segment_sizes_bytes(stream.folder))

    @property
    def max_bytes(self) -> int:
        """The bound of what waits on disk."""
        return self._max_bytes

    def close(self) -> OpenStream | None:
        """Write no more to the present stream; return it, for its end. A later row opens a new one."""
        with self._lock:
            stream, self.stream = self.stream, None
            self._room_bytes = 0
            self._acknowledged = dict.fromkeys(LANES, 0)
        return stream

    def sync(self) -> None:
        """Put the lanes on the disk itself; never raises."""
        stream = self.stream
        try:
            for lane in stream.lanes.values() if stream is not None else ():
                lane.sync()
        except OSError:
            pass  # said at the next write


_LOG_SORTS: Final[dict[LogLevel, tuple[bytes, Lane]]] = {
    level: (
        ERROR_LOG_TAG if level in ERROR_LEVELS else TAGS[LogRow],
        "bulk" if level in MILD_LEVELS else "keep",
    )
    for level in LOG_LEVELS
}
