"""Stops a process of the registry, whoever is still there to do it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from pipespan.errors import PipespanError
from pipespan.supervise.child import send_to_group
from pipespan.supervise.processes import OPEN_STATES, ProcessEntry
from pipespan.supervise.registry import Registry, StopRequest
from pipespan.supervise.standing import Standing, now_unix_ns

SUPERVISOR_GRACE_S: Final = 15.0
"""What a supervisor may take to end after its command: the database may have the rest of the rows meanwhile."""

_POLL_S: Final = 0.05


class StopFailedError(PipespanError):
    """A process could not be stopped."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """What came of a stop.

    Attributes:
        entry: as it stands now.
        was_running: whether there was anything to stop.
    """

    entry: ProcessEntry
    was_running: bool


def stop_process(
    registry: Registry, name: str, request: StopRequest, *, sleep: Callable[[float], None] = time.sleep
) -> Stopped:
    """Stop a process with all that it started: SIGTERM, and after the time that `request` gives SIGKILL.

    Raises:
        NotFoundError: there is none of this name.
        StopFailedError: it is not ours to stop, or it does not end.
    """
    entry, standing = registry.get(name)
    if standing.word == "unknown":
        raise StopFailedError(f"cannot stop {name!r}: {standing.reason}")
    if standing.word == "starting":
        raise StopFailedError(f"cannot stop {name!r}: it is about to start; try again")
    if entry.state not in OPEN_STATES and standing.has_supervisor:
        _wait_until_gone(registry, name, SUPERVISOR_GRACE_S, sleep)
        return Stopped(entry, was_running=False)
    if standing.has_supervisor:
        _stop_supervised(registry, entry, request, sleep)
    elif standing.has_child:
        _stop_orphan(registry, entry, standing, request, sleep)
    else:
        return Stopped(entry, was_running=False)
    return Stopped(registry.get(name)[0], was_running=True)


def _stop_supervised(
    registry: Registry, entry: ProcessEntry, request: StopRequest, sleep: Callable[[float], None]
) -> None:
    registry.request_stop(entry.name, request)
    _signal(entry, signal.SIGTERM)
    # It kills the command in time, twice at most: the leader, then what stayed of its group.
    if _wait_until_gone(registry, entry.name, 2 * request.timeout_s + SUPERVISOR_GRACE_S, sleep):
        return
    # A supervisor that hangs must not keep the command alive.
    current, standing = registry.get(entry.name)
    if standing.has_child and current.child is not None:
        send_to_group(current.child.pid, signal.SIGKILL)
    if standing.has_supervisor:
        _signal(current, signal.SIGKILL)
        sleep(_POLL_S)
    if registry.get(entry.name)[1].has_supervisor:
        raise StopFailedError(
            f"cannot stop {entry.name!r}: process {_pid(entry)} does not end even by SIGKILL"
        )


def _wait_until_gone(registry: Registry, name: str, wait_s: float, sleep: Callable[[float], None]) -> bool:
    deadline = time.monotonic() + wait_s
    while registry.get(name)[1].has_supervisor:
        if time.monotonic() >= deadline:
            return False
        sleep(_POLL_S)
    return True


def _stop_orphan(
    registry: Registry, entry: ProcessEntry, standing: Standing, request: StopRequest,
    sleep: Callable[[float], None],
) -> None:  # fmt: skip
    group = 0 if entry.child is None else entry.child.pid
    send_to_group(group, signal.SIGTERM)
    deadline = time.monotonic() + request.timeout_s
    while registry.get(entry.name)[1].has_child and time.monotonic() < deadline:
        sleep(_POLL_S)
    # What it started may be there although it has gone.
    send_to_group(group, signal.SIGKILL)
    ended = replace(
        entry, state="cancelled", reason=f"stopped by {request.by} ({standing.reason})",
        ended_at_unix_ns=now_unix_ns(),
    )  # fmt: skip
    registry.write(ended)


def _signal(entry: ProcessEntry, number: int) -> None:
    try:
        os.kill(_pid(entry), number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise StopFailedError(
            f"cannot stop {entry.name!r}: process {_pid(entry)} is another user's"
        ) from error


def _pid(entry: ProcessEntry) -> int:
    return 0 if entry.supervisor is None else entry.supervisor.pid
