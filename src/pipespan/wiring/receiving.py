"""The OTLP receiver, put together: who may send, how many processes, and one process of it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from pipespan.config import Settings, process_environment
from pipespan.model.semconv import ENV_DSN, ENV_SERVE_TOKEN, ENV_STATE_DIR, SERVE_TOKEN_FILE
from pipespan.receiver.options import ServeOptions

if TYPE_CHECKING:
    from pathlib import Path

_RESTART_S: Final = 1.0
_STOP_S: Final = 15.0


def receive(
    settings: Settings, options: ServeOptions, on_ready: Callable[[int | None, int | None], None]
) -> int:
    """Serve until told to stop; return the exit code.

    Raises:
        StoreError: the database cannot be used.
        OSError: an address cannot be used.
    """
    if options.workers > 1:
        return _receive_in_workers(settings, options, on_ready)
    from pipespan.wiring.receive import receive_here  # noqa: PLC0415 - loads grpc and uvicorn

    receive_here(settings, options, on_ready)
    return 0


def serve_token(settings: Settings) -> str:
    """Return the token that senders have to show; makes and keeps one when none is set."""
    if settings.serve_token:
        return settings.serve_token
    path = token_file(settings)
    try:
        known = path.read_text().strip()
    except FileNotFoundError:
        known = ""
    if known:
        return known
    made = secrets.token_urlsafe(24)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made + "\n")
    except FileExistsError:  # another receiver was faster
        time.sleep(0.05)
        return serve_token(settings)
    return made


def token_file(settings: Settings) -> Path:
    """Return where a token that was made is kept."""
    return settings.state_dir / SERVE_TOKEN_FILE


def _receive_in_workers(
    settings: Settings, options: ServeOptions, on_ready: Callable[[int | None, int | None], None]
) -> int:
    """Serve in several processes that share the ports, and start those again that die."""
    environ = process_environment()
    environ[ENV_STATE_DIR] = str(settings.state_dir)
    # Neither among the arguments, which everybody on the host can read.
    if settings.dsn is not None:
        environ[ENV_DSN] = settings.dsn
    if options.needs_token:
        environ[ENV_SERVE_TOKEN] = serve_token(settings)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda given, _frame: stopping.append(given))
    line = _command(options)
    workers = [_start(line, environ) for _ in range(options.workers)]
    started = time.monotonic()
    on_ready(options.grpc_port, options.http_port)
    while not stopping:
        time.sleep(0.1)
        for index, worker in enumerate(workers):
            if worker.poll() is None:
                continue
            if time.monotonic() - started < _RESTART_S:  # it cannot work at all
                _stop(workers)
                return worker.returncode or 1
            time.sleep(_RESTART_S)
            workers[index] = _start(line, environ)
    _stop(workers)
    return 0


def _command(options: ServeOptions) -> list[str]:
    def port(number: int | None) -> str:
        return "-1" if number is None else str(number)

    line = [
        sys.executable, "-m", "pipespan", "serve", "--shared-ports", "--host", options.host,
        "--grpc-port", port(options.grpc_port), "--http-port", port(options.http_port),
    ]  # fmt: skip
    if options.certificate is not None and options.key is not None:
        line += ["--tls-cert", options.certificate, "--tls-key", options.key]
    return line if options.needs_token else [*line, "--no-token"]


def _start(line: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    # A group of its own, so that Ctrl-C reaches the workers once, from here.
    return subprocess.Popen(list(line), env=environ, start_new_session=True)


def _stop(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + _STOP_S
    for worker in workers:
        try:
            worker.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
