"""Finds out how the process of an orphaned stream ended, from what it left and what others noted."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipespan.model.causes import (
    OOM_KILLED,
    OS_EXIT,
    REBOOT,
    SIGNAL_PREFIX,
    STACK_OVERFLOW,
    VANISHED,
    cause_of_fault,
    cause_of_signal,
    signal_name,
)
from pipespan.record import blackbox
from pipespan.record.hangtimer import HANG_FILE, read_hang
from pipespan.record.oomcount import read_cgroup
from pipespan.spool.exitnote import ExitNote, exit_note, read_exit_note
from pipespan.spool.layout import LANES, StreamMeta, segments
from pipespan.spool.owner import Fate, Owner, fate_of, read_stat

MAX_STACK_CHARS: Final = 16_000
_AFTER_THE_SIGNAL_S: Final = 1.0
"""A process that wrote rows longer than this after a deadly signal did not die of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """How a process ended.

    Attributes:
        fate: what became of it; `lives` and `unknown` mean that there is nothing to certify.
        cause: a word of `pipespan.model.causes`.
        is_sure: whether there is evidence of how it died, beyond that it is gone.
        died_at_unix_ns: when, as far as it is known.
        exit_code: where somebody saw it.
        exit_signal: likewise.
        evidence: what all this rests on.
        vitals: the last look at the process.
    """

    fate: Fate
    cause: str = VANISHED
    is_sure: bool = False
    died_at_unix_ns: int = 0
    exit_code: int | None = None
    exit_signal: int | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    vitals: dict[str, Any] = field(default_factory=dict)


def hold_inquest(folder: Path, meta: StreamMeta, here: Owner) -> Finding:
    """Return what is found out about the process that made the stream in `folder`, whose lock is free."""
    fate = fate_of(meta.owner, here)
    if fate not in ("gone", "rebooted"):
        return Finding(fate)
    last_sign = _last_sign_ns(folder)
    vitals = _vitals(folder)
    note = read_exit_note(folder) or (_zombie(meta.owner) if fate == "gone" else None)
    fault = _text(folder / blackbox.FAULT)
    stacks = _stacks(folder, last_sign)
    oom_kills = _oom_kills(vitals) if fate == "gone" else 0
    evidence = _grounds(fate, meta, here)
    if oom_kills:
        evidence["cgroup_oom_kills"] = oom_kills
    if note is not None:
        cause = _cause_of_note(note, fault, oom_kills)
        evidence["exit_status_seen_by"] = note.seen_by
    elif fault and (told := cause_of_fault(fault)) is not None:
        cause = told
    elif stacks:
        cause = SIGNAL_PREFIX + next(iter(stacks))
    elif oom_kills:
        cause = OOM_KILLED
    else:
        cause = REBOOT if fate == "rebooted" else VANISHED
    stack = fault or next(iter(stacks.values()), "")
    if stack:
        evidence["stack"] = stack[:MAX_STACK_CHARS]
    held = read_hang(folder / HANG_FILE)
    if held is not None:  # emptied when the interpreter goes on
        evidence["interpreter_held"] = held[:MAX_STACK_CHARS]
    if note is not None and note.exit_signal is not None:
        evidence["signal"] = signal_name(note.exit_signal)
    return Finding(
        fate, cause, cause != VANISHED, max(last_sign, _noted_at(note)),
        None if note is None else note.exit_code, None if note is None else note.exit_signal, evidence, vitals,
    )  # fmt: skip


def _grounds(fate: Fate, meta: StreamMeta, here: Owner) -> dict[str, Any]:
    if fate == "rebooted":
        return {
            "proof": "the host was started anew",
            "boot_id_then": meta.boot_id,
            "boot_id_now": here.boot_id,
        }
    return {"proof": f"its lock is free and process {meta.pid} of its start time does not exist any more"}


def _cause_of_note(note: ExitNote, fault: str, oom_kills: int) -> str:
    if note.exit_signal is None:
        return OS_EXIT  # an orderly end would have ended its jobs
    told = cause_of_fault(fault) if fault else None
    cause = cause_of_signal(note.exit_signal, oom_kills=oom_kills)
    return STACK_OVERFLOW if told == STACK_OVERFLOW else cause


def _noted_at(note: ExitNote | None) -> int:
    return 0 if note is None else note.at_unix_ns


def _zombie(owner: Owner) -> ExitNote | None:
    """Return the exit status of a process that its parent has not reaped yet."""
    stat = read_stat(owner.pid)
    if stat is None or not stat.has_ended or stat.start_ticks != owner.start_ticks:
        return None
    return exit_note(stat.wait_status, "the kernel")


def _last_sign_ns(folder: Path) -> int:
    paths = [segment.path for lane in LANES for segment in segments(folder, lane)]
    found = [_changed_ns(path) for path in (*paths, folder / blackbox.VITALS, folder / blackbox.FAULT)]
    return max(found, default=0) or time.time_ns()


def _stacks(folder: Path, last_sign_ns: int) -> dict[str, str]:
    """Return the stacks at deadly signals that can have been its last, newest first, by signal name."""
    found = []
    for name in blackbox.DEADLY_SIGNALS:
        path = folder / f"{blackbox.SIGNAL_PREFIX}{name}"
        text = _text(path)
        if text and last_sign_ns - _changed_ns(path) < _AFTER_THE_SIGNAL_S * 1e9:
            found.append((_changed_ns(path), name, text))
    return {name: text for _, name, text in sorted(found, reverse=True)}


def _oom_kills(vitals: dict[str, Any]) -> int:
    """Return how many processes of its own group were killed for memory since the last look at it."""
    path, before = vitals.get("cgroup"), vitals.get("cgroup_oom_kills")
    now = read_cgroup(Path(path)) if isinstance(path, str) else None
    return 0 if now is None or not isinstance(before, int) else max(now.oom_kills - before, 0)


def _vitals(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(folder / blackbox.VITALS) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * MAX_STACK_CHARS).decode(errors="replace").strip("\0 \n")
    except OSError:
        return ""
