"""A sink that goes through the courier as long as that is the better way, and then by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pipespan.errors import OffsetError, RefusedError, StoreError
from pipespan.store.base import Batch, Fetched, RequestRow, Sink, StreamKey
from pipespan.store.courier.client import CourierGoneError, CourierSink

_Told = TypeVar("_Told")


class CarriedSink:
    """Implements `Sink`, `Desk` and `Fetcher`; changes its way at most once, and nothing is lost or doubled by it.

    What was on its way when the courier went is handed over again: the ledger tells whether it had arrived.

    Args:
        courier: who ships.
        open_direct: opens a way of one's own.
        gave_up: called when the courier is not to be had, or its way to the database is worse than one's own.
    """

    def __init__(
        self, courier: CourierSink, open_direct: Callable[[], Sink], gave_up: Callable[[], None]
    ) -> None:
        self._courier: CourierSink | None = courier
        self._direct: Sink | None = None
        self._open_direct = open_direct
        self._gave_up = gave_up
        self._has_worked = False

    @property
    def stray_rows(self) -> int:
        """See `PostgresSink`."""
        return int(getattr(self._courier or self._direct, "stray_rows", 0))

    def ship(self, *batches: Batch) -> None:
        """See `Sink.ship`."""
        self._do(lambda way: way.ship(*batches))

    def offset(self, key: StreamKey) -> int:
        """See `Sink.offset`."""
        return int(self._do(lambda way: way.offset(key)))

    def open_requests(self, job_ids: Sequence[str]) -> list[RequestRow]:
        """See `Desk.open_requests`."""
        found: list[RequestRow] = self._do(lambda way: way.open_requests(job_ids))
        return found

    def answer_request(self, request_id: str, answer: Mapping[str, Any]) -> None:
        """See `Desk.answer_request`."""
        self._do(lambda way: way.answer_request(request_id, answer))

    def fetch(self, folder: str, offsets: Mapping[str, int], interval_s: float) -> bool:
        """See `Fetcher.fetch`; only who has shipped before is trusted with it."""
        return self._has_worked and bool(self._of_courier(lambda way: way.fetch(folder, offsets, interval_s)))

    def fetched(self) -> Fetched | None:
        """See `Fetcher.fetched`."""
        return self._of_courier(lambda way: way.fetched())

    def hurry(self) -> None:
        """See `Fetcher.hurry`."""
        self._of_courier(lambda way: way.hurry())

    def stop_fetching(self) -> Fetched | None:
        """See `Fetcher.stop_fetching`."""
        return self._of_courier(lambda way: way.stop_fetching())

    def finish(self) -> bool:
        """See `Fetcher.finish`."""
        return bool(self._of_courier(lambda way: way.finish()))

    def close(self) -> None:
        """See `Sink.close`."""
        self._part()
        if self._direct is not None:
            self._direct.close()

    def _part(self) -> None:
        courier, self._courier = self._courier, None
        if courier is not None:
            courier.close()

    def _of_courier(self, ask: Callable[[CourierSink], _Told]) -> _Told | None:
        """Ask what no way of one's own can tell; None where there is no courier, or none any more."""
        if self._courier is None:
            return None
        try:
            return ask(self._courier)
        except StoreError:
            self._part()
            self._gave_up()
            return None

    def _do(self, ask: Callable[[Any], Any]) -> Any:
        courier = self._courier
        if courier is not None:
            try:
                told = ask(courier)
            except (OffsetError, RefusedError):
                self._has_worked = True
                raise
            except StoreError as error:
                # It may know another password by heart, or see another file of them; our own way tells the truth.
                if self._has_worked and not isinstance(error, CourierGoneError):
                    raise
                self._part()
                self._gave_up()
            else:
                self._has_worked = True
                return told
        if self._direct is None:
            self._direct = self._open_direct()
        return ask(self._direct)
