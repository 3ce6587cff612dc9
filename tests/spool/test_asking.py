from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipespan.spool.asking import Box, ask, live_work, new_question, take_answer, withdraw
from pipespan.spool.layout import StreamMeta
from pipespan.store.base import RequestRow

JOBS = [{"job_id": "j", "experiment_id": "e", "name": "n", "attempt": 1}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "spool" / "4a4f2e0c-0000-4000-8000-000000000000"
    made.mkdir(parents=True)
    StreamMeta(made.name, "t", socket.gethostname(), os.getpid(), time.time_ns()).save(made)
    return made


class Echo:
    def __init__(self) -> None:
        self.asked: list[RequestRow] = []

    def __call__(self, question: RequestRow) -> Mapping[str, Any]:
        self.asked.append(question)
        return {"kind": question.kind, **question.args}


def test_a_question_is_answered_once_and_leaves_nothing(folder: Path) -> None:
    """Asked, answered, taken: afterwards the folder is as before, and private as all of it."""
    echo = Echo()
    box = Box(lambda: folder, echo)
    box.look(JOBS, 5)
    before = sorted(folder.iterdir())
    question = new_question("stack", "ada@node7", {"a": 1})
    ask(folder, question)
    assert take_answer(folder, question.id) is None
    box.look(JOBS, 5)
    box.look(JOBS, 5)
    assert echo.asked == [question]
    (answer,) = folder.glob("answer-*")
    assert answer.stat().st_mode & 0o777 == 0o600
    assert take_answer(folder, question.id) == {"kind": "stack", "a": 1}
    assert sorted(folder.iterdir()) == before


def test_questions_in_quick_succession_are_all_seen(folder: Path) -> None:
    """A folder's time stamp is coarse: what came within one tick of it is not missed."""
    echo = Echo()
    box = Box(lambda: folder, echo)
    for number in range(50):
        ask(folder, new_question("stack", "x", {"n": number}))
        box.look(JOBS, None)
        box.look(JOBS, None)
    assert [question.args["n"] for question in echo.asked] == list(range(50))


def test_stale_and_broken_files_are_removed_unanswered(folder: Path) -> None:
    """What nobody waits for, or nobody can read, harms nothing."""
    echo = Echo()
    stale = new_question("cancel", "x")
    ask(folder, stale)
    for path in folder.glob("ask-*"):
        os.utime(path, (1, 1))
    (folder / "ask-broken.json").write_text("{")
    (folder / "ask-odd.json").write_text('{"id": "../../etc", "kind": "stack"}')
    box = Box(lambda: folder, echo)
    box.look(JOBS, None)
    assert echo.asked == []
    assert list(folder.glob("a*-*")) == []


def test_a_question_can_be_taken_back(folder: Path) -> None:
    """Who waits no longer leaves no work."""
    echo = Echo()
    question = new_question("stack", "x")
    ask(folder, question)
    withdraw(folder, question.id)
    Box(lambda: folder, echo).look(JOBS, None)
    assert echo.asked == []


def test_what_processes_of_this_host_work_on_is_found(folder: Path) -> None:
    """With pid and start time, so that no other process of the pid is meant."""
    Box(lambda: folder, Echo()).look(JOBS, 7_000_000_000)
    (work,) = live_work([folder.parent, folder / "none"], socket.gethostname())
    assert (work.folder, work.started_s, list(work.jobs)) == (folder, 7.0, JOBS)
    assert live_work([folder.parent], "another host") == []


def test_without_a_folder_nothing_happens(tmp_path: Path) -> None:
    """Before the first row, and after the folder was removed under us."""
    echo = Echo()
    Box(lambda: None, echo).look(JOBS, None)
    Box(lambda: tmp_path / "gone", echo).look(JOBS, None)
    assert echo.asked == []
    assert list(tmp_path.iterdir()) == []
