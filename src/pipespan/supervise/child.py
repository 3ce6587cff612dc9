"""Starts a command the way a shell would, and waits for it the way a shell would."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from pipespan.supervise.outlet import Outlet, open_outlet
from pipespan.supervise.relay import OnBytes, Relay
from pipespan.supervise.signals import Canary, Handlers, Inbox

DRAIN_S: Final = 2.0
"""How long to listen to a stream that a grandchild holds open after the child has gone."""

KILL_WAIT_S: Final = 2.0
"""So long a killed process may take to go; one that waits for a disk takes longer than anybody wants to wait."""

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a command ended.

    Attributes:
        exit_code: its exit status; None when a signal ended it.
        signal: the signal that ended it.
        problem: why it could not be started, or what went wrong beside it; one line.
        received: the signals that we were sent meanwhile, in order.
    """

    exit_code: int | None
    signal: int | None
    problem: str | None = None
    received: tuple[int, ...] = ()

    @property
    def return_code(self) -> int:
        """What a shell returns for it: the exit status, or 128 and the signal."""
        return 128 + self.signal if self.signal is not None else self.exit_code or 0


def _ignore_start(pid: int) -> None:
    pass


def _ignore_end(exit_code: int | None, exit_signal: int | None) -> None:
    pass


@dataclass(frozen=True, slots=True)
class StartOptions:
    """How a child is started.

    Attributes:
        is_apart: in a session and a process group of its own; signals are then for its whole group.
        on_start: is told its pid.
        on_end: is told its exit code and the signal that ended it, as soon as it has ended; one of them is None.
    """

    is_apart: bool = False
    on_start: Callable[[int], None] = _ignore_start
    on_end: Callable[[int | None, int | None], None] = _ignore_end


@dataclass(slots=True)
class _Running:
    """A child, and the signals that came for it."""

    outlets: tuple[Outlet, Outlet]
    canary: Canary | None
    process: subprocess.Popen[bytes] | None = None
    received: list[int] = field(default_factory=list)
    forwarding: list[asyncio.Task[None]] = field(default_factory=list)

    def take(self, number: int) -> None:
        """Note a signal, and forward it unless the child got it with us."""
        self.received.append(number)
        self.forwarding.append(asyncio.ensure_future(self._forward(number)))

    def resize(self) -> None:
        """Give the child's terminals the size of ours, and tell the child."""
        for outlet in self.outlets:
            outlet.copy_window_size()
        self._send(signal.SIGWINCH)

    async def _forward(self, number: int) -> None:
        if sys.platform == "win32":
            return
        if self.canary is None:
            # A child with a group of its own gets nothing that is sent to ours, and its own children are in there.
            if self.process is not None and self.process.returncode is None:
                send_to_group(self.process.pid, number)
        elif not await self.canary.died_too(number):
            self._send(number)

    def close(self) -> None:
        """End what helped."""
        if self.canary is not None:
            self.canary.close()

    def _send(self, number: int) -> None:
        # `returncode` is set as soon as the process is reaped, so the signal cannot meet another with its pid.
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)


