"""What shipping needs to know, and the delivery of what dead processes have left."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from pathlib import Path

from pipespan.spool.delivery import Delivery, Tally
from pipespan.spool.layout import remove_stream
from pipespan.spool.notices import Notices
from pipespan.spool.orphans import Waiting, claim, find_streams
from pipespan.store.base import Sink


@dataclass(frozen=True, slots=True)
class ShipperConfig:
    """What the shipper needs to know.

    Attributes:
        spool_dirs: where streams of this host stand.
        target: only streams for this database are shipped.
        interval_s: pause between two rounds.
        batch_bytes: how much goes into one transaction at most.
        settle: called for an orphan that is delivered whole; returns whether nothing is left to find out about
            its process, so that it may be removed.
        is_watched: asked whether somebody else looks for streams of dead processes, and has them delivered.
        is_in_step: rounds come at the same moments as those of other processes (`Turns`).
        leaves_rest: at its end the process leaves what is not shipped yet to whoever fetches its stream.
    """

    spool_dirs: tuple[Path, ...]
    target: str
    interval_s: float
    batch_bytes: int
    settle: Callable[[Waiting, Sink], bool] | None = None
    is_watched: Callable[[], bool] = bool
    is_in_step: bool = False
    leaves_rest: bool = False


def deliver_orphans(
    spool_dir: Path,
    config: ShipperConfig,
    connected: Callable[[], Sink],
    notices: Notices,
    *,
    own_ids: Container[str],
    tally: Tally,
    may_go_on: Callable[[], bool],
) -> None:
    """Deliver the streams under `spool_dir` whose process is gone, and remove those that are shipped whole.

    Args:
        spool_dir: where to look.
        config: which target, and batch size.
        connected: gives the sink; called only when there is something to deliver.
        notices: where rejected rows are told.
        own_ids: streams of this process, which are never touched; asked for each, as one may come meanwhile.
        tally: counts what is delivered.
        may_go_on: asked between two batches.

    Raises:
        StoreError: the store cannot take it now.
    """
    for found in find_streams(spool_dir):
        if found.meta.stream_id in own_ids or found.meta.target != config.target:
            continue
        with claim(found.folder) as is_ours:
            if not is_ours:
                continue
            delivery = Delivery(found.folder, config.batch_bytes, notices, lambda _lane, _offset: None, tally)
            try:
                if not delivery.run(connected(), is_ended=True, may_go_on=may_go_on):
                    continue
                if config.settle is None or config.settle(found, connected()):
                    remove_stream(found.folder)
            except (
                OSError
            ) as error:  # one stream that cannot be read must not hold up the others, nor our own
                notices.trouble("orphan", f"cannot deliver {str(found.folder)!r}: {error}")
