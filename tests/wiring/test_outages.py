"""Databases that are away, refuse, or vanish in the middle: the pipeline runs on and nothing is lost."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipespan.errors import StoreError
from pipespan.spool.orphans import find_streams
from pipespan.store.postgres.migrate import migrate
from pipespan.store.postgres.read import PostgresSource
from pipespan.wiring.ship import ship
from tests.wiring.programs import Programs, Ran, Seen
from tests.wiring.server import Server

PIPELINE = """
    with pipespan.pipeline("run") as run, run.step("s", total=50) as step:
        for number in step.track(range(50)):
            logging.warning("line %d", number)
    print("done")
    sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def made_server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp"))
    made = Server(folder)
    made.start()
    made.migrate()
    with psycopg.connect(made.dsn(), autocommit=True) as connection:
        connection.execute("create role guarded login superuser password 'right'")
    made.kill()
    yield made
    made.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(made_server: Server) -> Iterator[Server]:
    """Give a server that is stopped, with a migrated database."""
    yield made_server
    made_server.kill()


def lines_of(ran: Ran) -> list[str]:
    return [line for line in ran.err.splitlines() if line.startswith("pipespan:")]


def delivered(programs: Programs, dsn: str) -> Seen:
    """Deliver with `ship` and return what the database says."""
    report = ship(programs.settings(), 20)
    assert (report.waiting_streams, report.rejected) == (0, 0)
    assert find_streams(programs.state_dir / "spool") == []
    return newest(dsn)


def newest(dsn: str) -> Seen:
    source = PostgresSource(dsn)
    seen = Seen(source)
    seen.said = seen.messages()
    source.close()
    return seen


def check_whole(seen: Seen) -> None:
    assert seen.statuses() == {"run": "completed", "run/s": "completed"}
    assert seen.nodes["run/s"].completed_units == 50
    assert Counter(seen.said) == {f"line {number}": 1 for number in range(50)}


@pytest.mark.parametrize("code", [0, 3])
def test_without_a_database_the_pipeline_runs_to_its_end(
    programs: Programs, server: Server, code: int
) -> None:
    """Same output and exit code, bounded exit time, a line that names the remedy, and all rows for later."""
    programs.using(PIPESPAN_DSN=server.dsn(), PIPESPAN_EXIT_TIMEOUT_S="4")
    ran = programs.run(PIPELINE, code, code=code)
    assert ran.out == "done\n"
    assert ran.seconds < 30
    said = lines_of(ran)
    assert 1 <= len(said) <= 2
    assert "PIPESPAN_DSN" in said[0]
    assert "pipespan ship" in said[-1]
    with pytest.raises(StoreError):
        ship(programs.settings(), 1)
    server.start()
    check_whole(delivered(programs, server.dsn()))
    assert ship(programs.settings(), 1).rows == 0


def test_a_wrong_password_is_told_with_the_remedy(programs: Programs, server: Server) -> None:
    """The rows wait, and go in with the right one; the password is never shown."""
    server.start()
    server.ask_for_passwords()
    server.kill()
    server.start()
    wrong = server.dsn(user="guarded", password="wrong-secret")
    programs.using(PIPESPAN_DSN=wrong, PIPESPAN_EXIT_TIMEOUT_S="4")
    ran = programs.run(PIPELINE, 0)
    assert ran.out == "done\n"
    assert "password" in lines_of(ran)[0]
    assert "PIPESPAN_DSN" in lines_of(ran)[0]
    assert "wrong-secret" not in ran.err
    assert "wrong-secret" not in "".join(path.read_text() for path in programs.folder.rglob("meta.json"))
    programs.environ["PIPESPAN_DSN"] = server.dsn(user="guarded", password="right")
    check_whole(delivered(programs, programs.environ["PIPESPAN_DSN"]))


def test_a_missing_schema_is_told_with_the_command(programs: Programs, empty_dsn: str) -> None:
    """A real database is never altered unasked; after the command the rows are delivered."""
    programs.using(PIPESPAN_DSN=empty_dsn, PIPESPAN_EXIT_TIMEOUT_S="4")
    ran = programs.run(PIPELINE, 0)
    assert ran.out == "done\n"
    assert "pipespan db migrate" in lines_of(ran)[0]
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select to_regclass('experiments')").fetchone() == (None,)
    migrate(empty_dsn)
    check_whole(delivered(programs, empty_dsn))


