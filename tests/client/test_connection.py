"""One client for several threads, over a database that goes away and comes back."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import psycopg
import pytest

import pipespan
from pipespan import Client
from pipespan.errors import StoreUnavailableError, UsageError
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.rows import Shipper, experiment, log, node
from tests.fixtures.waiting import wait_for
from tests.wiring.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="pspan-", dir="/tmp") as folder:
        made = Server(Path(folder))
        made.start()
        try:
            made.migrate()
            yield made
        finally:
            made.kill()


def test_a_client_outlives_a_restart_of_the_database(server: Server) -> None:
    """While it is away calls fail with the remedy; afterwards the same client answers again."""
    sink = PostgresSink(server.dsn())
    Shipper(sink).ship(experiment())
    sink.close()
    with Client(server.dsn()) as client:
        before = client.experiments()
        server.kill()
        with pytest.raises(StoreUnavailableError, match="check PIPESPAN_DSN"):
            client.experiments()
        server.start()
        assert client.experiments() == before
        server.kill()
        server.start()
        assert client.experiments() == before  # the lost connection is not even noticed


def test_threads_share_a_client(client: Client) -> None:
    """Calls from many threads take turns, each gets its own answer, and following blocks nobody."""
    expected = {level: len(client.logs(level=level, limit=1000)) for level in ("INFO", "WARNING", "ERROR")}
    wrong: list[object] = []

    def ask(level: pipespan.Client | str) -> None:
        try:
            for _ in range(10):
                found = client.logs(level=level, limit=1000)  # type: ignore[arg-type]
                if len(found) != expected[level]:  # type: ignore[index]
                    wrong.append(found)
            wrong.extend(
                one for one in client.follow_logs(backlog=3) if one.experiment_id != client.experiment().id
            )
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(level,)) for level in expected for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


def test_closing_waits_for_who_is_being_answered(dsn: str) -> None:
    """A connection that is freed under the thread that uses it ends the whole process."""
    sink = PostgresSink(dsn)
    Shipper(sink).ship(experiment(), log("there"))
    sink.close()
    with futures.ThreadPoolExecutor(2) as pool, psycopg.connect(dsn) as holder:
        client = Client(dsn)
        client.experiments()
        holder.execute("lock table pipeline_logs")
        answer = pool.submit(client.logs)
        wait_for(lambda: waits_for_a_lock(dsn))
        closing = pool.submit(client.close)
        assert not futures.wait([closing], 0.3).done
        holder.rollback()
        assert [found.message for found in answer.result(30)] == ["there"]
        closing.result(30)


def waits_for_a_lock(dsn: str) -> bool:
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("select from pg_stat_activity where wait_event_type = 'Lock'")
        return found.rowcount > 0


def test_following_sees_what_comes(dsn: str) -> None:
    """Records that are written later are yielded later, and the end of the experiment ends it."""
    sink = PostgresSink(dsn)
    shipper = Shipper(sink)
    shipper.ship(experiment(), node("p"), log("first"))
    seen = []
    with Client(dsn) as client:
        for record in client.follow_logs():
            seen.append(record.message)
            if record.message == "first":
                shipper.ship(log("second"))
                shipper.ship(experiment(status="completed", version=2, ended_at=2 * 10**18))
    sink.close()
    assert seen == ["first", "second"]


def test_reading_writes_nothing(recorded_dsn: str, client: Client) -> None:
    """No question of the client changes a row: a role that may only read suffices."""
    with psycopg.connect(recorded_dsn, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'alter database "{name}" set default_transaction_read_only to on')
        try:
            with Client(recorded_dsn) as reader:
                assert reader.status().is_over
                assert reader.export() == client.export()
                assert reader.history("nightly")
                assert reader.timeline()
        finally:
            connection.execute("set default_transaction_read_only to off")
            connection.execute(f'alter database "{name}" reset default_transaction_read_only')


def test_without_a_dsn_the_settings_count(recorded_dsn: str, tmp_path: Path) -> None:
    """The client reads where this process would write; making one loads the database driver only when asked."""
    code = (
        "import sys, pipespan\n"
        "client = pipespan.Client()\n"
        "assert 'psycopg' not in sys.modules\n"
        "print(client.experiment().name)\n"
    )
    environment = {
        "PIPESPAN_DSN": recorded_dsn,
        "PIPESPAN_STATE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(pipespan.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.stdout, done.stderr) == ("nightly\n", "")


def test_data_frames(client: Client) -> None:
    """A row for each record, a column for each field, also when there is none; records within are columns too."""
    pandas = pytest.importorskip("pandas")
    frame = client.logs(limit=3).to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame["message"]) == [one.message for one in client.logs(limit=3)]
    empty = client.logs(search="nothing of this kind").to_pandas()
    assert list(empty.columns) == list(frame.columns)
    assert len(empty) == 0
    assert "first_seen_log.timestamp" in client.errors().to_pandas().columns
    assert len(client.trends("nightly").to_pandas()) == len(client.trends("nightly"))


def test_data_frames_without_pandas(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        client.logs().to_pandas()
