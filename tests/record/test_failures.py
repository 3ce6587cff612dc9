from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from pipespan.model.rows import ExperimentRow, LogRow
from tests.record.support import Recorded


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this works")


class SlottedError(Exception):
    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def run(recorded: Recorded, error: BaseException) -> BaseException:
    """Return what leaves a pipeline with a phase and a step in which `error` is raised."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011, SIM117 - any will do, and it leaves the pipeline
        with recorded.pipeline("r") as pipeline, pipeline.phase("p") as phase, phase.step("s"):
            raise error
    return caught.value


def test_a_failure_is_recorded_all_the_way_up(recorded: Recorded) -> None:
    """Each scope that the exception leaves failed, and says by what; siblings before it did not."""
    with (
        pytest.raises(ValueError, match="wrong"),
        recorded.pipeline("r") as pipeline,
        pipeline.phase("p") as phase,
    ):
        with phase.step("good"):
            pass
        with phase.step("bad"):
            raise ValueError("wrong number")
    assert recorded.statuses() == {
        "r": "failed",
        "r/p": "failed",
        "r/p/good": "completed",
        "r/p/bad": "failed",
    }
    for node_id in ("r", "r/p", "r/p/bad"):
        row = recorded.nodes()[node_id]
        assert (row.error_type, row.message) == ("ValueError", "wrong number")
    assert recorded.rows(ExperimentRow)[-1].status == "failed"


def test_the_exception_is_the_same_afterwards(recorded: Recorded) -> None:
    """It is re-raised untouched: the same object, cause, context and traceback, without frames of ours in it."""
    cause = KeyError("k")
    error = ValueError("v")
    error.__cause__ = cause
    assert run(recorded, error) is error
    assert error.__cause__ is cause
    assert error.args == ("v",)
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_filename)
        traceback = traceback.tb_next
    assert set(frames) == {__file__}


def test_a_failure_is_logged_once_where_it_happened(recorded: Recorded) -> None:
    """One ERROR record, of the innermost scope, with type, the whole traceback and the causes."""
    with pytest.raises(RuntimeError), recorded.pipeline("r") as pipeline, pipeline.step("s"):
        try:
            {"a": 1}["missing"]
        except KeyError as error:
            raise RuntimeError("no such thing") from error
    (record,) = recorded.rows(LogRow)
    assert (record.level, record.node_id, record.error_type) == ("ERROR", "r/s", "RuntimeError")
    assert "'s'" in record.message
    traceback = record.traceback or ""
    assert "KeyError: 'missing'" in traceback
    assert "The above exception was the direct cause" in traceback
    assert traceback.rstrip().endswith("RuntimeError: no such thing")
    assert "test_failures.py" in traceback


def test_an_exception_that_is_handled_inside_leaves_no_mark(recorded: Recorded) -> None:
    """Only what leaves a scope makes it fail."""
    with recorded.pipeline("r") as pipeline:
        with pytest.raises(KeyError), pipeline.step("s"):
            raise KeyError
        with pipeline.step("t"):
            pass
    assert recorded.statuses() == {"r": "completed", "r/s": "failed", "r/t": "completed"}


def test_two_failures_are_two_records(recorded: Recorded) -> None:
    """Each exception is logged, in its own scope."""
    with recorded.pipeline("r") as pipeline:
        for name in ("a", "b"):
            with pytest.raises(KeyError), pipeline.step(name):
                raise KeyError(name)
    assert [record.node_id for record in recorded.rows(LogRow)] == ["r/a", "r/b"]


def test_odd_exceptions_are_recorded_as_well(recorded: Recorded) -> None:
    """One whose text cannot be had, and one that takes no attributes: neither is swallowed or replaced."""
    for error in (OddError(), SlottedError("slots")):
        recorded.written.clear()
        assert run(recorded, error) is error
        assert set(recorded.statuses().values()) == {"failed"}
        row = recorded.nodes()["r/p/s"]
        assert row.error_type == f"{__name__}.{type(error).__name__}"
        assert recorded.rows(LogRow)[0].node_id == "r/p/s"
    assert recorded.troubles() == set()


def test_a_long_message_is_cut_in_the_row_and_whole_in_the_log(recorded: Recorded) -> None:
    """The row stays small."""
    run(recorded, ValueError("x" * 50_000))
    assert len(recorded.nodes()["r/p/s"].message or "") in range(1800, 2001)
    assert len(recorded.rows(LogRow)[0].traceback or "") > 50_000


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (GeneratorExit(), "cancelled"),
        (SystemExit(0), "completed"),
        (SystemExit(None), "completed"),
        (SystemExit(3), "failed"),
        (SystemExit("message"), "failed"),
        (MemoryError(), "failed"),
    ],
)
def test_how_a_scope_is_left_is_its_status(recorded: Recorded, error: BaseException, status: str) -> None:
    """An interrupt cancels, `sys.exit(0)` is an end like any other, anything else is a failure."""
    assert run(recorded, error) is error
    assert set(recorded.statuses().values()) == {status}
    assert recorded.rows(ExperimentRow)[-1].status == status
    assert len(recorded.rows(LogRow)) == (status == "failed")


def test_a_cancelled_task_is_cancelled(recorded: Recorded) -> None:
    """Its step too; the others go on."""

    async def work() -> None:
        async def endless() -> None:
            async with recorded.step("endless"):
                await asyncio.Event().wait()

        task = asyncio.create_task(endless())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(endless(), 0.01)

    with recorded.pipeline("r"):
        asyncio.run(work())
    assert recorded.statuses() == {"r": "completed", "r/endless": "cancelled", "r/endless#2": "cancelled"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_groups_of_exceptions_show_each(recorded: Recorded) -> None:
    """The log has the tracebacks of all."""
    group: Any = getattr(__builtins__, "ExceptionGroup", None) or __builtins__["ExceptionGroup"]  # type: ignore[index] # module or dict
    run(recorded, group("several", [KeyError("first one"), ValueError("second one")]))
    (record,) = recorded.rows(LogRow)
    assert record.error_type == "ExceptionGroup"
    assert "first one" in (record.traceback or "")
    assert "second one" in (record.traceback or "")


def test_failure_of_a_cleanup_does_not_hide_the_first(recorded: Recorded) -> None:
    """The step fails by what left it at last, and the log has both."""
    with pytest.raises(RuntimeError), recorded.pipeline("r") as pipeline, pipeline.step("s"):
        try:
            raise KeyError("first")
        finally:
            raise RuntimeError("second")
    assert recorded.nodes()["r/s"].error_type == "RuntimeError"
    assert "During handling of the above exception" in (recorded.rows(LogRow)[0].traceback or "")
