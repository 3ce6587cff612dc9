"""The thread that ships: this process's stream more than once a second, orphans now and then.

It owns the sink. Whatever goes wrong stays here: the rows wait in the spool, the trouble is told once a minute,
and the next round tries again after a pause that grows to `MAX_PAUSE_S`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from pipespan.errors import StoreError
from pipespan.spool.bell import Bell
from pipespan.spool.delivery import Delivery, Tally
from pipespan.spool.handover import Handover
from pipespan.spool.held import HeldDelivery
from pipespan.spool.notices import Notices
from pipespan.spool.openstream import OpenStream
from pipespan.spool.shipping import ShipperConfig, deliver_orphans
from pipespan.spool.turns import Turns
from pipespan.spool.writer import SpoolWriter
from pipespan.store.base import Sink

MAX_PAUSE_S: Final = 5.0
"""Longest pause between two tries while the store is away."""

ORPHANS_EVERY_S: Final = 2.0
"""How often streams of dead processes are looked for: a worker that was killed is visible after this time."""

ORPHANS_SELDOM_S: Final = 30.0
"""How often where a watcher does so: among many workers each would look at the streams of all others."""

OUTAGE_AT_EXIT_S: Final = 1.0
"""At its end a process waits no longer for a database that is away: what cannot be delivered waits in the spool."""

OFTEN_S: Final = 2.0
"""Who has rounds more often than this looks only each second time how far another has shipped the stream."""

SYNC_EVERY_S: Final = 5.0
"""How often rows that cannot be shipped are put on the disk itself; what a loss of power may cost then."""


class Shipper:
    """Ships one writer's stream, and orphans of the same target; start it once, stop it once.

    Args:
        config: see there.
        writer: whose stream.
        open_sink: gives the sink.
        notices: where troubles are told.
        visit: called with the connected sink after each round that went well; it never raises.
        prepare: called in the thread before anything else: what `open_sink` will need is loaded or started early in a
            program, where it is least in the way.
    """

    def __init__(
        self, config: ShipperConfig, writer: SpoolWriter, open_sink: Callable[[], Sink], notices: Notices,
        visit: Callable[[Sink], None] = lambda _sink: None, prepare: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._config = config
        self._writer = writer
        self._open_sink = open_sink
        self._notices = notices
        self._visit = visit
        self._prepare = prepare
        self._sink: Sink | None = None
        self._delivery: Delivery | None = None
        self._bell = Bell()
        self._round_done = threading.Condition()
        self._rounds = 0
        self._turns = Turns(config.interval_s, time.monotonic, is_in_step=config.is_in_step)
        self._handover = Handover(config.interval_s)
        self._hurries = self._turns.out_of_turn()
        self._is_hurried = False
        # Somebody waits until all is shipped; looked at by a round when it begins.
        self._is_asked = False
        # Whoever fetches the stream ships the rest of it behind this process's end.
        self._is_left = False
        self._deadline: float | None = None
        self._give_up_at = 0.0
        self._orphans_at = -math.inf
        self._synced_at = time.monotonic()
        # When a round last went well; none does while the database is frozen, and no error tells it.
        self._ok_at = time.monotonic()
        self.cpu_s = 0.0
        self.stray_rows = 0
        self.last_error: str | None = None
        self.tally = Tally()
        # How many rows had been accepted when the stream was last shipped.
        self._accepted = 0
        self.orphan_tally = Tally()
        self._held = HeldDelivery(writer.take_held, writer.held_arrived, self.tally, notices)
        writer.delivered_rows = lambda: self.tally.rows + self.tally.rejected
        self._thread = threading.Thread(target=self._run, name="pipespan-shipper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def hurry(self) -> None:
        """Ship what was written before the call now, as far as there is an allowance for it; does not wait for it.

        The first round waits for its turn all the same, and so does the one after a failure.
        """
        if self._rounds and self.last_error is None and self._hurries.take():
            self._is_hurried = True
            self._bell.ring()

    def flush(self, timeout_s: float, away_s: float = math.inf) -> bool:
        """Wait until all that was written before the call is shipped; return whether it is.

        Args:
            timeout_s: so long at most.
            away_s: so long while the store is away.
        """
        if not self._config.leaves_rest:
            # As at the end: what workers have left is delivered with the rest, though not by each of the workers.
            self._orphans_at = -math.inf
        with self._round_done:
            began_s = time.monotonic()
            # The round that runs now may have looked before the last row came, so the one after it counts.
            wanted = self._rounds + 2
            while self._rounds < wanted or self.last_error is not None:
                self._is_asked = True
                self._bell.ring()
                longest_s = timeout_s if self.last_error is None else min(timeout_s, away_s)
                left = began_s + longest_s - time.monotonic()
                if left <= 0 or not self._thread.is_alive():
                    return False
                self._round_done.wait(min(left, 0.05))
        return self._writer.held_rows() == 0

    def stop(self, timeout_s: float) -> bool:
        """Ship what is left within `timeout_s`, or leave it to others; end the thread; return whether nothing waits."""
        self._orphans_at = -math.inf  # workers that have just ended left theirs
        now = time.monotonic()
        self._give_up_at = now + min(timeout_s, OUTAGE_AT_EXIT_S)
        self._deadline = now + timeout_s
        self._bell.ring()
        self._thread.join(timeout_s + 0.1)
        return not self._thread.is_alive() and self._writer.waiting_bytes() == 0

    def _run(self) -> None:
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 - tried again with the first rows, which tells what is wrong
            self._failed(f"nothing can be shipped: {error!r}")
        # With all others: what comes at the start of a pool's workers goes into one transaction, too.
        self._bell.pause(self._turns.until_first_s())
        pause_s = self._turns.interval_s
        while True:
            is_last = self._deadline is not None
            ok = self._round()
            self.cpu_s = time.thread_time()
            with self._round_done:
                self._rounds += 1
                self._round_done.notify_all()
            if is_last and (ok or time.monotonic() >= self._give_up_at):
                break
            pause_s = self._turns.interval_s if ok else min(max(pause_s, 0.05) * 2, MAX_PAUSE_S)
            wait_s = self._turns.until_next_s() if ok else pause_s
            if self._handover.is_on and self._turns.interval_s < OFTEN_S:
                wait_s += self._turns.interval_s
            self._bell.pause(min(wait_s, 0.1) if is_last else wait_s)
        self._leave_stream()
        self._close_sink()

    def _close_sink(self) -> None:
        self._handover.stop()
        sink, self._sink = self._sink, None
        try:
            if sink is not None:
                sink.close()
        except Exception as error:  # noqa: BLE001 - the connection may be in any state, and the thread must go on
            self._notices.trouble("close", f"closing the connection failed: {error!r}")

    def _round(self) -> bool:
        is_pressed, self._is_asked = self._is_asked or self._deadline is not None, False
        is_hurried, self._is_hurried = self._is_hurried, False
        try:
            self._writer.retry_held()
            if self._handover.is_on:
                self._look_after_other(is_last=is_pressed, is_hurried=is_hurried)
            if not self._is_left:
                if not self._handover.is_on:
                    self._ship_by_itself(may_hand_over=not is_pressed)
                self._ship_orphans()
            if self._sink is not None and self._deadline is None:
                self._visit(self._sink)
        except (StoreError, OSError) as error:
            self._failed(str(error))
            return False
        except Exception as error:  # noqa: BLE001 - a bug of ours must not end the only thread that ships
            self._failed(f"shipping failed: {error!r}")
            return False
        self.last_error = None
        self._ok_at = time.monotonic() - self._handover.late_s
        self.stray_rows = max(self.stray_rows, getattr(self._sink, "stray_rows", 0))
        return True

    def _ship_by_itself(self, *, may_hand_over: bool) -> None:
        if self._writer.has_taken():  # before what came later, and may refer to it
            self._held.run(self._connected(), lambda: False)
        self._ship_own()
        if self._writer.held_rows():
            self._held.run(self._connected(), self._may_go_on)
        elif may_hand_over and self._delivery is not None and self._sink is not None:
            self._handover.begin(self._sink, self._delivery)

    def _look_after_other(self, *, is_last: bool, is_hurried: bool) -> None:
        """See how far the other is who ships the stream; take it back where all must be shipped, or goes elsewhere."""
        sink, stream, delivery = self._connected(), self._writer.stream, self._delivery
        if delivery is None:
            return
        is_whole = stream is not None and stream.folder == delivery.folder and not self._writer.held_rows()
        if is_whole and self._deadline is not None and self._config.leaves_rest:
            self._is_left = self._handover.finish(sink)
            if self._is_left:
                return
        is_last = is_last or not is_whole
        if is_hurried and not is_last:
            self._handover.hurry(sink)
        if not is_last:
            self._visit(sink)  # whose answer tells it along
        self._handover.look(sink, delivery, is_last=is_last)

    def away_s(self) -> float:
        """Return for how long nothing could be delivered although rows wait, 0 when all is well."""
        late_s = time.monotonic() - self._ok_at
        is_late = self.last_error is not None or late_s > 2 * MAX_PAUSE_S
        return late_s if is_late and self._writer.waiting_bytes() else 0.0

    def take_slowest_s(self) -> float:
        """Return how long the slowest batch took since this was asked last."""
        slowest_s, self.tally.slowest_s = self.tally.slowest_s, 0.0
        return slowest_s

    def _failed(self, reason: str) -> None:
        self.last_error = reason
        self._notices.trouble("ship", f"{reason}; rows wait in the spool")
        # A new one finds out anew where the database is: the embedded server may have to be started again.
        self._close_sink()
        if time.monotonic() - self._synced_at >= SYNC_EVERY_S:
            self._writer.sync()
            self._synced_at = time.monotonic()

    def _may_go_on(self) -> bool:
        return self._deadline is None or time.monotonic() < self._deadline

    def _ship_own(self) -> None:
        stream = self._writer.stream
        if stream is None:
            self._leave_stream()
            return
        if self._delivery is None or self._delivery.folder != stream.folder:
            self._leave_stream()
            self._delivery = self._delivery_of(stream)
        accepted = self._writer.counters.accepted
        # To ask how much waits takes a call of the system for each lane, and something does as a rule.
        if accepted != self._accepted or self._writer.waiting_bytes():
            self._delivery.run(self._connected(), may_go_on=self._may_go_on)
            self._accepted = accepted

    def _leave_stream(self) -> None:
        self._handover.stop()
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.close()

    def _delivery_of(self, stream: OpenStream) -> Delivery:
        return Delivery(
            stream.folder, self._config.batch_bytes, self._notices, self._writer.acknowledge, self.tally,
            stream.tails(), is_new=True,
        )  # fmt: skip

    def _connected(self) -> Sink:
        if self._sink is None:
            self._sink = self._open_sink()
        return self._sink

    def _ship_orphans(self) -> None:
        now = time.monotonic()
        if now - self._orphans_at < (ORPHANS_SELDOM_S if self._config.is_watched() else ORPHANS_EVERY_S):
            return
        self._orphans_at = now
        for spool_dir in self._config.spool_dirs:
            deliver_orphans(
                spool_dir,
                self._config,
                self._connected,
                self._notices,
                own_ids=self._writer.own_ids,
                tally=self.orphan_tally,
                may_go_on=self._may_go_on,
            )
