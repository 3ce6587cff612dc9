"""A sink that fetches streams from their files, as the courier does, and fails as its schedule says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipespan.errors import StoreError
from pipespan.spool.rounds import Charge, Rounds
from pipespan.store.base import Batch, Fetched
from tests.spool.support import ScriptedSink


@dataclass
class FetchingSink(ScriptedSink):
    """Implements `Fetcher` with real rounds; `is_gone` makes it one whose other side has ended."""

    is_gone: bool = False
    begun: int = 0
    hurried: int = 0
    told: list[Fetched] = field(default_factory=list)
    charge: Charge | None = None

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.ship_shares)

    def ship_shares(self, shares: Sequence[Sequence[Batch]]) -> list[bool]:
        return [self._is_shipped(share) for share in shares]

    def _is_shipped(self, share: Sequence[Batch]) -> bool:
        try:
            self.ship(*share)
        except StoreError:
            return False
        return True

    def fetch(self, folder: str, offsets: Mapping[str, int], interval_s: float) -> bool:
        if self.is_gone:
            return False
        self.charge = self.rounds.take(Path(folder), offsets, interval_s)
        self.begun += 1
        return True

    def fetched(self) -> Fetched | None:
        return self._told(None if self.charge is None else self.rounds.standing(self.charge))

    def hurry(self) -> None:
        self.hurried += 1
        if self.charge is not None:
            self.rounds.hurry(self.charge)

    def stop_fetching(self) -> Fetched | None:
        charge, self.charge = self.charge, None
        return self._told(None if charge is None else self.rounds.leave(charge))

    def finish(self) -> bool:
        charge, self.charge = self.charge, None
        return charge is not None and not self.is_gone and self.rounds.finish(charge)

    def _told(self, fetched: Fetched | None) -> Fetched | None:
        if fetched is None or self.is_gone:
            return None
        self.told.append(fetched)
        return fetched

    def close(self) -> None:
        self.stop_fetching()
        super().close()
