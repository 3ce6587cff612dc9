"""What the courier fetches for one program: the frames that are about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pipespan.store.base import Batch, Fetched
from pipespan.store.courier.wire import Frame, WireError

ShipShares = Callable[[Sequence[Sequence[Batch]]], Sequence[bool]]
"""Ships what several programs have, each its share; tells whose was shipped."""


class Rounds(Protocol):
    """Fetches what is new in the files of streams, again and again; what `take` returns is its own business."""

    def take(self, folder: Path, offsets: Mapping[str, int], interval_s: float) -> Any:
        """Begin with a stream."""

    def standing(self, charge: Any) -> Fetched:
        """Return how far that is."""

    def hurry(self, charge: Any) -> None:
        """Look for what is new now, and not at the next turn."""

    def leave(self, charge: Any) -> Fetched:
        """End it, and return how far it came."""

    def finish(self, charge: Any) -> bool:
        """Ship the rest, and remove the stream, once its process has let go of it; return whether that will be done."""


class Care:
    """Has the stream of one program fetched, as long as the program wants it and is there.

    Args:
        rounds: fetches; None where nobody can.
    """

    def __init__(self, rounds: Rounds | None) -> None:
        self._rounds = rounds
        self._charge: Any = None

    def answer(self, frame: Frame) -> Frame | None:
        """Return what is to be said to `frame`; None where it is about something else.

        Raises:
            WireError: it makes no sense.
        """
        match frame.head.get("do"):
            case "fetch":
                self._take(frame.head)
            case "stop fetching":
                return Frame(_told(self.end()))
            case "finish":
                return Frame({"finishes": self._finish()})
            case "hurry":
                self._hurry()
            case "fetched":
                pass
            case _:
                return None
        return Frame({})

    def standing(self) -> Mapping[str, Any]:
        """Return what each answer tells along: how far the fetching is."""
        if self._rounds is None or self._charge is None:
            return {}
        return _told(self._rounds.standing(self._charge))

    def end(self) -> Fetched | None:
        """Fetch no more."""
        charge, self._charge = self._charge, None
        return None if self._rounds is None or charge is None else self._rounds.leave(charge)

    def _hurry(self) -> None:
        if self._rounds is not None and self._charge is not None:
            self._rounds.hurry(self._charge)

    def _finish(self) -> bool:
        charge, self._charge = self._charge, None
        return self._rounds is not None and charge is not None and self._rounds.finish(charge)

    def _take(self, head: Mapping[str, Any]) -> None:
        self.end()
        if self._rounds is None:
            return
        try:
            self._charge = self._rounds.take(Path(head["folder"]), head["offsets"], head["interval_s"])
        except (KeyError, TypeError) as error:
            raise WireError(f"this is no stream: {error!r}") from error


def _told(fetched: Fetched | None) -> Mapping[str, Any]:
    return {} if fetched is None else {"fetched": asdict(fetched)}
