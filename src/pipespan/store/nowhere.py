"""A store that keeps nothing: for processes whose rows go out in another way."""

from __future__ import annotations

from pipespan.store.base import Batch, StreamKey, offset_error


class NowhereSink:
    """Takes every batch and lets it go; it keeps the ledger alone."""

    def __init__(self) -> None:
        self._offsets: dict[StreamKey, int] = {}

    def ship(self, *batches: Batch) -> None:
        """Let the rows go.

        Raises:
            OffsetError: the ledger of one of them does not stand at its `start_bytes`.
        """
        for batch in batches:
            # Of streams that were begun by others nothing is known: they go on where they say.
            stands = self._offsets.setdefault(batch.key, batch.start_bytes)
            if stands != batch.start_bytes:
                raise offset_error(batch, stands)
        self._offsets.update((batch.key, batch.end_bytes) for batch in batches)

    def offset(self, key: StreamKey) -> int:
        """Return where the ledger of `key` stands, 0 for an unknown one."""
        return self._offsets.get(key, 0)

    def close(self) -> None:
        """Do nothing: nothing is held."""
