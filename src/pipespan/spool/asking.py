"""Questions to a live process through its stream's folder: for who works on the same host, also without a database.

Beside the segments stand `work.json`, which says what the process works on, and while somebody asks something
`ask-<id>.json` and then `answer-<id>.json`. Only who may write into the folder can ask: the process's own user, root.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipespan.spool.layout import StreamMeta
from pipespan.spool.orphans import find_streams
from pipespan.spool.private import open_private
from pipespan.store.base import RequestRow

WORK_FILE: Final = "work.json"
ASK_PREFIX: Final = "ask-"
ANSWER_PREFIX: Final = "answer-"
_SUFFIX: Final = ".json"

STALE_S: Final = 60.0
"""A question or an answer that is older is removed: nobody waits for it any more."""

_SETTLED_NS: Final = 50_000_000
"""A folder that changed so lately may change again without another time stamp."""

_MAX_QUESTION_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Work:
    """What a process works on, as its stream's folder tells."""

    folder: Path
    meta: StreamMeta
    started_s: float | None
    jobs: Sequence[Mapping[str, Any]]


class Box:
    """The questions in the folder of this process's own stream; looked at by the ticker's thread.

    Args:
        folder: gives the stream's folder, None while there is none.
        answer: answers a question.
    """

    def __init__(
        self, folder: Callable[[], Path | None], answer: Callable[[RequestRow], Mapping[str, Any]]
    ) -> None:
        self._folder = folder
        self._answer = answer
        self._seen: tuple[Path, int] | None = None
        self._told: tuple[Path, Sequence[Mapping[str, Any]]] | None = None

    def look(self, jobs: Sequence[Mapping[str, Any]], started_at_unix_ns: int | None) -> None:
        """Answer what was asked, and tell that this process, started then, works on `jobs`."""
        folder = self._folder()
        if folder is None:
            return
        try:
            if (folder, jobs) != self._told:
                content = {"pid": os.getpid(), "process_started_at_unix_ns": started_at_unix_ns, "jobs": jobs}
                _write(folder / WORK_FILE, content)
                self._told = (folder, jobs)
            changed_ns = folder.stat().st_mtime_ns
            if self._seen != (folder, changed_ns):
                is_settled = time.time_ns() - changed_ns > _SETTLED_NS
                self._seen = (folder, changed_ns) if is_settled else None
                self._answer_all(folder)
        except OSError:
            return  # the folder was removed, or the disk is full; the writer tells of such

    def _answer_all(self, folder: Path) -> None:
        for name in os.listdir(folder):
            if name.startswith((ASK_PREFIX, ANSWER_PREFIX)) and _is_stale(folder / name):
                (folder / name).unlink(missing_ok=True)
            elif name.startswith(ASK_PREFIX) and name.endswith(_SUFFIX):
                question = _question(folder / name)
                (folder / name).unlink(missing_ok=True)
                if question is not None:
                    _write(folder / f"{ANSWER_PREFIX}{question.id}{_SUFFIX}", self._answer(question))


def new_question(kind: str, asked_by: str, args: Mapping[str, Any] | None = None) -> RequestRow:
    """Return a question with an id of its own."""
    return RequestRow(str(uuid.uuid4()), kind, asked_by, dict(args or {}))


def ask(folder: Path, question: RequestRow) -> None:
    """Put a question into the folder of another process's stream.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "id": question.id, "kind": question.kind, "asked_by": question.asked_by, "args": dict(question.args),
    }  # fmt: skip
    _write(folder / f"{ASK_PREFIX}{question.id}{_SUFFIX}", content)


def take_answer(folder: Path, question_id: str) -> Mapping[str, Any] | None:
    """Return the answer and remove it, None while there is none."""
    path = folder / f"{ANSWER_PREFIX}{question_id}{_SUFFIX}"
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        path.unlink(missing_ok=True)
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def withdraw(folder: Path, question_id: str) -> None:
    """Take a question back that was not answered."""
    try:
        (folder / f"{ASK_PREFIX}{question_id}{_SUFFIX}").unlink(missing_ok=True)
    except OSError:
        pass  # who removed the folder removed the question


def live_work(spool_dirs: Iterable[Path], host: str) -> list[Work]:
    """Return what processes of `host` work on, as far as their streams are there; some may be gone by now."""
    found: list[Work] = []
    for spool_dir in spool_dirs:
        for stream in find_streams(spool_dir):
            work = _read_work(stream.folder, stream.meta)
            if work is not None and work.jobs and stream.meta.host == host:
                found.append(work)
    return found


def has_newcomer(spool_dirs: Iterable[Path], age_s: float) -> bool:
    """Tell whether a stream is younger than `age_s`, and its process may tell soon what it works on."""
    born_after_ns = time.time_ns() - int(age_s * 1e9)
    return any(
        stream.meta.created_unix_ns > born_after_ns
        for spool_dir in spool_dirs
        for stream in find_streams(spool_dir)
    )


def _read_work(folder: Path, meta: StreamMeta) -> Work | None:
    try:
        content = json.loads((folder / WORK_FILE).read_text(encoding="utf-8"))
        started_ns = content["process_started_at_unix_ns"]
        jobs = [one for one in content["jobs"] if isinstance(one, dict) and "job_id" in one]
        return Work(folder, meta, None if started_ns is None else started_ns / 1e9, jobs)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _question(path: Path) -> RequestRow | None:
    try:
        if path.stat().st_size > _MAX_QUESTION_BYTES:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        question_id = str(uuid.UUID(content["id"]))
        return RequestRow(question_id, str(content["kind"]), str(content["asked_by"]), dict(content["args"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_stale(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > STALE_S
    except OSError:
        return False


def _write(path: Path, content: Any) -> None:
    """Write a file so that nobody sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open_private(draft, os.O_TRUNC) as file:
        file.write(json.dumps(content, default=str).encode())
    draft.replace(path)
