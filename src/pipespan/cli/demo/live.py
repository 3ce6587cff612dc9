"""The command `pipespan demo`: starts the pipeline as a program of its own and watches it through the database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

import click

from pipespan.cli.options import Invocation, current, store_options
from pipespan.config import Settings, load_settings, process_environment
from pipespan.errors import NotFoundError, StoreError

WATCH_INTERVAL_S: Final = 0.25
APPEAR_S: Final = 60.0
"""The first use makes a database, which takes a while on a slow disk."""

DELIVERY_S: Final = 5.0
"""How long the last rows may be on their way after the pipeline has ended."""

TAIL_LINES: Final = 5
_FORWARDED: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of the demo: where it is, and how it is called.

    Attributes:
        experiment_id: UUID.
        out: folder of the report.
        output: file with what the pipeline prints.
    """

    experiment_id: str
    out: Path
    output: Path

    @property
    def short_id(self) -> str:
        """What a person types."""
        return self.experiment_id[:8]


@click.command("demo")
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=30, show_default=True, help="Stop after this time."
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that parse; 4, or as many as there are CPUs."
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the report.")
@store_options
@click.pass_context
def command(ctx: click.Context, *, seconds: float, workers: int | None, out: Path | None) -> int:
    """Run a real pipeline: measure the Python sources of this machine, in several processes, and watch it live.

    Ctrl-C cancels the pipeline.
    """
    invocation = current(ctx)
    settings = load_settings(dsn=invocation.dsn, state_dir=invocation.state_dir)
    demo = _prepare(settings, out)
    argv = ["--seconds", str(seconds), "--out", str(demo.out), "--experiment-id", demo.experiment_id]
    if workers is not None:
        argv += ["--workers", str(workers)]
    program = [sys.executable, "-m", "pipespan.cli.demo.pipeline", *argv]
    pipeline = PipelineProcess(program, _environment(invocation), demo.output)
    with pipeline:
        start_what_ships(invocation, settings)
        view = None if settings.disabled else _watch(invocation, demo, pipeline)
        code = pipeline.wait()
    _tell(demo, code, _error_count(view), is_recorded=not settings.disabled)
    return code


def start_what_ships(invocation: Invocation, settings: Settings) -> None:
    """Start the watcher while the pipeline loads: when it starts itself, its workers would be busy."""
    if not settings.disabled:
        invocation.services.start_watcher(settings)


class PipelineProcess:
    """The pipeline's process; our signals are passed on to it, once each.

    Args:
        command: starts it.
        env: its environment.
        output: takes what it prints.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], output: Path) -> None:
        self._command = command
        self._env = env
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[int, Any] = {}
        self._ended_s: float | None = None

    def __enter__(self) -> None:
        for number in _FORWARDED:
            self._before[number] = signal.signal(number, self._forward)
        with self._output.open("wb") as output:
            # In a session of its own: Ctrl-C reaches it by us and not its workers, which it ends itself.
            self._process = subprocess.Popen(
                self._command, env=self._env, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self.wait()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait(self) -> int:
        """Wait for the end; return the exit code as a shell does."""
        if self._process is None:
            return 0
        code = self._process.wait()
        return 128 - code if code < 0 else code

    def is_gone(self, clock: Callable[[], float]) -> bool:
        """Tell whether it ended so long ago that nothing more is to come."""
        if self._process is None or self._process.poll() is None:
            return False
        if self._ended_s is None:
            self._ended_s = clock()
        return clock() - self._ended_s > DELIVERY_S

    def _forward(self, number: int, frame: FrameType | None) -> None:
        # The workers are in its session, so they are told by the pipeline and not by the signal.
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)


def _prepare(settings: Settings, out: Path | None) -> Demo:
    experiment_id = str(uuid.uuid4())
    folder = out or settings.state_dir / f"demo-{experiment_id[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(
            f"cannot write to {str(folder)!r}: {(error.strerror or str(error)).lower()}; give another folder by --out"
        ) from error
    return Demo(experiment_id, folder, folder / "output.log")


def _environment(invocation: Invocation) -> dict[str, str]:
    environ = process_environment()
    if invocation.dsn is not None:
        environ["PIPESPAN_DSN"] = invocation.dsn
    if invocation.state_dir is not None:
        environ["PIPESPAN_STATE_DIR"] = os.fspath(invocation.state_dir)
    return environ


def _watch(invocation: Invocation, demo: Demo, pipeline: PipelineProcess) -> Any:
    """Show the experiment until it ends; None when it cannot be seen. The pipeline goes on in any case."""
    from pipespan.cli.output import open_console  # noqa: PLC0415 - loads rich, which a start need not wait for
    from pipespan.cli.watch import Pacing, watch_until_end  # noqa: PLC0415 - as above

    pacing = Pacing(WATCH_INTERVAL_S, APPEAR_S, lambda: pipeline.is_gone(invocation.clock), invocation)
    try:
        with invocation.open_source() as source:
            return watch_until_end(source, demo.experiment_id, open_console(), pacing)
    except NotFoundError:
        click.echo(
            "pipespan: the experiment does not appear in the database; the pipeline runs to its end", err=True
        )
    except StoreError as error:
        click.echo(f"pipespan: no live view, {error}; the pipeline runs to its end", err=True)
    return None


def _error_count(view: Any) -> int | None:
    return None if view is None else int(view.experiment.error_count)


def _tell(demo: Demo, code: int, errors: int | None, *, is_recorded: bool) -> None:
    """Say how it went and what to type next."""
    report = demo.out / "report.md"
    if report.exists():
        unparsable = len(json.loads((demo.out / "report.json").read_text(encoding="utf-8"))["unparsable"])
        found = f"{errors} errors recorded" if errors is not None else f"{unparsable} files do not parse"
        click.echo(f"\nreport   {report}\nerrors   {found}")
    elif code == 128 + signal.SIGINT:
        click.echo("\ncancelled by Ctrl-C", err=True)
    elif code != 0:
        tail = demo.output.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
        click.echo(
            "\n".join(["", *tail, f"the pipeline ended with exit code {code}; see {demo.output}"]), err=True
        )
    if is_recorded and errors is not None:
        name = demo.short_id
        click.echo(
            f"next     pipespan status {name}\n         pipespan errors {name}\n         pipespan logs {name}"
        )
    elif is_recorded:
        click.echo("next     pipespan ship   (delivers what waits in the spool)")
