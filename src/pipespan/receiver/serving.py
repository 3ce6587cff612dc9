"""Runs both transports until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc
import uvicorn

from pipespan.receiver.auth import Gate
from pipespan.receiver.guarded import GuardedProtocol
from pipespan.receiver.http import HttpReceiver
from pipespan.receiver.intake import Intake
from pipespan.receiver.options import ServeOptions
from pipespan.receiver.room import Room
from pipespan.receiver.rpc import grpc_server

STOP_S: Final = 10.0
"""What is in work may take so long to end when the server is told to stop."""

KEEP_ALIVE_S: Final = 75
"""A connection without requests is kept so long: who is closed on just when he sends has to send again."""

_BACKLOG: Final = 1024
_GC_THRESHOLD: Final = 20_000
"""A request of a thousand spans makes some thousand objects that are all gone soon after."""
_WANTED_FILES: Final = 16_384


def serve(
    make_intake: Callable[[], Intake], gate: Gate, options: ServeOptions, *, on_ready: Callable[..., Any]
) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted by then is written.

    Args:
        make_intake: makes what writes requests.
        gate: lets senders in.
        options: where.
        on_ready: called with (grpc port, http port) once both listen.

    Raises:
        OSError: an address cannot be used.
    """
    _allow_files()
    asyncio.run(_serve(make_intake, gate, options, on_ready))


async def _serve(
    make_intake: Callable[[], Intake], gate: Gate, options: ServeOptions, on_ready: Callable[..., Any]
) -> None:
    loop, stop, room = asyncio.get_running_loop(), asyncio.Event(), Room()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.is_shared:
        # The parent holds the other end: when it is gone in whatever way, nobody looks after this one any more.
        loop.add_reader(sys.stdin.fileno(), lambda: _stop_at_end(loop, stop))
    intake = make_intake()
    rpc, grpc_port = await _listen_grpc(intake, gate, room, options)
    server = _http_server(intake, gate, room, options)
    listener: socket.socket | None = None
    serving: asyncio.Task[None] | None = None
    if options.http_port is not None:
        listener = _listen(options.host, options.http_port, is_shared=options.is_shared)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
    # What is loaded by now stays; the collector need not look at it again and again while requests come and go.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    on_ready(grpc_port, None if listener is None else listener.getsockname()[1])
    await stop.wait()
    server.should_exit = True
    await asyncio.gather(*([serving] if serving else []), *([rpc.stop(STOP_S)] if rpc else []))
    await loop.run_in_executor(None, intake.close, STOP_S)


def _stop_at_end(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1):
        loop.remove_reader(sys.stdin.fileno())
        stop.set()


async def _listen_grpc(
    intake: Intake, gate: Gate, room: Room, options: ServeOptions
) -> tuple[Any | None, int | None]:
    if options.grpc_port is None:
        return None, None
    server = grpc_server(intake, gate, room, is_shared=options.is_shared)
    place = f"{_bracketed(options.host)}:{options.grpc_port}"
    try:
        if options.certificate is None:
            port = server.add_insecure_port(place)
        else:
            port = server.add_secure_port(place, _credentials(options))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {place}; is another receiver running there?") from error
    await server.start()
    return server, port


def _credentials(options: ServeOptions) -> Any:
    key, chain = Path(options.key or "").read_bytes(), Path(options.certificate or "").read_bytes()
    return grpc.ssl_server_credentials([(key, chain)])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _http_server(intake: Intake, gate: Gate, room: Room, options: ServeOptions) -> uvicorn.Server:
    server = uvicorn.Server(
        uvicorn.Config(
            HttpReceiver(intake, gate, room), log_config=None, access_log=False, lifespan="off",
            server_header=False, proxy_headers=False, http=GuardedProtocol, ws="none", timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(STOP_S), ssl_certfile=options.certificate, ssl_keyfile=options.key,
            backlog=_BACKLOG,
        )
    )  # fmt: skip
    # Signals are for both transports, so they are handled in one place.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return server


def _listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, or asyncio would not know that its connections are of TCP, and answers would wait 40 ms for one another.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # from now on senders wait instead of being turned away
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


def _allow_files() -> None:
    """Let this process have as many connections as it may: the usual limit is below what senders may come to."""
    try:
        import resource  # noqa: PLC0415 - not on all systems
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(_WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
