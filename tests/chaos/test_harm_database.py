"""Whatever the database does, the job ends as it would have, waits for nothing, and loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from pipespan.store.postgres.migrate import migrate
from pipespan.store.sqlfiles import open_sql
from tests.chaos.harm import EXIT_S, MARGIN_S, Ended, audit, can_mount, deliver, fill, start_job, through
from tests.chaos.patients import end_watchers
from tests.fixtures.proxy import Proxy
from tests.store.releases import other_release
from tests.wiring.programs import Programs
from tests.wiring.server import Server

pytestmark = pytest.mark.chaos


BOTH_WAYS = pytest.mark.parametrize("job", ["0", "1"], ids=["by itself", "by the courier"], indirect=True)


@pytest.fixture
def job(request: pytest.FixtureRequest, tmp_path: Path, server: Server) -> Iterator[Programs]:
    """Run programs that ship to the test's own server: each for itself, or through the watcher."""
    made = Programs(
        tmp_path,
        {
            "PIPESPAN_DSN": work(server),
            "PIPESPAN_FLUSH_INTERVAL_S": "0.02",
            "PIPESPAN_WATCHER": getattr(request, "param", "0"),
        },
    )
    yield made
    made.end()
    end_watchers(made.state_dir)


def work(server: Server, **changes: str) -> str:
    return server.dsn(**{"dbname": "work", "user": "guarded", "password": "right", **changes})


def waited_for_nothing(ended: Ended) -> None:
    """Check that neither work nor exit waited for the fault."""
    assert ended.took_s < MARGIN_S
    assert ended.exit_s < EXIT_S + MARGIN_S


def told_that_rows_wait(ended: Ended) -> None:
    """Check that the person at the terminal was told, in a few lines, what waits and what delivers it."""
    assert 1 <= len(ended.lines) <= 3
    assert "rows wait in the spool" in ended.lines[-1]
    assert "`pipespan ship` delivers them" in ended.lines[-1]
    assert "right" not in ended.err


@BOTH_WAYS
def test_the_healthy_run(job: Programs, server: Server) -> None:
    """Without a fault all is in the tables when the process is gone, and nothing is said."""
    ended = through(job, bool, PIPESPAN_EXIT_TIMEOUT_S="20")
    assert ended.err == ""
    audit(work(server))


@BOTH_WAYS
def test_absent(job: Programs, server: Server) -> None:
    """The database goes away in the midst and does not come back before the end."""
    ended = through(job, server.kill)
    waited_for_nothing(ended)
    told_that_rows_wait(ended)
    server.start()
    deliver(job)
    audit(work(server))


@BOTH_WAYS
def test_frozen(job: Programs, server: Server) -> None:
    """It takes connections and statements and answers none of them."""
    ended = through(job, server.freeze)
    waited_for_nothing(ended)
    told_that_rows_wait(ended)
    server.thaw()
    deliver(job)
    audit(work(server))


@BOTH_WAYS
def test_frozen_for_a_while(job: Programs, server: Server) -> None:
    """What it was sent before it froze is not sent a second time when it goes on."""
    started = start_job(job, PIPESPAN_EXIT_TIMEOUT_S="20")
    server.freeze()
    started.go_on().until("whole")
    server.thaw()
    assert started.end().err == ""
    audit(work(server))


def test_slow(job: Programs, server: Server) -> None:
    """Each statement takes 2 s."""
    proxy = Proxy(f"{server.folder}/.s.PGSQL.5432")
    try:
        job.using(PIPESPAN_DSN=work(server, host="127.0.0.1", port=str(proxy.port), sslmode="disable"))
        server.rules("local all all trust")

        def slow() -> None:
            proxy.delay_s = 2.0

        ended = through(job, slow)
        waited_for_nothing(ended)
        proxy.delay_s = 0.0
        deliver(job)
        audit(work(server))
    finally:
        proxy.close()


@pytest.mark.parametrize("how", ["no rule lets it in", "no connection is left"])
def test_refusing(job: Programs, server: Server, how: str) -> None:
    """It lets nobody in any more."""
    with ExitStack() as stack:

        def refuse() -> None:
            if how == "no rule lets it in":
                server.rules("local all tests trust", "local all all reject")
            else:
                administrate(server, "alter role guarded connection limit 0")
            server.cut("guarded")

        stack.callback(administrate, server, "alter role guarded connection limit -1")
        ended = through(job, refuse)
        waited_for_nothing(ended)
        told_that_rows_wait(ended)
        server.rules("local all all trust")
    deliver(job)
    audit(work(server))


