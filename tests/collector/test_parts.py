"""Any part between a pipeline and its database may die: what arrives is what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.collector.documents import ordered, plain
from tests.collector.stack import Program, Stack, exported, started_program, until
from tests.fixtures.postgres import fresh_database

PIPELINES = 3
PARTS = ("agent", "gateway", "serve", "other serve", "database")


@pytest.fixture(scope="module")
def direct(
    pg_admin_dsn: str, pg_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Return what the program leaves when it writes to the database itself."""
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        folder = tmp_path_factory.mktemp("direct")
        with started_program(folder, {"PIPESPAN_DSN": dsn}, pause_s=0.0) as program:
            for _ in range(2):
                program.reach()
                program.go_on()
            program.end()
        yield exported(dsn, "last")


def over(stack: Stack) -> dict[str, str]:
    """Return the settings of a program whose only way out is the agent."""
    return {
        "PIPESPAN_STORE": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{stack.agent}",
        # A part of the way may be away for longer than the 10 s after which the exporter lets go.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BLRP_SCHEDULE_DELAY": "100",
        "PIPESPAN_EXIT_TIMEOUT_S": "40",
        "PIPESPAN_PROGRESS_INTERVAL_S": "0.1",
        "PIPESPAN_HEARTBEAT_INTERVAL_S": "0.5",
    }


def known(stack: Stack) -> set[str]:
    """Return the experiments that the database knows of."""
    with psycopg.connect(stack.dsn) as connection:
        return {row[0] for row in connection.execute("select id::text from experiments").fetchall()}


def check_equal(
    stack: Stack, direct: dict[str, Any], experiments: Callable[[], set[str]], count: int
) -> None:
    """Wait until all is there, and longer than anything can still be on its way: it is the same."""
    wanted = plain(direct)

    def is_there() -> bool:
        documents = [plain(exported(stack.dsn, experiment)) for experiment in experiments()]
        return len(documents) == count and all(
            len(found[name]) >= len(rows)
            for found in documents for name, rows in wanted.items() if name != "experiment"
        )  # fmt: skip

    until(is_there, "not all has come")
    stack.settle()
    assert len(experiments()) == count
    for experiment in experiments():
        found = plain(exported(stack.dsn, experiment))
        for name in wanted:
            assert found[name] == wanted[name], name


@contextmanager
def started_programs(stack: Stack, folder: Path, pause_s: float = 0.05) -> Iterator[list[Program]]:
    """Start several pipelines, so that each receiver has its share."""
    with ExitStack() as running:
        yield [
            running.enter_context(started_program(folder / str(number), over(stack), pause_s=pause_s))
            for number in range(PIPELINES)
        ]


@pytest.mark.parametrize("killed", PARTS)
def test_a_part_that_is_killed_in_mid_run_loses_and_repeats_nothing(
    stack: Stack, direct: dict[str, Any], tmp_path: Path, killed: str
) -> None:
    """SIGKILL while it runs, a start later on: tree, logs, events and metrics are those of a direct run."""
    before = known(stack)
    with started_programs(stack, tmp_path) as programs:
        for program in programs:
            program.reach()
        stack.parts[killed].kill()
        for program in programs:
            program.go_on()
        for program in programs:
            program.reach()
        stack.parts[killed].start()
        for program in programs:
            program.go_on()
        for program in programs:
            program.end()
    check_equal(stack, direct, lambda: known(stack) - before, PIPELINES)


def test_every_part_in_turn_is_killed_at_once_and_started(
    stack: Stack, direct: dict[str, Any], tmp_path: Path
) -> None:
    """In the midst of the traffic, not in a pause of it: requests are cut off between their end and their answer."""
    before = known(stack)
    with started_programs(stack, tmp_path, pause_s=0.3) as programs:
        for program in programs:
            program.go_on()
            program.go_on()
        for killed in PARTS:
            stack.parts[killed].kill()
            stack.parts[killed].start()
        for program in programs:
            program.end()
    check_equal(stack, direct, lambda: known(stack) - before, PIPELINES)


def test_both_ways_at_once_give_the_same_rows(
    stack: Stack, pg_admin_dsn: str, pg_template: str, tmp_path: Path
) -> None:
    """One run that writes directly and through the Collectors: every id, every time and every figure is the same."""
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        settings = {**over(stack), "PIPESPAN_STORE": "postgres", "PIPESPAN_DSN": dsn}
        with started_program(tmp_path, settings, pause_s=0.0) as program:
            program.go_on()
            program.go_on()
            program.end()
        direct = ordered(exported(dsn, "last"))
    experiment = direct["experiment"]["id"]
    check_equal(stack, direct, lambda: known(stack) & {experiment}, 1)
    assert ordered(exported(stack.dsn, experiment)) == direct
