"""Real programs that ship through the watcher: what it spares them, and what happens when it comes to harm."""

from __future__ import annotations

import os
import select
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pipespan.spool.orphans import find_streams
from pipespan.store.postgres.read import PostgresSource
from pipespan.wiring.courier import socket_path
from pipespan.wiring.watching import start_watcher
from tests.chaos.harm import EXIT_S, MARGIN_S, Job, audit, count, deliver, start_job, through
from tests.chaos.patients import end_watchers, watchers_of
from tests.fixtures.waiting import wait_for
from tests.wiring.programs import Programs, Seen
from tests.wiring.server import Server

pytestmark = pytest.mark.chaos

OTHERS = (
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
)


@pytest.fixture
def programs(tmp_path: Path, dsn: str) -> Iterator[Programs]:
    """Run programs whose watcher ships for them."""
    made = Programs(tmp_path, {"PIPESPAN_DSN": dsn, "PIPESPAN_WATCHER": "1", "PIPESPAN_EXIT_TIMEOUT_S": "20"})
    yield made
    made.end()
    end_watchers(made.state_dir)


def start_listening(programs: Programs) -> None:
    """Start the watcher: on a busy machine a program may be at its end before it is there."""
    start_watcher(programs.settings())
    assert programs.state_dir.stat().st_mode & 0o777 == 0o700
    path = socket_path(programs.settings())
    assert path is not None
    wait_for(path.exists)


def dsn_of(programs: Programs) -> str:
    return programs.environ["PIPESPAN_DSN"]


POOL = """
    from concurrent.futures import ProcessPoolExecutor
    def work(number):
        with pipespan.step(f"part {number}") as step:
            logging.warning("part %d", number)
            pipespan.flush()
        return "psycopg" in sys.modules
    if __name__ == "__main__":
        with pipespan.pipeline("run"), ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1])) as pool:
            pipespan.flush()
            drivers = list(pool.map(pipespan.wrap(work), range(4)))
        assert pipespan.flush()
        with __import__("psycopg").connect(os.environ["PIPESPAN_DSN"]) as own:
            print(own.execute("select count(*) from pg_stat_activity where datname = current_database()").fetchone()[0])
        print(drivers)
"""


@pytest.mark.parametrize("start", ["fork", "forkserver"])
def test_a_program_and_its_workers_need_no_driver(programs: Programs, start: str) -> None:
    """All of it goes over one connection, which is closed when the last program has left."""
    start_listening(programs)
    ran = programs.run(POOL, start)
    assert ran.err == ""
    assert ran.out.splitlines() == ["2", "[False, False, False, False]"]
    assert count(dsn_of(programs), OTHERS) == 0
    with closing(PostgresSource(dsn_of(programs))) as source:
        seen = Seen(source)
        assert Counter(seen.messages()) == {f"part {number}": 1 for number in range(4)}
        assert set(seen.statuses().values()) == {"completed"}
        seen.check_sums()


def test_it_is_nobodys_to_read(programs: Programs) -> None:
    """The socket is the user's alone."""
    start_listening(programs)
    path = socket_path(programs.settings())
    assert path is not None
    assert path.stat().st_mode & 0o077 == 0


def carried_job(programs: Programs, **environ: str) -> Job:
    """Start the job and return it when some of its rows have come through the watcher."""
    start_listening(programs)
    job = start_job(programs, **environ)
    wait_for(lambda: count(dsn_of(programs), "select count(*) from pipeline_logs") > 0)
    assert len(watchers_of(programs.state_dir)) == 1
    return job


