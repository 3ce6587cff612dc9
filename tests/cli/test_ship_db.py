from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipespan.cli.app import main
from pipespan.cli.options import Invocation
from pipespan.cli.services import WiredServices
from pipespan.config import Settings
from pipespan.receiver.options import ServeOptions
from pipespan.store.base import Sink, Source
from pipespan.store.memory import MemoryStore
from tests.query.samples import ListSource


@dataclass
class Report:
    rows: int = 0
    rejected: int = 0
    waiting_streams: int = 0
    waiting_bytes: int = 0
    live_streams: int = 0
    other_targets: Sequence[str] = ()


@dataclass
class FakeServices(WiredServices):
    """A composition root that answers what it is told to."""

    report: Report = field(default_factory=Report)
    applied: Sequence[str] = ()
    is_running: bool = True
    timeouts: list[float] = field(default_factory=list)

    def load_settings(self, *, dsn: str | None, state_dir: Path | None) -> Settings:
        return Settings(dsn=dsn, state_dir=state_dir or Path("/nowhere"))

    def open_source(self, settings: Settings) -> Source:
        return ListSource()

    def open_import_sink(self, settings: Settings) -> Sink:
        return MemoryStore()

    def migrate(self, settings: Settings) -> Sequence[str]:
        return self.applied

    def waiting_migrations(self, settings: Settings) -> tuple[str, ...]:
        return ()

    def make_roles(self, settings: Settings) -> None:
        pass

    def database_url(self, settings: Settings) -> str:
        return f"postgresql://ada@{settings.dsn}/runs"

    def stop_database(self, settings: Settings) -> bool:
        return self.is_running

    def serve_token(self, settings: Settings) -> str:
        return "token"

    def serve(self, settings: Settings, options: ServeOptions, on_ready: Any) -> int:
        on_ready(options.grpc_port, options.http_port)
        return 0

    def ship(self, settings: Settings, timeout_s: float) -> Report:
        self.timeouts.append(timeout_s)
        return self.report


def call(services: FakeServices, *args: str) -> int:
    return main(args, Invocation(services=services))


def test_ship_is_0_when_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """All delivered, also when living processes still ship for themselves."""
    services = FakeServices(Report(rows=1200, live_streams=1, other_targets=("postgres:other/x",)))
    assert call(services, "ship", "--timeout", "2.5") == 0
    printed = capsys.readouterr()
    assert printed.out == "delivered 1,200 rows\n"
    assert "postgres:other/x" in printed.err
    assert services.timeouts == [2.5]


def test_ship_is_1_when_something_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    """A script can tell that it has to come again."""
    services = FakeServices(Report(waiting_streams=2, waiting_bytes=5000, rejected=1))
    assert call(services, "ship") == 1
    assert "2 streams" in capsys.readouterr().err
    assert call(services, "ship", "--json") == 1
    assert json.loads(capsys.readouterr().out)["waiting_streams"] == 2


def test_db_migrate(capsys: pytest.CaptureFixture[str]) -> None:
    """It tells what it applied, or that there was nothing to do."""
    assert call(FakeServices(applied=("0001_init", "0002_more")), "db", "migrate") == 0
    assert capsys.readouterr().out == "applied 0001_init\napplied 0002_more\n"
    assert call(FakeServices(), "db", "migrate") == 0
    assert capsys.readouterr().out == "the schema is up to date\n"
    assert call(FakeServices(), "db", "migrate", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"applied": []}


def test_db_url_and_stop(capsys: pytest.CaptureFixture[str]) -> None:
    """The address is for other tools; stopping twice is no error."""
    assert call(FakeServices(), "db", "url", "--dsn", "host7") == 0
    assert capsys.readouterr().out == "postgresql://ada@host7/runs\n"
    assert call(FakeServices(), "db", "stop") == 0
    assert call(FakeServices(is_running=False), "db", "stop") == 0
    printed = capsys.readouterr()
    assert printed.out == "stopped the embedded database in /nowhere\nno embedded database runs in /nowhere\n"
    assert printed.err == ""


def test_db_stop_leaves_other_servers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Where an address is set, only the embedded database is stopped, and that is said."""
    assert call(FakeServices(), "db", "stop", "--dsn", "host7", "--state-dir", "/data") == 0
    printed = capsys.readouterr()
    assert printed.out == "stopped the embedded database in /data\n"
    assert "PIPESPAN_DSN" in printed.err
    assert "not touched" in printed.err


def test_ship_tells_how_to_deliver_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows for other databases are no failure; each is told with the command that delivers it, and how to give up."""
    targets = ("embedded:/data/my runs", "postgres:db7/runs")
    assert call(FakeServices(Report(other_targets=targets)), "ship", "--state-dir", "/data") == 0
    told = capsys.readouterr().err
    assert "`PIPESPAN_STATE_DIR='/data/my runs' pipespan ship`" in told
    assert "`pipespan ship --dsn ...`" in told
    assert "remove the folders in /data/spool" in told
    assert call(FakeServices(Report(other_targets=targets)), "ship", "--dsn", "host7") == 0
    assert "`PIPESPAN_DSN= PIPESPAN_STATE_DIR=" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("run",), ("ship",), ("db", "migrate"), ("status",)])
def test_the_address_is_not_only_for_reading(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of `--dsn` holds for commands that write, too."""
    assert call(FakeServices(), *command, "--help") == 0
    assert "to read from" not in " ".join(capsys.readouterr().out.split())
