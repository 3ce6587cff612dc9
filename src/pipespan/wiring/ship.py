"""Delivery on demand: what dead processes left in the spool."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipespan.config import Settings
from pipespan.errors import StoreError
from pipespan.model.redact_rows import RowGate
from pipespan.spool.delivery import Tally
from pipespan.spool.notices import Notices
from pipespan.spool.orphans import Waiting, claim, find_streams
from pipespan.spool.shipping import ShipperConfig, deliver_orphans
from pipespan.wiring import stores
from pipespan.wiring.redaction import build_redactor
from pipespan.wiring.stores import known_spool_dirs, open_sink, spool_dirs
from pipespan.wiring.target import target_of
from pipespan.wiring.watching import is_watched

if TYPE_CHECKING:
    from pipespan.store.base import Sink, Source


@dataclass(frozen=True, slots=True)
class ShipReport:
    """What a delivery did and what it left.

    Attributes:
        rows: delivered now.
        rejected: refused by the database and kept in files.
        waiting_streams: streams for this database that have rows left, of processes that are gone.
        waiting_bytes: what these hold at most.
        live_streams: streams of processes that live and ship for themselves.
        other_targets: databases that further streams wait for.
    """

    rows: int
    rejected: int
    waiting_streams: int
    waiting_bytes: int
    live_streams: int
    other_targets: tuple[str, ...]


def shipper_config(settings: Settings) -> ShipperConfig:
    """Return what a shipper takes from the settings."""
    return ShipperConfig(
        spool_dirs=spool_dirs(settings),
        target=target_of(settings),
        interval_s=settings.flush_interval_s,
        batch_bytes=settings.batch_bytes,
    )


def ship(settings: Settings, timeout_s: float) -> ShipReport:
    """Deliver what dead processes left, for at most about `timeout_s`.

    Raises:
        StoreError: the database cannot take it; what was acknowledged before stays so.
    """
    tally = deliver_with(
        settings, timeout_s, found_by="`pipespan ship` or a reader", has_watcher=lambda: is_watched(settings)
    )
    return _report(settings, shipper_config(settings), tally)


def deliver_with(
    settings: Settings, timeout_s: float, *, found_by: str, has_watcher: Callable[[], bool],
    open_source: Callable[[], Source] | None = None,
) -> Tally:  # fmt: skip
    """Deliver what dead processes left, and certify their deaths.

    Args:
        settings: which spool folders, and which database.
        timeout_s: about how long it may take.
        found_by: who does it, for the certificates.
        has_watcher: whether a death without evidence is left to the watcher for some seconds.
        open_source: opens the store for reading.

    Raises:
        StoreError: the database cannot take it; what was acknowledged before stays so.
    """
    from pipespan.wiring.certify import Certifier  # noqa: PLC0415 - who only writes does not need it

    notices, tally = Notices(), Tally()
    certifier = Certifier(
        open_source or partial(stores.open_source, settings),
        found_by,
        notices,
        has_watcher,
        RowGate(build_redactor(settings)).row,
    )
    config = replace(shipper_config(settings), settle=certifier.settle)
    deadline = time.monotonic() + timeout_s
    opened: list[Sink] = []

    def connected() -> Sink:
        if not opened:
            opened.append(open_sink(settings))
        return opened[0]

    try:
        for spool_dir in known_spool_dirs(settings):
            deliver_orphans(
                spool_dir, config, connected, notices, own_ids=(), tally=tally,
                may_go_on=lambda: time.monotonic() < deadline,
            )  # fmt: skip
    finally:
        for sink in opened:
            sink.close()
    return tally


def deliver_orphans_quietly(settings: Settings, timeout_s: float) -> None:
    """Deliver what dead processes left for this database, if anything; a reader calls it before it looks."""
    config = shipper_config(settings)
    found = (one for spool_dir in known_spool_dirs(settings) for one in find_streams(spool_dir))
    if any(one.meta.target == config.target and _is_orphan(one.folder) for one in found):
        with suppress(StoreError, OSError):  # who opens the database next says what is wrong with it
            ship(settings, timeout_s)


def _report(settings: Settings, config: ShipperConfig, tally: Tally) -> ShipReport:
    found = [one for spool_dir in known_spool_dirs(settings) for one in find_streams(spool_dir)]
    ours = [one for one in found if one.meta.target == config.target]
    orphans = [one for one in ours if _is_orphan(one.folder)]
    # One without rows is kept for somebody who can tell what became of its process.
    left = [one for one in orphans if one.size_bytes]
    others = sorted({one.meta.target for one in found} - {config.target})
    return ShipReport(
        tally.rows, tally.rejected, len(left), _size(left), len(ours) - len(orphans), tuple(others)
    )


def _is_orphan(folder: Path) -> bool:
    with claim(folder) as is_ours:
        return is_ours


def _size(streams: list[Waiting]) -> int:
    return sum(one.size_bytes for one in streams)