def signal_watcher(programs: Programs, number: signal.Signals) -> None:
    for pid in watchers_of(programs.state_dir):
        os.kill(pid, number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_watcher_is_killed_in_the_midst(programs: Programs, number: signal.Signals) -> None:
    """Its programs ship by themselves from then on, and say nothing of it: each row is there once."""
    job = carried_job(programs)
    signal_watcher(programs, number)
    assert job.go_on().until("whole").end().err == ""
    audit(dsn_of(programs))


def test_the_watcher_is_frozen_in_the_midst(programs: Programs) -> None:
    """The exit waits no longer for it than for a database that does not answer; nothing comes twice afterwards."""
    job = carried_job(programs, PIPESPAN_EXIT_TIMEOUT_S=str(EXIT_S))
    signal_watcher(programs, signal.SIGSTOP)
    ended = job.go_on().until("whole").end()
    assert ended.took_s < MARGIN_S
    assert ended.exit_s < EXIT_S + MARGIN_S
    assert len(ended.lines) == 1
    assert "rows wait in the spool" in ended.lines[0]
    assert deliver(programs) > 0
    signal_watcher(programs, signal.SIGCONT)
    wait_for(lambda: count(dsn_of(programs), OTHERS) == 0)
    audit(dsn_of(programs))


def test_a_program_whose_interpreter_is_held_is_fetched_from(programs: Programs) -> None:
    """What it said before some C code kept the interpreter is there to be read meanwhile: no thread of its ships it."""
    start_listening(programs)
    program = programs.start(
        """
        import ctypes
        with pipespan.pipeline("run"):
            logging.warning("first")
            time.sleep(3)  # the first round is the program's own
            logging.warning("last words")
            ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)
            print("let go", flush=True)
        """,
        PIPESPAN_FLUSH_INTERVAL_S="0.2",
    )
    said = "select count(*) from pipeline_logs where message = 'last words'"
    wait_for(lambda: count(dsn_of(programs), said) == 1)
    assert program.stdout is not None
    assert not select.select([program.stdout], [], [], 0)[0]
    out, err = program.communicate("x", timeout=60)
    assert (program.returncode, out, err) == (0, "let go\n", "")
    assert count(dsn_of(programs), said) == 1


WORKER = """
    STDIN = os.dup(0)  # a worker's own is empty
    def work():
        with pipespan.step("part"):
            logging.warning("first")
            time.sleep(2)  # the first round is its own
            print("done", flush=True)
            os.read(STDIN, 1)
            logging.warning("last words")
    if __name__ == "__main__":
        import pipespan.wiring.runtime
        pipespan.wiring.runtime.CHILD_EXIT_S = 60  # so long a worker would wait that ships by itself
        with pipespan.pipeline("run"):
            worker = multiprocessing.get_context("fork").Process(target=pipespan.wrap(work))
            worker.start()
            worker.join()
            print("gone", flush=True)
            os.read(STDIN, 1)
"""


@pytest.mark.parametrize("what", ["well", "killed"])
def test_the_end_of_a_worker_waits_for_nobody(programs: Programs, what: str) -> None:
    """Not for a table that is locked; its last words arrive all the same, once, whatever becomes of the courier."""
    start_listening(programs)
    program = programs.start(WORKER, PIPESPAN_FLUSH_INTERVAL_S="0.2", PIPESPAN_EXIT_TIMEOUT_S="60")
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stdout.readline() == "done\n"
    said = "select count(*) from pipeline_logs where message = 'last words'"
    with psycopg.connect(dsn_of(programs)) as connection:
        connection.execute("lock table pipeline_logs in access exclusive mode")
        program.stdin.write("\n")
        program.stdin.flush()
        assert select.select([program.stdout], [], [], 30)[0]
        assert program.stdout.readline() == "gone\n"
        if what == "killed":
            end_watchers(programs.state_dir)
    if what == "well":
        wait_for(lambda: count(dsn_of(programs), said) == 1)
        wait_for(lambda: len(find_streams(programs.settings().state_dir / "spool")) == 1)
    _, err = program.communicate("\n", timeout=60)
    assert (program.returncode, err) == (0, "")
    assert count(dsn_of(programs), said) == 1
    assert count(dsn_of(programs), "select count(*) from processing_jobs where status <> 'completed'") == 0


def test_another_password_is_another_way(tmp_path: Path, server: Server) -> None:
    """A program with a wrong one is told so, however well the watcher knows the right one; others are not disturbed."""
    server.ask_for_passwords()
    server.rules("local all tests trust", "local all all scram-sha-256")
    right = server.dsn(dbname="work", user="guarded", password="right")
    wrong = server.dsn(dbname="work", user="guarded", password="wrong")
    programs = Programs(tmp_path, {"PIPESPAN_DSN": right, "PIPESPAN_WATCHER": "1"})
    try:
        started = start_job(programs, PIPESPAN_EXIT_TIMEOUT_S="20")
        wait_for(lambda: count(right, "select count(*) from pipeline_logs") > 0)
        strange = through(programs, bool, PIPESPAN_DSN=wrong, PIPESPAN_EXIT_TIMEOUT_S="20")
        assert "password authentication failed" in strange.err
        assert started.go_on().until("whole").end().err == ""
        deliver(programs)  # what was left by the other: it is for the same database
        with psycopg.connect(right) as connection:
            row = connection.execute("select count(*) from experiments where status = 'completed'").fetchone()
            assert row == (2,)
    finally:
        programs.end()
        end_watchers(programs.state_dir)


def test_a_crowd_starts_one_watcher(programs: Programs) -> None:
    """Programs that start at the same moment come to terms: one ships, and all is there."""
    crowd = [
        programs.start('with pipespan.pipeline("run"): logging.warning("one of many")') for _ in range(6)
    ]
    for one in crowd:
        _, err = one.communicate(timeout=60)
        assert (one.returncode, err) == (0, "")
    wait_for(lambda: len(watchers_of(programs.state_dir)) == 1)
    said = "select count(*) from pipeline_logs where message = 'one of many'"
    assert count(dsn_of(programs), said) == 6
    assert count(dsn_of(programs), "select count(*) from experiments where status = 'completed'") == 6
