"""Runs both transports until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
import uvicorn

from pipespan.receiver.auth import Gate
from pipespan.receiver.http import HttpReceiver
from pipespan.receiver.intake import Intake
from pipespan.receiver.options import ServeOptions
from pipespan.receiver.rpc import grpc_server

MAX_WAITING: Final = 256
"""Requests in work or waiting, in each transport; senders above it are asked to come again."""

STOP_S: Final = 10.0
"""What is in work may take so long to end when the server is told to stop."""

MAX_CONNECTIONS: Final = 2_000

_BACKLOG: Final = 512


def serve(intake: Intake, gate: Gate, options: ServeOptions, *, threads: int, on_ready: Any) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted by then is written.

    Args:
        intake: writes requests.
        gate: lets senders in.
        options: where.
        threads: requests processed at the same time, in each transport.
        on_ready: called with (grpc port, http port) once both listen.

    Raises:
        OSError: an address cannot be used.
    """
    rpc, grpc_port = _listen_grpc(intake, gate, options, threads)
    asyncio.run(_serve_http(intake, gate, options, threads, rpc, grpc_port, on_ready))


def _listen_grpc(
    intake: Intake, gate: Gate, options: ServeOptions, threads: int
) -> tuple[Any | None, int | None]:
    if options.grpc_port is None:
        return None, None
    server = grpc_server(intake, gate, threads=threads, max_waiting=MAX_WAITING, is_shared=options.is_shared)
    place = f"{_bracketed(options.host)}:{options.grpc_port}"
    try:
        if options.certificate is None:
            port = server.add_insecure_port(place)
        else:
            port = server.add_secure_port(place, _credentials(options))
    except RuntimeError as error:
        raise OSError(f"cannot listen on {place}; is another receiver running there?") from error
    server.start()
    return server, port


def _credentials(options: ServeOptions) -> Any:
    key, chain = Path(options.key or "").read_bytes(), Path(options.certificate or "").read_bytes()
    return grpc.ssl_server_credentials([(key, chain)])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def _serve_http(
    intake: Intake,
    gate: Gate,
    options: ServeOptions,
    threads: int,
    rpc: Any,
    grpc_port: int | None,
    on_ready: Any,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pipespan-otlp-http")
    listener: socket.socket | None = None
    serving: asyncio.Task[None] | None = None
    server = _http_server(intake, gate, options, pool)
    if options.http_port is not None:
        listener = _listen(options.host, options.http_port, is_shared=options.is_shared)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
    http_port = listener.getsockname()[1] if listener is not None else None
    on_ready(grpc_port, http_port)
    await stop.wait()
    ended = rpc.stop(STOP_S) if rpc is not None else None
    if serving is not None:
        server.should_exit = True
        await serving
    if ended is not None:
        await loop.run_in_executor(None, ended.wait, STOP_S)
    pool.shutdown()
    intake.close()


def _http_server(
    intake: Intake, gate: Gate, options: ServeOptions, pool: ThreadPoolExecutor
) -> uvicorn.Server:
    server = uvicorn.Server(
        uvicorn.Config(
            HttpReceiver(intake, gate, pool, max_waiting=MAX_WAITING), log_config=None, access_log=False,
            lifespan="off", server_header=False, limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=int(STOP_S), ssl_certfile=options.certificate, ssl_keyfile=options.key,
        )
    )  # fmt: skip
    # Signals are for both transports, so they are handled in one place.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    return server


def _listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
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