def administrate(server: Server, statement: str) -> None:
    with closing(psycopg.connect(server.dsn(), autocommit=True)) as connection:
        connection.execute(statement)  # type: ignore[call-overload] # literals of this module


@contextmanager
def small_disk(server: Server) -> Iterator[Path]:
    """Give a folder on a disk of 24 MB, which the server may use."""
    folder = Path(tempfile.mkdtemp(prefix="pspan-disk-", dir="/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=True)
    try:
        account = server.server_account
        (folder / "space").mkdir()
        os.chown(folder / "space", account.uid or 0, account.gid or 0)
        yield folder
    finally:
        server.kill()
        subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def test_full(job: Programs, server: Server) -> None:
    """Its disk is full; when there is room again, it gets what it missed."""
    if not can_mount():
        with closing(psycopg.connect(work(server), autocommit=True)) as connection:
            connection.execute(FULL)
        ended = through(job, bool)
        told_that_rows_wait(ended)
        with closing(psycopg.connect(work(server), autocommit=True)) as connection:
            connection.execute("drop trigger full_disk on pipespan_streams")
        deliver(job)
        audit(work(server))
        return
    with small_disk(server) as disk:
        administrate(server, f"create tablespace small location '{disk / 'space'}'")
        administrate(server, "create database small owner guarded tablespace small")
        small = work(server, dbname="small")
        migrate(small)
        job.using(PIPESPAN_DSN=small)
        started = start_job(job)
        filler = fill(disk)
        # Pages that are allocated already would take the job's few rows.
        use_up_pages(small)
        ended = started.go_on().until("whole").end()
        waited_for_nothing(ended)
        told_that_rows_wait(ended)
        assert "disk" in ended.err
        filler.unlink()
        deliver(job)
        audit(small)
        administrate(server, "drop database small")
        administrate(server, "drop tablespace small")


FULL = """
    create function full_disk() returns trigger language plpgsql as
    $$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$;
    create trigger full_disk before insert or update on pipespan_streams execute function full_disk()
"""


def use_up_pages(dsn: str) -> None:
    """Write into the ledger of deliveries until no page takes a row more."""
    with closing(psycopg.connect(dsn, autocommit=True)) as connection, pytest.raises(psycopg.errors.DiskFull):
        while True:
            connection.execute(
                "insert into pipespan_streams (stream_id, lane, shipped_bytes)"
                " select gen_random_uuid(), 'keep', 0 from generate_series(1, 20)"
            )


@BOTH_WAYS
def test_restarted(job: Programs, server: Server) -> None:
    """It is restarted while rows are on their way, and the job's end finds it there."""

    def restart() -> None:
        server.kill()
        server.start()

    ended = through(job, restart, PIPESPAN_EXIT_TIMEOUT_S="20")
    assert len(ended.lines) <= 1
    audit(work(server))


def test_schema_too_old(job: Programs, server: Server) -> None:
    """Its schema is of an earlier release: nothing is altered unasked, and the command is named."""
    administrate(server, "drop database work with (force)")
    administrate(server, "create database work owner guarded")
    migrate(work(server), other_release(*open_sql().migrations()[:3]))
    ended = through(job, bool, PIPESPAN_EXIT_TIMEOUT_S="20")
    waited_for_nothing(ended)
    told_that_rows_wait(ended)
    assert "pipespan db migrate" in ended.err
    with closing(psycopg.connect(work(server))) as connection:
        row = connection.execute("select count(*) from pipespan_migrations").fetchone()
        assert row == (3,)
    migrate(work(server))
    deliver(job)
    audit(work(server))


def test_password_changed(job: Programs, server: Server) -> None:
    """The password is changed in the midst and the connection is cut; with the new one all is delivered."""
    server.rules("local all tests trust", "local all all scram-sha-256")

    def change() -> None:
        with closing(psycopg.connect(server.dsn(), autocommit=True)) as connection:
            connection.execute(sql.SQL("alter role guarded password {}").format(sql.Literal("new")))
        server.cut("guarded")

    ended = through(job, change)
    waited_for_nothing(ended)
    told_that_rows_wait(ended)
    assert "password" in ended.err
    job.using(PIPESPAN_DSN=work(server, password="new"))
    deliver(job)
    audit(work(server, password="new"))
