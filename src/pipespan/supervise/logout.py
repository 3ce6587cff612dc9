"""Will a process that is started here outlive the logout of its user? Asked of systemd before it matters."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ASK_S: Final = 2.0

_SESSION: Final = re.compile(r"/session-[^/]+\.scope(/|$)")
_USER_MANAGER: Final = re.compile(r"/user@\d+\.service(/|$)")
_SLURM: Final = re.compile(r"/(slurm[^/]*|slurmstepd\.scope)/.*job_?(\d+)")
_LOGIND: Final = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """What a verdict rests on.

    Attributes:
        cgroup: the process's control group, as `/proc/self/cgroup` has it; empty where there are none.
        user: who runs it.
        is_root: whether that is root, which logind spares by default.
        kills_user_processes: logind's setting KillUserProcesses, None when it cannot be asked.
        lingers: whether the user's manager goes on without a session.
        slurm_job: number of the batch job around us.
    """

    cgroup: str
    user: str
    is_root: bool = False
    kills_user_processes: bool | None = None
    lingers: bool = False
    slurm_job: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it survives.

    Attributes:
        survives: None when nobody can tell.
        reason: why not, or why it is unknown; empty when it survives.
        remedy: what to do about it; empty when there is nothing.
    """

    survives: bool | None
    reason: str = ""
    remedy: str = ""


def judge(facts: LoginFacts) -> Verdict:
    """Return what happens at the logout to a process in a session of its own."""
    if facts.slurm_job is not None:
        return Verdict(
            survives=False,
            reason=f"it ends with Slurm job {facts.slurm_job}, in which it runs",
            remedy="ask for enough time (`--time`), or run it as a job of its own",
        )
    if _USER_MANAGER.search(facts.cgroup):
        if facts.lingers:
            return Verdict(survives=True)
        return Verdict(
            survives=False,
            reason=f"the user manager of {facts.user!r} will kill it at the last logout",
            remedy="run `loginctl enable-linger` once, before you log out",
        )
    if _SESSION.search(facts.cgroup):
        return _judge_session(facts)
    return Verdict(survives=True)


def _judge_session(facts: LoginFacts) -> Verdict:
    # Lingering does not help here: what logind kills is the scope of the session, not the user's manager.
    remedy = "run `loginctl enable-linger` once, and start it by `systemd-run --user --scope pipespan run --detach ...`"
    if facts.kills_user_processes is None:
        return Verdict(
            survives=None,
            reason="logind cannot be asked whether it kills what a logout leaves (KillUserProcesses)",
            remedy=f"if it does, {remedy}",
        )
    if facts.kills_user_processes and not facts.is_root:
        return Verdict(
            survives=False, reason="logind will kill it at logout (KillUserProcesses=yes)", remedy=remedy
        )
    return Verdict(survives=True)


def gather(
    environ: Mapping[str, str],
    user: str,
    *,
    is_root: bool,
    root: Path = Path("/"),
    bus: tuple[str, ...] = ("busctl",),
) -> LoginFacts:
    """Find out what there is to know; never raises, and asks logind only where there is a session.

    Args:
        environ: of the process.
        user: who runs it.
        is_root: whether that is root.
        root: where the system's files are.
        bus: the command that asks logind.
    """
    cgroup = _cgroup(root)
    in_session = _SESSION.search(cgroup) is not None
    return LoginFacts(
        cgroup=cgroup,
        user=user,
        is_root=is_root,
        kills_user_processes=_kills_user_processes(bus) if in_session else None,
        lingers=(root / "var/lib/systemd/linger" / user).exists(),
        slurm_job=_slurm_job(environ, cgroup),
    )


def _cgroup(root: Path) -> str:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    # Version 2 has one line; of version 1 the hierarchy of systemd is the one that knows sessions.
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    systemd = paths.get("name=systemd", "")
    return systemd if systemd not in {"", "/"} else paths.get("", systemd)


def _slurm_job(environ: Mapping[str, str], cgroup: str) -> str | None:
    found = _SLURM.search(cgroup)
    return found[2] if found else environ.get("SLURM_JOB_ID") or None


def _kills_user_processes(bus: tuple[str, ...]) -> bool | None:
    try:
        answer = subprocess.run(
            [*bus, "get-property", *_LOGIND, "KillUserProcesses"],
            capture_output=True, text=True, timeout=_ASK_S, check=True, stdin=subprocess.DEVNULL,
        ).stdout.split()  # fmt: skip
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return {("b", "true"): True, ("b", "false"): False}.get(tuple(answer))  # type: ignore[arg-type]  # any words
