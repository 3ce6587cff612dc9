"""Puts a command into the background, and says what will become of it."""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pipespan.cli.options import Invocation
from pipespan.config import process_environment, tuned_for_memory
from pipespan.errors import UsageError
from pipespan.model.semconv import ENV_DSN, ENV_STATE_DIR
from pipespan.record.identity import user_name
from pipespan.supervise.detach import DetachError, Report, start_detached
from pipespan.supervise.logfile import LogPlace
from pipespan.supervise.logout import Verdict, gather, judge
from pipespan.supervise.naming import command_name
from pipespan.supervise.processes import OPEN_STATES, ProcessEntry, Spec
from pipespan.supervise.registry import NameTakenError, Registry, registry_of
from pipespan.supervise.restart import RestartPolicy
from pipespan.supervise.standing import finder, now_unix_ns, standing_of

if TYPE_CHECKING:
    from pipespan.config import Settings

EXIT_FAILURE: Final = 1

LEAVING_S: Final = 10.0
"""A supervisor that delivers its last rows is waited for no longer."""

_BOOTSTRAP: Final = (
    "import sys; del sys.path[0]; from pipespan.cli import supervisor; supervisor.main(sys.argv[1:])"
)
"""Starts the supervisor; modules in the working folder are the command's and must not be taken for Python's."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is to go on in the background; see the options of `pipespan run`."""

    name: str | None
    argv: Sequence[str]
    params: Mapping[str, Any]
    tags: Sequence[str]
    policy: RestartPolicy
    log_dir: Path | None
    log_bytes: int
    log_files: int


def run_detached(invocation: Invocation, launch: Launch, *, quiet: bool) -> int:
    """Start a supervisor for the command and return once that runs."""
    settings = invocation.settings()
    registry = registry_of(settings.state_dir)
    if launch.name is not None:
        registry.check_name(launch.name)
    name = launch.name or registry.free_name(command_name(launch.argv))
    log_dir = (
        settings.state_dir / "logs" if launch.log_dir is None else launch.log_dir.expanduser().absolute()
    )
    spec = Spec(
        argv=tuple(launch.argv),
        cwd=str(Path.cwd()),
        title=launch.name or command_name(launch.argv),
        params=launch.params,
        tags=tuple(launch.tags),
        policy=launch.policy,
        log=LogPlace(log_dir / f"{name}.jsonl", launch.log_bytes, launch.log_files),
    )
    entry = ProcessEntry(name, spec, uuid.uuid4().hex, "starting", now_unix_ns())
    try:
        return start(registry, entry, settings, quiet=quiet)
    except OSError as error:
        raise DetachError(
            f"cannot write to {str(registry.folder)!r}: {error}; set PIPESPAN_STATE_DIR"
        ) from error


def start(registry: Registry, entry: ProcessEntry, settings: Settings, *, quiet: bool) -> int:
    """Start a supervisor for `entry`, tell how that went and return the exit code.

    Raises:
        NameTakenError: a process of this name runs.
    """
    if not hasattr(os, "fork"):
        raise UsageError("there is no background here; run it by the system's own scheduler")
    _wait_for_leaving(registry, entry.name)
    with registry.claimed(entry.name) as is_ours:
        known = registry.read(entry.name) if is_ours else None
        standing = None if known is None else standing_of(known, finder(), now_unix_ns())
        if not is_ours or (standing is not None and (standing.has_supervisor or standing.has_child)):
            raise NameTakenError(
                f"a process {entry.name!r} runs already; `pipespan stop {entry.name}` ends it"
            )
        registry.write(entry)
    try:
        report = _launch(registry, entry, settings)
    except DetachError as error:
        registry.write(replace(entry, state="failed", reason=str(error), ended_at_unix_ns=now_unix_ns()))
        raise
    return _tell(entry, report, quiet=quiet)


def _wait_for_leaving(registry: Registry, name: str) -> None:
    """Let a supervisor go whose command has ended, and which delivers its last rows."""
    deadline = time.monotonic() + LEAVING_S
    while time.monotonic() < deadline:
        known = registry.read(name)
        if known is None or known.state in OPEN_STATES or not registry.heal(known)[1].has_supervisor:
            return
        time.sleep(0.05)


def _launch(registry: Registry, entry: ProcessEntry, settings: Settings) -> Report:
    environ = tuned_for_memory(process_environment())
    # By the environment: what stands in arguments is for everybody to see.
    environ[ENV_STATE_DIR] = str(settings.state_dir)
    if settings.dsn is not None:
        environ[ENV_DSN] = settings.dsn
    argv = [sys.executable, "-c", _BOOTSTRAP, entry.name, entry.token]
    return start_detached(argv, environ, entry.spec.cwd, registry.error_path(entry.name))


def _tell(entry: ProcessEntry, report: Report, *, quiet: bool) -> int:
    if report.problem:
        click.echo(f"pipespan: {report.problem}", err=True)
    if not report.child_pid:
        return EXIT_FAILURE
    name = entry.name
    if quiet:
        click.echo(name)
    else:
        experiment = (
            f"experiment {report.experiment_id[:8]}" if report.experiment_id else "nothing is recorded"
        )
        click.echo(f"{name}: process {report.child_pid}, {experiment}, output in {entry.spec.log.path}")
        click.echo(f"see `pipespan attach {name}`, `pipespan stop {name}`, `pipespan ps`")
    _warn(_verdict())
    return 0


def _verdict() -> Verdict:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return judge(gather(process_environment(), user_name() or "", is_root=is_root))


def _warn(verdict: Verdict) -> None:
    if verdict.survives:
        return
    word = "will not survive" if verdict.survives is False else "may not survive"
    click.echo(f"pipespan: it {word} your logout: {verdict.reason}; {verdict.remedy}", err=True)
