from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pipespan.model.rows import LogRow
from pipespan.record.logs import Logger
from tests.record.support import Recorded


@pytest.fixture
def logger(recorded: Recorded) -> Iterator[Logger]:
    """Give a logger that records through `logging`, with a handler of pipespan's own attached to its name."""
    name = "tests.record.logs"
    plain = logging.getLogger(name)
    plain.addHandler(recorded.handler)
    plain.setLevel(logging.WARNING)
    yield Logger(name, {}, recorded.recorder.log, logging.INFO)
    plain.removeHandler(recorded.handler)
    plain.setLevel(logging.NOTSET)


def test_each_level_has_its_method(recorded: Recorded, logger: Logger) -> None:
    """Also records below the program's own level are recorded, from the lowest wanted on, and none twice."""
    with recorded.pipeline("r") as run, run.step("s"):
        logger.debug("not wanted")
        logger.info("%s and %d", "one", 2)
        logger.warning("w")
        logger.error("e")
        logger.critical("c")
    found = recorded.rows(LogRow)
    assert [(row.level, row.message) for row in found] == [
        ("INFO", "one and 2"), ("WARNING", "w"), ("ERROR", "e"), ("CRITICAL", "c"),
    ]  # fmt: skip
    assert {row.node_id for row in found} == {"r/s"}
    assert {row.logger_name for row in found} == {"tests.record.logs"}


def test_the_line_that_logs_is_noted(recorded: Recorded, logger: Logger) -> None:
    """Whether the program's level lets the record through or not, it comes from the caller's line."""
    with recorded.pipeline("r"):
        logger.info("below")
        logger.warning("above")
    for row in recorded.rows(LogRow):
        assert "test_logs.py" in str(row.context)


def test_bound_fields_stay(recorded: Recorded, logger: Logger) -> None:
    """`bind` makes a logger with more fields and leaves the first as it was; a call may add and override."""
    bound = logger.bind(shard=3, user="a")
    with recorded.pipeline("r"):
        bound.warning("x", user="b", extra=1)
        bound.bind(more=2).info("y")
        logger.warning("z")
    x, y, z = (row.context or {} for row in recorded.rows(LogRow))
    assert (x["shard"], x["user"], x["extra"]) == (3, "b", 1)
    assert (y["shard"], y["user"], y["more"]) == (3, "a", 2)
    assert "shard" not in z


def test_fields_may_be_called_like_those_of_logging(recorded: Recorded, logger: Logger) -> None:
    """`name=`, `args=` and the like, which `logging` refuses, are kept under another name."""
    with recorded.pipeline("r"):
        logger.warning("x", name="n", filename="f", module=1)
        logger.info("y", name="n", lineno=3)
    x, y = (row.context or {} for row in recorded.rows(LogRow))
    assert (x["name_"], x["filename_"], x["module_"]) == ("n", "f", 1)
    assert (y["name_"], y["lineno_"]) == ("n", 3)


def test_exceptions_come_with_their_traceback(recorded: Recorded, logger: Logger) -> None:
    """`exception` takes the one that is handled; `exc_info=` takes any."""
    with recorded.pipeline("r"):
        try:
            raise ValueError("v")
        except ValueError as error:
            logger.exception("caught")
            kept = error
        logger.info("later", exc_info=kept)
    for row in recorded.rows(LogRow):
        assert row.error_type == "ValueError"
        assert "ValueError: v" in (row.traceback or "")


def test_performance_records_how_long_an_operation_took(recorded: Recorded, logger: Logger) -> None:
    """Operation, duration and further figures stand in a column of their own."""
    with recorded.pipeline("r"):
        logger.performance("load", 1.25, rows=1000)
    (row,) = recorded.rows(LogRow)
    assert row.message == "load took 1.250 s"
    assert row.performance == {"operation": "load", "duration_s": 1.25, "rows": 1000}


def test_a_logged_function_tells_start_duration_and_failure(recorded: Recorded, logger: Logger) -> None:
    """The exception goes on untouched."""
    error = ValueError("v")

    @logger.logged()
    def work(fails: bool) -> int:
        if fails:
            raise error
        return 3

    with recorded.pipeline("r"):
        assert work(False) == 3
        with pytest.raises(ValueError, match="v") as caught:
            work(True)
        assert caught.value is error
    first, took, again, failed = recorded.rows(LogRow)
    assert first.message.endswith("work started")
    assert took.performance is not None
    assert took.performance["duration_s"] >= 0
    assert again.message == first.message
    assert (failed.level, failed.error_type) == ("ERROR", "ValueError")
    assert failed.performance is not None
    assert "duration_s" in failed.performance


def test_logged_coroutines_and_generators_take_as_long_as_they_run(
    recorded: Recorded, logger: Logger
) -> None:
    """Start and end are those of the work, not those of the call."""
    order: list[str] = []

    @logger.logged("coroutine")
    async def coroutine() -> int:
        await asyncio.sleep(0)
        return 1

    @logger.logged("generator")
    def generator() -> Any:
        order.append((yield 1))
        return 2

    with recorded.pipeline("r"):
        assert asyncio.run(coroutine()) == 1
        produced = generator()
        assert len(recorded.rows(LogRow)) == 2
        assert next(produced) == 1
        assert recorded.rows(LogRow)[-1].message == "generator started"
        with pytest.raises(StopIteration) as stop:
            produced.send("sent")
        assert stop.value.value == 2
    assert order == ["sent"]
    assert [row.message.split()[0] for row in recorded.rows(LogRow)] == ["coroutine"] * 2 + ["generator"] * 2


def test_records_outside_of_any_pipeline_are_nobodys(recorded: Recorded, logger: Logger) -> None:
    """They go where the program sends them, and not into a table."""
    logger.warning("before")
    assert recorded.written == []
