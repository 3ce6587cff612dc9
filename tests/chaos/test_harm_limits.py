"""The bounds that are promised hold: time at the exit, threads, own CPU time, and what is told of them."""

from __future__ import annotations

import json

import psycopg
import pytest

from pipespan.wiring.runtime import EXPORT_THREADS, OWN_THREADS
from tests.chaos.harm import EXIT_S, MARGIN_S, alarms, count, deliver, start_job, through
from tests.chaos.test_harm_otlp import dead
from tests.wiring.programs import Programs
from tests.wiring.server import Server

pytestmark = pytest.mark.chaos


def test_the_exit_takes_two_seconds_at_most_by_default() -> None:
    """That is the bound; each fault above keeps it."""
    assert EXIT_S == 2.0


COUNT = """
    def threads():
        return len(os.listdir("/proc/self/task"))
    before = threads()
    with pipespan.pipeline("run"):
        for number in range(20):
            with pipespan.step(f"s{number}"):
                logging.warning("line")
            time.sleep(0.05)
        pipespan.flush(5)
        print(threads() - before)
"""


def test_the_threads(harmed: Programs) -> None:
    """Whatever is recorded, there are `OWN_THREADS` more than without; with OTLP `EXPORT_THREADS` more."""
    assert int(harmed.run(COUNT).out) <= OWN_THREADS
    with dead() as endpoint:
        harmed.using(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf")
        assert int(harmed.run(COUNT).out) <= OWN_THREADS + EXPORT_THREADS


def test_health_tells_rows_spool_and_cpu(harmed: Programs) -> None:
    """Accepted, shipped, waiting, dropped, rejected, the spool's size, own CPU time and its share."""
    ran = harmed.run(
        """
        import json
        from dataclasses import asdict
        with pipespan.pipeline("run") as run:
            for number in range(2000):
                logging.warning("line %d", number)
            pipespan.flush(20)
            print(json.dumps(asdict(pipespan.health())))
        """,
        PIPESPAN_EXIT_TIMEOUT_S="20",
    )
    told = json.loads(ran.out)
    assert told["accepted_rows"] >= 2002
    assert told["accepted_rows"] == told["shipped_rows"] + told["waiting_rows"]
    assert (told["dropped_rows"], told["rejected_rows"], told["failed_rows"], told["away_s"]) == (0, 0, 0, 0)
    assert 0 < told["spool_bytes"] <= told["spool_max_bytes"]
    assert told["cpu_s"] > 0
    assert 0 < told["cpu_share"] < 1


def test_status_tells_it_too(harmed: Programs, dsn: str) -> None:
    """The job's row carries the figures, and `pipespan status` shows them, in words and as JSON."""
    through(harmed, bool, PIPESPAN_EXIT_TIMEOUT_S="20")
    environ = {"PIPESPAN_STATE_DIR": str(harmed.state_dir), "PIPESPAN_DSN": dsn}
    text = harmed.command("status", "last", **environ)
    assert "monitoring: " in text
    assert "0 dropped, 0 rejected, 0 failed" in " ".join(text.split())
    assert "% of the job's" in " ".join(text.split())
    told = json.loads(harmed.command("status", "last", "--json", **environ))["monitoring"]
    assert told["accepted"] > 360  # lines, and start, end and measure of each part
    assert told["shipped"] == told["accepted"]
    assert (told["waiting"], told["dropped"], told["rejected"]) == (0, 0, 0)
    assert 0 <= told["cpu_share"] < 1


def test_an_alarm_tells_that_the_database_was_away(server: Server, tmp_path) -> None:
    """One that does not answer makes an alarm in the run's own events, one that tells when it is back, and no more."""
    work = server.dsn(dbname="work", user="guarded", password="right")
    programs = Programs(tmp_path, {"PIPESPAN_DSN": work})
    try:
        programs.using(PIPESPAN_AWAY_ALARM_S="0.2", PIPESPAN_SAMPLE_INTERVAL_S="0.05")
        job = start_job(programs, PIPESPAN_EXIT_TIMEOUT_S="30")
        server.kill()
        job.go_on().until("whole")
        # Long enough for the alarm; the program itself is not told to go on before.
        until_in_spool(programs, b'"alarm":"away"')
        server.start()
        until_in_table(work, "back")
        job.end()
        deliver(programs)
        assert alarms(work) == {"away": 1, "back": 1}
    finally:
        programs.end()


def until_in_spool(programs: Programs, text: bytes) -> None:
    poll(lambda: any(text in path.read_bytes() for path in programs.state_dir.rglob("*.seg")))


def until_in_table(dsn: str, kind: str) -> None:
    poll(lambda: alarms(dsn)[kind] > 0)


def poll(condition) -> None:
    import time

    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_rejected_row_is_told(harmed: Programs, dsn: str) -> None:
    """A row that the database refuses does not hold up the others; it is counted, kept, and an alarm tells it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("alter table pipeline_logs add constraint odd check (message <> 'poison')")
    ran = harmed.run(
        """
        with pipespan.pipeline("run") as run:
            for number in range(100):
                logging.warning("line %d", number)
            logging.warning("poison")
            pipespan.flush(20)
            time.sleep(0.5)
        print(pipespan.health().rejected_rows)
        """,
        PIPESPAN_PROGRESS_INTERVAL_S="0.05",
        PIPESPAN_SAMPLE_INTERVAL_S="0.05",
        PIPESPAN_EXIT_TIMEOUT_S="20",
    )
    assert ran.out == "1\n"
    assert ran.seconds < 30 + MARGIN_S
    assert count(dsn, "select count(*) from pipeline_logs where message like 'line %'") == 100
    assert alarms(dsn) == {"rejected": 1}
    (kept,) = (harmed.state_dir / "spool").glob("*.rejects")
    assert "poison" in kept.read_text()