def test_a_server_that_is_killed_and_comes_back_in_mid_run_gets_all_once(
    programs: Programs, server: Server
) -> None:
    """Three times the server is killed while rows are on their way: nothing is lost, nothing is there twice."""
    server.start()
    programs.using(
        PIPESPAN_DSN=server.dsn(), PIPESPAN_FLUSH_INTERVAL_S="0.01", PIPESPAN_EXIT_TIMEOUT_S="20",
        PIPESPAN_BATCH_BYTES="20000", PIPESPAN_PROGRESS_INTERVAL_S="0.05",
    )  # fmt: skip
    child = programs.start("""
        import itertools, select
        with pipespan.pipeline("run") as run, run.step("s") as step:
            print("go", flush=True)
            for number in itertools.count():
                logging.warning("line %d", number)
                step.advance()
                if number % 10 == 0:
                    with run.step("inner", total=3) as inner:
                        inner.progress(3)
                    if select.select([sys.stdin], [], [], 0.002)[0]:
                        break
        print(number + 1, flush=True)
    """)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "go\n"
    for _ in range(3):
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            time.sleep(0.02)
        server.kill()
        server.start()
    child.stdin.write("\n")
    child.stdin.flush()
    count = int(child.stdout.readline())
    assert child.wait(30) == 0
    assert count > 100
    source = PostgresSource(server.dsn())
    seen = Seen(source)
    assert Counter(seen.messages()) == {f"line {number}": 1 for number in range(count)}
    assert set(seen.statuses().values()) == {"completed"}
    assert seen.nodes["run/s"].completed_units == count
    seen.check_sums()
    source.close()
    assert find_streams(programs.state_dir / "spool") == []


def test_the_next_process_delivers_what_the_last_one_left(programs: Programs, server: Server) -> None:
    """Nobody has to do anything: a later run on the host brings the earlier one's rows along."""
    programs.using(PIPESPAN_DSN=server.dsn(), PIPESPAN_EXIT_TIMEOUT_S="0.3")
    programs.run(PIPELINE, 0)
    server.start()
    programs.run('with pipespan.pipeline("later"): pass', PIPESPAN_EXIT_TIMEOUT_S="10")
    source = PostgresSource(server.dsn())
    (left,) = [one for one in source.experiments(limit=2) if one.name == "run"]
    assert left.status == "completed"
    assert len(source.nodes(left.id)) == 2
    source.close()
    assert find_streams(programs.state_dir / "spool") == []


def test_a_state_folder_that_cannot_be_used_costs_one_line(programs: Programs, dsn: str) -> None:
    """The rows go through the temporary folder, and into the database."""
    spare = programs.folder / "tmp"
    spare.mkdir()
    programs.using(PIPESPAN_DSN=dsn, TMPDIR=str(spare))
    programs.state_dir.write_text("a file where the folder should be")
    ran = programs.run(PIPELINE, 0)
    (said,) = lines_of(ran)
    assert "PIPESPAN_STATE_DIR" in said
    check_whole(newest(dsn))


def test_without_any_folder_the_pipeline_runs_to_its_end(programs: Programs, dsn: str) -> None:
    """Nothing can be kept then, which is said; the work is done all the same."""
    programs.using(PIPESPAN_DSN=dsn, PIPESPAN_EXIT_TIMEOUT_S="0.3")
    programs.state_dir.write_text("a file")
    nowhere = f"    import tempfile\n    tempfile.tempdir = {str(programs.state_dir)!r}\n"
    ran = programs.run(nowhere + PIPELINE, 0)
    assert ran.out == "done\n"
    assert ran.seconds < 30
    assert "PIPESPAN_STATE_DIR" in lines_of(ran)[0]


def test_a_frozen_server_does_not_hold_up_the_exit(programs: Programs) -> None:
    """A server that takes connections and never answers costs the exit timeout and no more."""
    with socket.socket(socket.AF_UNIX) as listening:
        folder = Path(tempfile.mkdtemp(prefix="pspan-", dir="/tmp"))
        try:
            listening.bind(str(folder / ".s.PGSQL.5432"))
            listening.listen()
            programs.using(PIPESPAN_DSN=f"host={folder} user=u dbname=d", PIPESPAN_EXIT_TIMEOUT_S="4")
            ran = programs.run(PIPELINE, 0)
            assert ran.out == "done\n"
            assert ran.seconds < 30
            assert "pipespan ship" in lines_of(ran)[-1]
        finally:
            shutil.rmtree(folder)


def test_the_end_does_not_wait_for_a_database_that_is_away(programs: Programs) -> None:
    """A closed port costs the exit about a second, not the whole exit timeout."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    away = programs.using(PIPESPAN_DSN=f"postgresql://127.0.0.1:{port}/x", PIPESPAN_EXIT_TIMEOUT_S="30")
    ran = away.run(PIPELINE, 0)
    assert ran.seconds < 20
    assert "`pipespan ship` delivers them" in ran.err
