"""Where the courier of a state folder and database is found: it is the watcher's other half."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipespan._version import __version__
from pipespan.config import Settings, process_environment
from pipespan.spool.owner import this_process
from pipespan.store.courier.client import CourierGoneError, CourierSink, NotLetInError
from pipespan.store.courier.door import has_name
from pipespan.wiring.watching import has_place, is_watched, lock_path

if TYPE_CHECKING:
    from pipespan.store.courier.server import Courier

START_S: Final = 5.0
"""A watcher that has just been started listens after a third of a second; on a busy machine it takes longer."""

STANDING_S: Final = 3.0
"""One that runs listens already, or is about to: where it does not, it may be on another host of a shared folder."""

_POLL_S: Final = 0.03


def socket_path(settings: Settings) -> Path | None:
    """Return where the courier of these settings listens; None where no socket can stand."""
    path = lock_path(settings).with_suffix(".sock")
    return path if has_name(path) else None


def pass_phrase(settings: Settings) -> str:
    """Return what program and courier must agree on: their versions, and all that leads to the database.

    The same name of a host may mean another one in another container, even where both share the state folder; and
    files of passwords are looked for in the home folder.
    """
    environ = process_environment()
    variables = sorted(
        (name, value) for name, value in environ.items() if name.startswith("PG") or name == "HOME"
    )
    user = os.geteuid() if hasattr(os, "geteuid") else None
    host = (this_process().host, *map(_namespace, ("net", "mnt")))
    database = (settings.dsn, settings.schema, str(settings.state_dir), settings.retain)
    return hashlib.sha256(json.dumps([__version__, user, *host, *database, variables]).encode()).hexdigest()


def _namespace(kind: str) -> str | None:
    """Return which namespace this process is in; None where the system has none, or does not tell."""
    try:
        return str(Path(f"/proc/self/ns/{kind}").readlink())
    except OSError:
        return None


def reach(
    settings: Settings, start_watcher: Callable[[], None], is_pressing: Callable[[], bool]
) -> CourierSink | None:
    """Return a sink to the courier, which is started if need be and waited for; None where none is to be had.

    Args:
        settings: whose folder, and which database.
        start_watcher: starts the watcher when there is none.
        is_pressing: whether there is no time to wait: for one that is just coming up, or for batches of others.
    """
    path = socket_path(settings)
    if path is None or not has_place(settings):
        return None
    phrase = pass_phrase(settings)
    longest_s = STANDING_S if is_watched(settings) else START_S
    start_watcher()
    deadline = time.monotonic() + longest_s
    while True:
        try:
            return CourierSink(path, phrase, is_pressing)
        except NotLetInError:
            return None
        except CourierGoneError:
            if is_pressing() or time.monotonic() >= deadline:
                return None
        time.sleep(_POLL_S)


def start_courier(settings: Settings) -> Courier | None:
    """Begin to ship for others, in threads of this process; None where that cannot be."""
    from pipespan.spool.rounds import Rounds  # noqa: PLC0415 - for the watcher alone
    from pipespan.store.courier.server import Courier  # noqa: PLC0415 - as above
    from pipespan.wiring.stores import open_request_sink  # noqa: PLC0415 - as above

    path = socket_path(settings)
    if path is None:
        return None
    try:
        courier = Courier(path, pass_phrase(settings), lambda: open_request_sink(settings), Rounds)
    except OSError:
        return None
    courier.start()
    return courier
