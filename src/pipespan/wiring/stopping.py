"""Whether what was asked to stop has stopped, and its record with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipespan.config import Settings
from pipespan.model.status import TERMINAL_STATUSES
from pipespan.query.resolve import by_id
from pipespan.spool.asking import live_work
from pipespan.wiring.asking import Target, asked_by
from pipespan.wiring.closing import close_cancelled
from pipespan.wiring.ship import deliver_orphans_quietly
from pipespan.wiring.stores import known_spool_dirs, open_sink, open_source

DELIVERY_S: Final = 3.0


def is_over(settings: Settings, targets: Sequence[Target], sent: str | None, *, use_database: bool) -> bool:
    """Tell whether nobody works on the experiment of `targets` any more.

    Where processes of this host are gone without having ended their record, it is ended as cancelled.

    Args:
        settings: where the database is.
        targets: who was asked.
        sent: the last signal that was sent, None without one.
        use_database: whether it can be asked.

    Raises:
        StoreError: the database does not answer.
    """
    if not use_database:
        return all(target.is_gone() or not _works(settings, target) for target in targets)
    experiment_id = targets[0].experiment_id
    source = open_source(settings)
    try:
        if by_id(source, experiment_id).status in TERMINAL_STATUSES:
            return True
        ended = {job.id for job in source.jobs(experiment_id) if job.status in TERMINAL_STATUSES}
        left = [target for target in targets if target.job_id not in ended]
        if not left or not all(target.is_gone() for target in left):
            return not left
        deliver_orphans_quietly(settings, DELIVERY_S)
        sink = open_sink(settings)
        try:
            gone = {target.job_id for target in left}
            return close_cancelled(source, sink, experiment_id, gone, asked_by(), sent or "its own end")
        finally:
            sink.close()
    finally:
        source.close()


def _works(settings: Settings, target: Target) -> bool:
    return any(
        job["job_id"] == target.job_id
        for work in live_work(known_spool_dirs(settings), target.host)
        for job in work.jobs
    )
