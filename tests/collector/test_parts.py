"""Any part between a pipeline and its database may die: what arrives is what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.collector.documents import ordered, plain
from tests.collector.stack import Stack, exported, started_program, until
from tests.fixtures.postgres import fresh_database

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
        "PIPESPAN_STORE": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{stack.agent}",
        # A part of the way may be away for longer than the 10 s after which the exporter lets go.
        "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_BLRP_SCHEDULE_DELAY": "100",
        "PIPESPAN_EXIT_TIMEOUT_S": "40",
        "PIPESPAN_PROGRESS_INTERVAL_S": "0.1",
        "PIPESPAN_HEARTBEAT_INTERVAL_S": "0.5",
    }


def newest(stack: Stack) -> str | None:
    with psycopg.connect(stack.dsn) as connection:
        row = connection.execute(
            "select id::text from experiments where status = 'completed' order by started_at desc limit 1"
        ).fetchone()
    return None if row is None else row[0]


def check_equal(stack: Stack, direct: dict[str, Any], before: str | None) -> None:
    """Wait until all is there, and longer than anything can still be on its way: it is the same."""
    until(lambda: newest(stack) != before, stack.said())
    experiment = newest(stack)
    assert experiment is not None
    wanted = plain(direct)

    def is_there() -> bool:
        found = plain(exported(stack.dsn, experiment))
        return all(len(found[name]) >= len(rows) for name, rows in wanted.items() if name != "experiment")

    until(is_there, stack.said())
    stack.settle()
    found = plain(exported(stack.dsn, experiment))
    for name in wanted:
        assert found[name] == wanted[name], name


@pytest.mark.parametrize("killed", PARTS)
def test_a_part_that_is_killed_in_mid_run_loses_and_repeats_nothing(
    stack: Stack, direct: dict[str, Any], tmp_path: Path, killed: str
) -> None:
    """SIGKILL while it runs, a start later on: tree, logs, events and metrics are those of a direct run."""
    before = newest(stack)
    with started_program(tmp_path, over(stack)) as program:
        program.reach()
        stack.parts[killed].kill()
        program.go_on()
        program.reach()
        stack.parts[killed].start()
        program.go_on()
        program.end()
    check_equal(stack, direct, before)


def test_every_part_in_turn_is_killed_at_once_and_started(
    stack: Stack, direct: dict[str, Any], tmp_path: Path
) -> None:
    """In the midst of the traffic, not in a pause of it: requests are cut off between their end and their answer."""
    before = newest(stack)
    with started_program(tmp_path, over(stack), pause_s=0.3) as program:
        program.go_on()
        program.go_on()
        for killed in PARTS:
            stack.parts[killed].kill()
            stack.parts[killed].start()
        program.end()
    check_equal(stack, direct, before)


def test_both_ways_at_once_give_the_same_rows(
    stack: Stack, pg_admin_dsn: str, pg_template: str, tmp_path: Path
) -> None:
    """One run that writes directly and through the Collectors: every id, every time and every figure is the same."""
    before = newest(stack)
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        settings = {**over(stack), "PIPESPAN_STORE": "postgres", "PIPESPAN_DSN": dsn}
        with started_program(tmp_path, settings, pause_s=0.0) as program:
            program.go_on()
            program.go_on()
            program.end()
        direct = ordered(exported(dsn, "last"))
    experiment = direct["experiment"]["id"]
    check_equal(stack, direct, before)
    assert ordered(exported(stack.dsn, experiment)) == direct
