"""What is known of a supervised process, as it stands in the registry: a JSON document of its own for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from pipespan.record.identity import ProcessIdentity
from pipespan.supervise.logfile import LogPlace
from pipespan.supervise.restart import RESTART_MODES, RestartPolicy

State = Literal["starting", "running", "waiting", "stopping", "completed", "failed", "cancelled", "dead"]

OPEN_STATES: Final[tuple[State, ...]] = ("starting", "running", "waiting", "stopping")
_STATES: Final[tuple[State, ...]] = (*OPEN_STATES, "completed", "failed", "cancelled", "dead")

FORMAT: Final = 1

MAX_KEPT_ATTEMPTS: Final = 20
"""Of so many attempts, the last ones, the end is kept."""

MAX_TAIL_LINES: Final = 50
MAX_TAIL_LINE_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How one attempt ended.

    Attributes:
        attempt: its number, from 1.
        started_at_unix_ns: when the command was started.
        ended_at_unix_ns: when it ended.
        exit_code: its exit status; None when a signal ended it.
        signal: the signal that ended it.
        outcome: the end in words, such as "failed: exit code 3".
        stderr_tail: the last lines of its stderr.
    """

    attempt: int
    started_at_unix_ns: int
    ended_at_unix_ns: int
    exit_code: int | None
    signal: int | None
    outcome: str
    stderr_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """What was asked to run.

    Attributes:
        argv: the command; no shell.
        cwd: its working folder.
        title: name of the experiment.
        params: of the experiment.
        tags: of the experiment.
        policy: when it is started again.
        log: where its output goes.
    """

    argv: tuple[str, ...]
    cwd: str
    title: str
    params: Mapping[str, Any]
    tags: tuple[str, ...]
    policy: RestartPolicy
    log: LogPlace


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """A process, as its supervisor wrote it down last.

    Attributes:
        name: its key in the registry.
        spec: what was asked to run.
        token: of the call that started the supervisor; who has another one came too late.
        state: as recorded; see `standing` for what is true.
        reason: why it is not running, in words.
        created_at_unix_ns: when it was asked for.
        attempt: the present one, or the last; 0 before the first.
        experiment_id: empty before the first attempt, or when nothing can be recorded.
        supervisor: who looks after it.
        child: the command's own process, leader of its group.
        started_at_unix_ns: when the present attempt was started.
        next_start_at_unix_ns: while it waits, when the next attempt begins.
        ended_at_unix_ns: when all was over.
        ends: of the last attempts, oldest first.
    """

    name: str
    spec: Spec
    token: str
    state: State
    created_at_unix_ns: int
    reason: str | None = None
    attempt: int = 0
    experiment_id: str = ""
    supervisor: ProcessIdentity | None = None
    child: ProcessIdentity | None = None
    started_at_unix_ns: int | None = None
    next_start_at_unix_ns: int | None = None
    ended_at_unix_ns: int | None = None
    ends: tuple[AttemptEnd, ...] = field(default=())

    def to_json(self) -> str:
        """Return the document."""
        document = asdict(self)
        document["format"] = FORMAT
        document["spec"]["log"]["path"] = str(self.spec.log.path)
        return json.dumps(document, indent=1, default=str)

    @classmethod
    def from_json(cls, text: str) -> ProcessEntry:
        """Return the entry in `text`.

        Raises:
            ValueError: it is none.
        """
        try:
            return _entry(json.loads(text))
        except (TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"not an entry: {error!r}") from error


def bounded_tail(lines: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return the last of `lines` as far as they are kept with an attempt."""
    return tuple(line[:MAX_TAIL_LINE_CHARS] for line in lines[-MAX_TAIL_LINES:])


def _entry(document: dict[str, Any]) -> ProcessEntry:
    if document.pop("format") != FORMAT or document["state"] not in _STATES:
        raise ValueError("of another version")
    # A later version may know more than we do.
    known = {one.name: document[one.name] for one in fields(ProcessEntry) if one.name in document}
    for name, kind in (("name", str), ("token", str), ("attempt", int), ("created_at_unix_ns", int)):
        _check(document[name], kind)
    known["spec"] = _spec(document["spec"])
    for name in ("supervisor", "child"):
        known[name] = None if document[name] is None else _identity(document[name])
    known["ends"] = tuple(_end(one) for one in document["ends"])
    for name in ("started_at_unix_ns", "next_start_at_unix_ns", "ended_at_unix_ns"):
        if document[name] is not None:
            _check(document[name], int)
    return ProcessEntry(**known)


def _spec(document: dict[str, Any]) -> Spec:
    policy, log = document["policy"], document["log"]
    if policy["mode"] not in RESTART_MODES or not document["argv"]:
        raise ValueError(f"no such mode: {policy['mode']!r}")
    return Spec(
        argv=tuple(_check(word, str) for word in document["argv"]),
        cwd=_check(document["cwd"], str),
        title=_check(document["title"], str),
        params=_check(document["params"], dict),
        tags=tuple(_check(tag, str) for tag in document["tags"]),
        policy=RestartPolicy(policy["mode"], policy["max_restarts"], float(policy["backoff_s"])),
        log=LogPlace(Path(log["path"]), _check(log["max_bytes"], int), _check(log["max_files"], int)),
    )


def _identity(document: dict[str, Any]) -> ProcessIdentity:
    found = ProcessIdentity(**document)
    _check(found.host, str)
    _check(found.pid, int)
    if found.started_at_unix_ns is not None:
        _check(found.started_at_unix_ns, int)
    return found


def _end(document: dict[str, Any]) -> AttemptEnd:
    tail = tuple(_check(line, str) for line in document["stderr_tail"])
    for name in ("attempt", "started_at_unix_ns", "ended_at_unix_ns"):
        _check(document[name], int)
    known: dict[str, Any] = {**document, "stderr_tail": tail}
    return AttemptEnd(**known)


def _check(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value
