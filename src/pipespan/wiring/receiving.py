"""The OTLP receiver, put together: who may send, how many processes, and one process of it."""

from __future__ import annotations

import os
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pipespan.config import Settings, process_environment
from pipespan.model.semconv import ENV_DSN, ENV_SERVE_TOKEN, ENV_STATE_DIR, SERVE_TOKEN_FILE
from pipespan.receiver.options import ServeOptions

if TYPE_CHECKING:
    from pathlib import Path

_LOOK_S: Final = 0.1
_RESTART_S: Final = 0.5
_MAX_DELAY_S: Final = 30.0
_STEADY_S: Final = 60.0
"""A worker that has run so long has found its feet: should it die, it is started again at once."""
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
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    crew = _Crew(_command(options), environ, options.workers)
    try:
        if not crew.wait_until_ready(stopping):
            return crew.exit_code
        on_ready(options.grpc_port, options.http_port)
        while not stopping.wait(_LOOK_S):
            crew.restart_dead()
    finally:
        crew.stop()
    return 0


class _Crew:
    """The processes that share the ports.

    Args:
        line: command of one of them.
        environ: its environment.
        count: how many there are.
    """

    def __init__(self, line: Sequence[str], environ: Mapping[str, str], count: int) -> None:
        self._line = list(line)
        self._environ = dict(environ)
        self._workers = [self._start() for _ in range(count)]
        self._may_start_at_s = [0.0] * count
        self._delays_s = [_RESTART_S] * count
        self.exit_code = 1

    def wait_until_ready(self, stopping: threading.Event) -> bool:
        """Wait until each one listens; False when one of them cannot, or when it is to end."""
        for worker in self._workers:
            assert worker.stdout is not None  # noqa: S101 - a pipe, see _start
            while not select.select([worker.stdout], [], [], _LOOK_S)[0]:
                if stopping.is_set():
                    return False
            if not worker.stdout.readline():
                self.exit_code = worker.wait() or 1
                return False
        return True

    def restart_dead(self) -> None:
        """Start those again that have ended; one that ends again and again waits longer each time."""
        now_s = time.monotonic()
        for index, worker in enumerate(self._workers):
            if worker.poll() is None:
                if now_s - self._may_start_at_s[index] > _STEADY_S:
                    self._delays_s[index] = _RESTART_S
                continue
            if now_s < self._may_start_at_s[index]:
                continue
            self._may_start_at_s[index] = now_s + self._delays_s[index]
            self._delays_s[index] = min(2 * self._delays_s[index], _MAX_DELAY_S)
            _close_pipes(worker)
            self._workers[index] = self._start()

    def stop(self) -> None:
        """Let each end what it has in work; kill those that do not."""
        for worker in self._workers:
            worker.terminate()
        deadline_s = time.monotonic() + _STOP_S
        for worker in self._workers:
            try:
                worker.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            _close_pipes(worker)

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own, so that Ctrl-C reaches it once, from here; the pipe tells it when this process is gone.
        return subprocess.Popen(
            self._line, env=self._environ, start_new_session=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip


def _close_pipes(worker: subprocess.Popen[bytes]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            pipe.close()


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