async def run_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    targets: tuple[int, int],
    on_stdout: OnBytes,
    on_stderr: OnBytes,
    start: StartOptions | None = None,
    inbox: Inbox | None = None,
) -> ChildExit:
    """Run `argv` to its end, its streams going on to the descriptors `targets` and shown to the callbacks.

    Unless `start` says otherwise the child stays in our process group and session. It has our stdin. Signals are
    for it alone: we go on until it has ended. They come from `inbox`; without one we listen for ourselves.
    """
    if inbox is None:
        inbox = Inbox()
        with Handlers(inbox.take, inbox.resize):
            return await run_child(
                argv,
                env=env,
                targets=targets,
                on_stdout=on_stdout,
                on_stderr=on_stderr,
                start=start,
                inbox=inbox,
            )
    options = StartOptions() if start is None else start
    outlets = (open_outlet(targets[0]), open_outlet(targets[1]))
    running = _Running(outlets, None if options.is_apart else Canary())
    # Three threads: two writers and one waiter.
    with closing(running), ThreadPoolExecutor(3, thread_name_prefix="pipespan-run") as executor:
        relays = [
            Relay(outlet, on_bytes, executor)
            for outlet, on_bytes in zip(outlets, (on_stdout, on_stderr), strict=True)
        ]
        # Before the start: a signal that comes meanwhile waits in the loop until there is a child to tell.
        with inbox.listened(running.take, running.resize):
            try:
                running.process = _start(argv, env, outlets, is_apart=options.is_apart)
            except OSError as error:
                return _start_failure(argv[0], error)
            options.on_start(running.process.pid)
            await _attend(running.process, relays, executor, options.on_end)
            await asyncio.gather(*running.forwarding)
    problems = [f"could not pass on the output; {relay.error}" for relay in relays if relay.error]
    return _exit_of(running.process.returncode, problems[0] if problems else None, tuple(running.received))


def _start(
    argv: Sequence[str], env: Mapping[str, str], outlets: tuple[Outlet, Outlet], *, is_apart: bool
) -> subprocess.Popen[bytes]:
    out, err = outlets
    try:
        return subprocess.Popen(
            argv, env=dict(env), stdout=out.write_end, stderr=err.write_end, start_new_session=is_apart
        )
    except OSError:
        for outlet in outlets:
            outlet.close()
        raise
    finally:
        for outlet in outlets:
            outlet.close_write_end()


async def _attend(
    process: subprocess.Popen[bytes],
    relays: Sequence[Relay],
    executor: Executor,
    on_end: Callable[[int | None, int | None], None],
) -> None:
    """Stay with the child until it has ended and its streams have."""
    relaying = [asyncio.ensure_future(relay.run()) for relay in relays]
    await asyncio.get_running_loop().run_in_executor(executor, process.wait)
    ended = _exit_of(process.returncode, None, ())
    on_end(ended.exit_code, ended.signal)
    await asyncio.wait(relaying, timeout=DRAIN_S)
    for relay in relays:
        relay.stop()
    await asyncio.gather(*relaying)


def _exit_of(returncode: int, problem: str | None, received: tuple[int, ...]) -> ChildExit:
    if returncode < 0:
        return ChildExit(None, -returncode, problem, received)
    return ChildExit(returncode, None, problem, received)


def _start_failure(command: str, error: OSError) -> ChildExit:
    if isinstance(error, FileNotFoundError):
        return ChildExit(NOT_FOUND, None, f"command not found: {command!r}")
    reason = error.strerror or type(error).__name__
    return ChildExit(NOT_EXECUTABLE, None, f"cannot execute {command!r}: {reason.lower()}")


if sys.platform != "win32":

    def send_to_group(group: int, number: int) -> bool:
        """Send a signal to a process group, 0 to none of its processes; tell whether there is such a group."""
        try:
            os.killpg(group, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Some of them have become somebody else's; the others have got it.
            return True
        return True

else:

    def send_to_group(group: int, number: int) -> bool:
        """Send a signal to a process, as there are no groups; tell whether there is such a process."""
        with contextlib.suppress(OSError):
            os.kill(group, number)
            return True
        return False


async def end_group(group: int, grace_s: float) -> bool:
    """Have all processes of a group end, by SIGTERM and after the grace by SIGKILL; tell whether force was needed."""
    if not send_to_group(group, signal.SIGTERM) or await _is_empty(group, grace_s):
        return False
    send_to_group(group, getattr(signal, "SIGKILL", signal.SIGTERM))
    await _is_empty(group, KILL_WAIT_S)
    return True


async def _is_empty(group: int, wait_s: float) -> bool:
    deadline = asyncio.get_running_loop().time() + wait_s
    while send_to_group(group, 0):
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(0.02)
    return True
