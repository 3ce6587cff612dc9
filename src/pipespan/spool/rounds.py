"""The rounds of one who ships for live processes: what is new in the files of their streams, all in one transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from pipespan.spool.batches import build_batch
from pipespan.spool.layout import LANES, Lane, remove_stream
from pipespan.spool.orphans import claim
from pipespan.spool.reader import read_chunk
from pipespan.spool.turns import Turns
from pipespan.store.base import Batch, Fetched, StreamKey
from pipespan.store.courier.care import ShipShares

MUCH_BYTES: Final = 1 << 19
"""A stream in which so much is new at a time is given up: its process ships by itself, and no other waits behind it."""

LET_GO_S: Final = 0.01
"""So soon it is looked whether a process that ends has let go of its stream; then less and less often."""

LEAVE_S: Final = 1.0
"""Who leaves waits no longer for the round under way; the ledger tells what became of it."""

_AT_A_TIME_S: Final = 0.02
"""Whose turn comes so soon goes along."""


@dataclass(slots=True, eq=False)
class Charge:
    """A stream that is looked after."""

    folder: Path
    offsets: dict[Lane, int]
    turns: Turns
    due_s: float
    rows: int = 0
    slowest_s: float = 0.0
    is_over: bool = False
    is_ending: bool = False
    is_hurried: bool = False
    let_go_s: float = LET_GO_S

    def pause_s(self) -> float:
        """Return how long it is to the next look."""
        if self.is_hurried:
            return 0.0
        if not self.is_ending:
            return self.turns.until_next_s()
        pause_s, self.let_go_s = self.let_go_s, min(2 * self.let_go_s, self.turns.interval_s)
        return pause_s


class Rounds:
    """Fetches what is new in each stream at its turns, in a thread that starts with the first stream.

    Whatever goes wrong with a stream, it is given up (`Fetched.is_over`): its process knows what to do about it.

    Args:
        ship: the way of what is found.
        clock_s: monotonic seconds, those of all processes of this host.
    """

    def __init__(self, ship: ShipShares, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ship = ship
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self._charges: list[Charge] = []
        self._under_way: list[Charge] = []
        self._thread: threading.Thread | None = None

    def take(self, folder: Path, offsets: Mapping[str, int], interval_s: float) -> Charge:
        """Begin with the stream in `folder`.

        Args:
            folder: the stream's.
            offsets: where the ledger of each lane stands.
            interval_s: pause between two looks.
        """
        turns = Turns(interval_s, self._clock_s, is_in_step=True)
        stands: dict[Lane, int] = {lane: offsets[lane] for lane in LANES}
        charge = Charge(folder, stands, turns, self._clock_s() + turns.until_first_s())
        with self._changed:
            self._charges.append(charge)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="courier-rounds", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return charge

    def standing(self, charge: Charge) -> Fetched:
        """Return how far the stream is shipped."""
        with self._changed:
            return self._standing(charge)

    def hurry(self, charge: Charge) -> None:
        """Look for what is new now, and not at the next turn."""
        with self._changed:
            charge.is_hurried = True
            charge.due_s = self._clock_s()
            self._changed.notify_all()

    def leave(self, charge: Charge) -> Fetched:
        """Look after the stream no more; return how far it is shipped."""
        with self._changed:
            if charge in self._charges:
                self._charges.remove(charge)
            self._changed.wait_for(lambda: charge not in self._under_way, LEAVE_S)
            return self._standing(charge)

    def finish(self, charge: Charge) -> bool:
        """Ship the rest when its process has let go of the stream, and remove that; return whether it will be done."""
        with self._changed:
            if charge.is_over or charge not in self._charges:
                return False
            charge.is_ending = True
            charge.due_s = self._clock_s() + LET_GO_S
            self._changed.notify_all()
            return True

    def _standing(self, charge: Charge) -> Fetched:
        late_s = 0.0 if charge.is_over else max(self._clock_s() - charge.due_s, 0.0)
        slowest_s, charge.slowest_s = charge.slowest_s, 0.0
        offsets = {str(lane): offset for lane, offset in charge.offsets.items()}
        return Fetched(offsets, charge.rows, slowest_s, late_s, charge.is_over)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (due := self._due()):
                    self._changed.wait(self._pause_s())
                self._under_way = due
                for charge in due:
                    charge.is_hurried = False
            try:
                self._round(due)
            except Exception:  # noqa: BLE001 - whatever it is, the processes ship by themselves
                for charge in due:
                    charge.is_over = True
            with self._changed:
                self._under_way = []
                for charge in due:
                    charge.due_s = self._clock_s() + charge.pause_s()
                self._charges = [charge for charge in self._charges if not charge.is_over]
                self._changed.notify_all()

    def _due(self) -> list[Charge]:
        until_s = self._clock_s()
        if not any(charge.due_s <= until_s for charge in self._charges):
            return []
        return [charge for charge in self._charges if charge.due_s <= until_s + _AT_A_TIME_S]

    def _pause_s(self) -> float | None:
        if not self._charges:
            return None
        return max(min(charge.due_s for charge in self._charges) - self._clock_s(), 0.0)

    def _round(self, due: Sequence[Charge]) -> None:
        # Asked before it is looked what is new: behind that nothing comes then.
        let_go = [charge for charge in due if charge.is_ending and _is_let_go(charge)]
        found = [(charge, batches) for charge in due if (batches := _look(charge))]
        for charge in let_go:
            if not charge.is_over and not any(charge is one for one, _ in found):
                remove_stream(charge.folder)
                charge.is_over = True
        if not found:
            return
        began_s = self._clock_s()
        arrived = self._ship([batches for _, batches in found])
        took_s = self._clock_s() - began_s
        with self._changed:
            for (charge, batches), has_arrived in zip(found, arrived, strict=True):
                charge.slowest_s = max(charge.slowest_s, took_s)
                charge.is_over = not has_arrived
                if has_arrived:
                    for batch in batches:
                        charge.offsets[cast("Lane", batch.key.lane)] = batch.end_bytes
                        charge.rows += batch.row_count


def _is_let_go(charge: Charge) -> bool:
    """Tell whether nobody holds the stream; one that is gone was shipped by somebody else."""
    charge.is_over = not charge.folder.is_dir()
    with claim(charge.folder) as is_free:
        return is_free


def _look(charge: Charge) -> list[Batch]:
    """Return what is new; a stream in which it is much, or which cannot be read, is given up."""
    batches: list[Batch] = []
    try:
        for lane, start in charge.offsets.items():
            chunk = read_chunk(charge.folder, lane, start, limit_bytes=2 * MUCH_BYTES, is_ended=False)
            if chunk is None:
                continue
            if chunk.skipped_bytes or len(chunk.data) >= MUCH_BYTES:
                charge.is_over = True
                return []
            batches.append(
                build_batch(StreamKey(charge.folder.name, lane), start, chunk.end_bytes, chunk.data)
            )
    except OSError:
        charge.is_over = True
        return []
    return batches
