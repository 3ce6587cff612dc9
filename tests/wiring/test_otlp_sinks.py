"""Postgres and OTLP are two sinks: whatever happens to one, the other has everything and in time."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from pipespan.spool.orphans import find_streams
from pipespan.store.postgres.read import PostgresSource
from tests.wiring.otlpsink import Mode, running_sink
from tests.wiring.programs import Programs, Seen

pytestmark = pytest.mark.slow

LINES = 60

PIPELINE = f"""
    logging.getLogger().setLevel(logging.INFO)
    with pipespan.pipeline("run") as run:
        began = time.monotonic()  # the start loads the SDK, however the sinks are
        for number in range({LINES}):
            with run.step(f"s{{number % 5}}", key=str(number)) as step:
                logging.getLogger("app").info("line %d", number)
                step.metric(number=number)
        print(round(time.monotonic() - began, 3), flush=True)
        if len(sys.argv) > 1:
            sys.stdin.readline()
"""


def check_rows(dsn: str) -> None:
    """Nothing is missing, nothing is there twice."""
    source = PostgresSource(dsn)
    seen = Seen(source)
    assert Counter(seen.messages()) == {f"line {number}": 1 for number in range(LINES)}
    assert len(seen.nodes) == LINES + 1
    assert set(seen.statuses().values()) == {"completed"}
    source.close()


def rows_of(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from pipeline_logs").fetchone()
    return 0 if row is None else row[0]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("mode", ["refuses", "busy", "hangs"])
def test_a_backend_in_trouble_costs_the_tables_nothing(
    connected: Programs, dsn: str, protocol: str, mode: Mode
) -> None:
    """Rows are in the database while the pipeline still runs, and the exit is bounded."""
    connected.using(OTEL_BSP_SCHEDULE_DELAY="50", OTEL_BLRP_SCHEDULE_DELAY="50")
    with running_sink(mode) as sink:
        child = connected.start(PIPELINE, "wait", **sink.endpoint(protocol))
        assert child.stdout is not None
        assert child.stdin is not None
        assert float(child.stdout.readline()) < 5
        deadline = time.monotonic() + 10
        while rows_of(dsn) < LINES:
            assert time.monotonic() < deadline, "rows wait for the backend"
            time.sleep(0.05)
        child.stdin.write("\n")
        child.stdin.flush()
        began = time.monotonic()
        _, errors = child.communicate(timeout=30)
        assert child.returncode == 0, errors
        assert time.monotonic() - began < 6
        assert sink.asked > 0
    check_rows(dsn)


def test_no_backend_at_all(connected: Programs, dsn: str) -> None:
    """A port that nobody listens on costs the run nothing and the exit two seconds at most."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ran = connected.run(
        PIPELINE, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", PIPESPAN_EXIT_TIMEOUT_S="20"
    )  # fmt: skip
    assert float(ran.out) < 5
    assert ran.seconds < 12
    check_rows(dsn)


@contextmanager
def deaf_database() -> Iterator[str]:
    """Give a database that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        port = listener.getsockname()[1]
        yield f"postgresql://nobody@127.0.0.1:{port}/none"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("trouble", ["dead", "deaf"])
def test_a_database_in_trouble_costs_the_backend_nothing(
    programs: Programs, protocol: str, trouble: str
) -> None:
    """Spans, records and events all arrive, also those of the last moment; the rows wait in the spool."""
    with running_sink() as sink, deaf_database() as deaf:
        dsn = deaf if trouble == "deaf" else "host=/nonexistent dbname=none user=nobody"
        programs.using(PIPESPAN_DSN=dsn, PIPESPAN_EXIT_TIMEOUT_S="1.5")
        ran = programs.run(PIPELINE, **sink.endpoint(protocol))
        assert float(ran.out) < 5
        assert ran.seconds < 12
        lines = Counter(one.body.string_value for one in sink.logs() if not one.event_name)
        assert lines == {f"line {number}": 1 for number in range(LINES)}
        assert len(sink.spans()) == LINES + 1
        ended = [about["pipespan.node.id"] for name, about in sink.events() if name == "pipespan.node.end"]
        assert len(set(ended)) == LINES + 1
        assert [name for name, _ in sink.events()].count("pipespan.process.end") == 1
        measured = [name for name, about in sink.events()
                    if name == "pipespan.metric" and "pipespan.metric.custom_metrics" in about]  # fmt: skip
        assert len(measured) >= LINES
    assert "wait in the spool" in ran.err


def test_otlp_alone_leaves_nothing_behind(programs: Programs) -> None:
    """With `PIPESPAN_STORE=otlp` all goes out, also at the exit; no spool stays, of a killed process neither."""
    with running_sink() as sink:
        programs.using(PIPESPAN_STORE="otlp", **sink.endpoint("grpc"))
        ran = programs.run(PIPELINE)
        assert find_streams(programs.state_dir / "spool") == []
        assert ran.err == ""
        programs.run("""
            run = pipespan.pipeline("killed").__enter__()
            logging.warning("last words")
            os.kill(os.getpid(), signal.SIGKILL)
        """, code=-9)  # fmt: skip
        assert len(find_streams(programs.state_dir / "spool")) == 1
        programs.run(PIPELINE)
    assert find_streams(programs.state_dir / "spool") == []
    lines = Counter(one.body.string_value for one in sink.logs() if one.body.string_value.startswith("line"))
    assert lines == {f"line {number}": 2 for number in range(LINES)}
    assert len(sink.spans()) == 2 * (LINES + 1)


def test_waiting_for_the_database_does_not_wait_for_the_backend(connected: Programs) -> None:
    """`pipespan.flush` tells of the database, within its time, while an exporter hangs."""
    with running_sink("hangs") as sink:
        ran = connected.run(
            """
            with pipespan.pipeline("run"):
                logging.getLogger("app").warning("hello")
                time.sleep(0.01)
                began = time.monotonic()
                print(pipespan.flush(20), time.monotonic() - began < 8)
            """,
            **sink.endpoint("grpc"),
        )
    assert ran.out.split() == ["True", "True"]
