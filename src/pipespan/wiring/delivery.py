"""The way of rows from this process's stream into the store: a thread, its connection, and what waits at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipespan.config import Settings
from pipespan.spool.layout import remove_stream
from pipespan.spool.notices import Notices
from pipespan.spool.shipper import Shipper
from pipespan.spool.writer import SpoolWriter
from pipespan.store.courier.carried import CarriedSink
from pipespan.wiring.courier import reach
from pipespan.wiring.forkgate import ForkGate
from pipespan.wiring.lifetimes import is_worker_process
from pipespan.wiring.ship import shipper_config
from pipespan.wiring.stores import open_request_sink, open_sink, open_source, preload, ready_dsn
from pipespan.wiring.watching import has_place, is_watched

if TYPE_CHECKING:
    from pipespan.model.rows import Row
    from pipespan.spool.orphans import Waiting
    from pipespan.store.base import Sink, Source
    from pipespan.store.courier.client import CourierSink
    from pipespan.wiring.certify import Certifier
    from pipespan.wiring.lookout import RequestVisit


class Delivery:
    """Ships what this process writes, and what dead ones have left; does nothing before `start`.

    Args:
        settings: say whereto.
        writer: has the rows.
        notices: where troubles are told.
        gate: hides secrets in what is told of dead processes.
        start_watcher: starts the watcher, which ships for all, when there is none.
    """

    def __init__(
        self, settings: Settings, writer: SpoolWriter, notices: Notices, gate: Callable[[Row], Row],
        start_watcher: Callable[[], None],
    ) -> None:  # fmt: skip
        self.shipper: Shipper | None = None
        self._settings = settings
        self._start_watcher = start_watcher
        self._has_courier = has_place(settings)
        self._writer = writer
        self._notices = notices
        self._gate = gate
        self._imports = ForkGate()
        # Where this process found the database ready, and where the one did that it was forked from.
        self._dsn: str | None = None
        self._parents_dsn: str | None = None
        # Whether that one ships, and so looks after the database.
        self._is_heir = False
        self._certifier: Certifier | None = None
        self._is_last_look = False
        # Kept for good in a forked child: to collect the parent's shipper would close the parent's connection.
        self._inherited: list[Any] = []

    def start(self, visit: RequestVisit) -> None:
        """Begin to ship, unless that has begun or there is no store.

        Args:
            visit: answers questions that wait in the database.
        """
        if self.shipper is not None or self._settings.store == "none":
            return
        config = replace(
            shipper_config(self._settings),
            is_in_step=self._has_courier,
            is_watched=lambda: self._has_courier,
            leaves_rest=is_worker_process(),
        )
        if self._settings.store != "otlp":  # without a database nobody asks for a certificate
            config = replace(config, settle=self._settle)
        self.shipper = Shipper(config, self._writer, self._open_sink, self._notices, visit, self._prepare)
        self.shipper.start()

    def after_fork_in_child(self) -> None:
        """Leave the parent's thread and connection alone."""
        self._inherited.append(self.shipper)
        self._is_heir = self._is_heir or self.shipper is not None
        self.shipper = None
        self._is_last_look = False
        self._parents_dsn = self._dsn

    def hurry(self) -> None:
        """Have what was recorded delivered now, and not at the next turn; does not wait for it."""
        if self.shipper is not None:
            self.shipper.hurry()

    def flush(self, timeout_s: float, away_s: float = math.inf) -> bool:
        """Wait until all that was recorded is delivered, `away_s` while the database is away; return whether it is."""
        return self.shipper is None or self.shipper.flush(timeout_s, away_s)

    def stop(self, timeout_s: float, *, tells: bool) -> None:
        """Deliver what can be delivered within `timeout_s`, and end the stream.

        From now on dead processes are certified without waiting for those that know more: this one ends.

        Args:
            timeout_s: so long at most.
            tells: whether to say what waits.
        """
        self._is_last_look = True
        if self.shipper is None:
            return
        is_done = self.shipper.stop(timeout_s)
        if not is_done and tells:
            self._tell_waiting(self.shipper.last_error)
        stream = self._writer.close()
        if stream is None:
            return
        if is_done:
            remove_stream(stream.folder)
        stream.close()

    def waiting_rows(self) -> int:
        """Return how many rows were accepted and are not acknowledged yet."""
        counters = self._writer.counters
        shipped = 0 if self.shipper is None else self.shipper.tally.rows + self.shipper.tally.rejected
        return max(counters.accepted - counters.dropped - shipped, 0)

    def _tell_waiting(self, reason: str | None) -> None:
        because = f" ({reason})" if reason and not self._notices.is_fresh("ship") else ""
        held = self._writer.held_rows()
        if held:
            self._notices.say(f"{held} rows are lost: no folder could be written to; set PIPESPAN_STATE_DIR")
        self._notices.say(
            f"{self.waiting_rows() - held} rows wait in the spool{because}; `pipespan ship` delivers them"
        )

    def _prepare(self) -> None:
        """Do early in a program what takes a while: the courier's start, or else the driver's."""
        if self._has_courier:
            self._start_watcher()
        else:
            self._load()

    def _load(self) -> None:
        with self._imports:
            preload(self._settings)

    def _open_sink(self) -> Sink:
        if self._settings.store == "otlp":
            return open_sink(self._settings)
        courier = self._reach_courier() if self._has_courier else None
        if courier is not None:
            return CarriedSink(courier, self._open_direct, self._give_up_courier)
        return self._open_direct()

    def _reach_courier(self) -> CourierSink | None:
        found = reach(self._settings, self._start_watcher, lambda: self._is_last_look)
        if found is None:
            self._give_up_courier()
        return found

    def _give_up_courier(self) -> None:
        self._has_courier = False

    def _open_direct(self) -> Sink:
        self._load()
        # Once: after a failure it is looked anew where the database is.
        dsn, self._parents_dsn = self._parents_dsn, None
        self._dsn = dsn or ready_dsn(self._settings)
        return open_request_sink(self._settings, self._dsn, is_looked_after=self._is_heir)

    def _open_source(self) -> Source:
        with self._imports:
            preload(self._settings, is_for_reading=True)
        return open_source(self._settings)

    def _settle(self, found: Waiting, sink: Sink) -> bool:
        """Certify the death of another process, whose rows are delivered; called in the shipper's thread."""
        if self._certifier is None:
            with self._imports:
                from pipespan.wiring.certify import Certifier  # noqa: PLC0415 - most processes never need it

            self._certifier = Certifier(
                self._open_source,
                "another process",
                self._notices,
                lambda: is_watched(self._settings),
                self._gate,
            )
        self._certifier.is_patient = not self._is_last_look
        return self._certifier.settle(found, sink)
