"""Experiments out of one database and into another, through the public client."""

from __future__ import annotations

import copy
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipespan import Client
from pipespan.config import load_settings
from pipespan.errors import ConflictError, DocumentError, NotFoundError, RefusedError
from pipespan.query.exporting import export_document
from pipespan.query.importing import import_document, parse_document
from pipespan.store.postgres.write import PostgresSink
from pipespan.wiring.stores import migrate, open_import_sink, open_source
from tests.fixtures.rows import Shipper, log

Document = dict[str, Any]
TABLES = (
    "experiments",
    "processing_jobs",
    "pipeline_progress",
    "pipeline_logs",
    "pipeline_events",
    "pipeline_metrics",
)


@pytest.fixture
def document(client: Client) -> Document:
    """Return a real run as a document that went through a file."""
    return json.loads(json.dumps(client.export()))


def counts(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        found = [connection.execute(f"select count(*) from {table}").fetchone() for table in TABLES]
    return [0 if one is None else one[0] for one in found]


def test_an_import_gives_an_equal_experiment(client: Client, elsewhere: Client, document: Document) -> None:
    """Document, tree, percents, sums, logs, error counts and history are those of the origin."""
    report = elsewhere.import_(document)
    assert (report.is_new, report.experiment_id, report.name) == (True, client.experiment().id, "nightly")
    assert report.rows == {
        name: len(document[name]) for name in ("jobs", "nodes", "logs", "events", "metrics")
    }
    assert elsewhere.export() == document

    def tree(one: Client) -> list[tuple[Any, ...]]:
        return [
            (
                node.node_id,
                node.status,
                node.progress_percent,
                node.child_weight,
                node.child_sum,
                node.metadata,
            )
            for node in one.nodes()
        ]

    assert tree(elsewhere) == tree(client)
    assert [one.message for one in elsewhere.logs()] == [one.message for one in client.logs()]
    assert elsewhere.status().error_count == client.status().error_count == 3
    assert elsewhere.experiment().error_count == 3
    assert elsewhere.history("nightly") == client.history("nightly", limit=1)
    assert [one.location for one in elsewhere.artifacts()] == [one.location for one in client.artifacts()]


def test_importing_again_changes_nothing(elsewhere: Client, document: Document, dsn: str) -> None:
    """Nothing is written a second time, also by another client, or with another order of keys."""
    elsewhere.import_(document)
    before = counts(dsn)
    assert elsewhere.import_(document).is_new is False
    again = json.loads(json.dumps(document, sort_keys=True))
    with Client(dsn) as other:
        assert other.import_(again).is_new is False
    assert counts(dsn) == before


def test_the_origin_knows_its_own_document(client: Client, document: Document, recorded_dsn: str) -> None:
    """What was recorded here and never imported is there already, too."""
    before = counts(recorded_dsn)
    assert client.import_(document).is_new is False
    assert counts(recorded_dsn) == before


def test_two_imports_at_once_bring_it_once(document: Document, dsn: str) -> None:
    """Whoever comes second writes nothing."""
    outcomes: list[bool] = []
    start = threading.Barrier(3)

    def bring() -> None:
        with Client(dsn) as one:
            start.wait(10)
            outcomes.append(one.import_(document).is_new)

    threads = [threading.Thread(target=bring) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [False, False, True]
    assert counts(dsn)[3:] == [len(document[name]) for name in ("logs", "events", "metrics")]


def test_an_experiment_that_was_removed_comes_again(elsewhere: Client, document: Document, dsn: str) -> None:
    """The ledger of the first import does not keep the second from writing."""
    elsewhere.import_(document)
    with psycopg.connect(dsn) as connection:
        for table in reversed(TABLES):
            connection.execute(f"delete from {table}")
    assert elsewhere.import_(document).is_new is True
    assert elsewhere.export() == document


def test_the_same_id_with_another_content_is_refused(elsewhere: Client, document: Document, dsn: str) -> None:
    """Nothing is merged by chance: the error says so, and nothing is written."""
    elsewhere.import_(document)
    before = counts(dsn)
    changed = copy.deepcopy(document)
    changed["logs"].append(changed["logs"][0])
    with pytest.raises(ConflictError, match="another content"):
        elsewhere.import_(changed)
    assert counts(dsn) == before
    stolen = copy.deepcopy(document)
    stolen["experiment"]["id"] = "deadbeef-0000-4000-8000-000000000000"
    with pytest.raises(ConflictError, match="job"):
        elsewhere.import_(stolen)
    assert counts(dsn) == before


def test_an_experiment_with_pruned_logs_keeps_its_error_count(elsewhere: Client, document: Document) -> None:
    """The count is the experiment's own: retention may have removed the records."""
    document["logs"] = []
    elsewhere.import_(document)
    assert elsewhere.experiment().error_count == 3
    assert elsewhere.export() == document


def test_a_document_is_written_in_pieces(client: Client) -> None:
    """The stream gets the same document, row by row, and never a large piece."""
    pieces: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            pieces.append(text)
            return len(text)

    client.export_to(Stream())
    assert json.loads("".join(pieces)) == client.export()
    assert max(map(len, pieces)) < 20_000
    with pytest.raises(NotFoundError):
        client.export_to(Stream(), "nobody")


def test_what_is_unusual_survives(elsewhere: Client, dsn: str, pg_admin_dsn: str, pg_template: str) -> None:
    """Texts that were cut, controls, foreign letters and odd figures come back as they were stored."""
    from tests.fixtures.postgres import fresh_database  # noqa: PLC0415 - for this test alone
    from tests.fixtures.rows import event, experiment, metric, node  # noqa: PLC0415 - as above

    with fresh_database(pg_admin_dsn, pg_template) as origin_dsn:
        sink = PostgresSink(origin_dsn)
        Shipper(sink).ship(
            experiment(name="\u202eodd\x1b[31m\x7f", params={"big": 10**40, "f": 1e-300, "t": "\x00\u2028"}),
            node("p", weight=float("nan"), start_time=None),
            log("x" * 3_000_000, traceback="y" * 1_000_001, timestamp=-62_135_596_800 * 10**9),
            log("last", timestamp=253_402_300_799 * 10**9),
            metric(memory_mb=float("inf"), cpu_percent=float("nan")),
            event("e", details={"deep": [[[[{}]]]], "\U0001f600": -0.5}),
        )
        sink.close()
        with Client(origin_dsn) as origin:
            document = json.loads(json.dumps(origin.export()))
    elsewhere.import_(document)
    assert elsewhere.export() == document
    assert elsewhere.logs()[0].message.endswith("[cut: 3000000 characters]")


def without(key: str) -> Callable[[Document], object]:
    return lambda document: document.pop(key)


def put(value: Any, *path: Any) -> Callable[[Document], object]:
    def change(document: Document) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


BAD: dict[str, tuple[Callable[[Document], object], str]] = {
    "no format": (without("format"), "no exported experiment"),
    "other format": (put("x", "format"), "no exported experiment"),
    "newer": (put(2, "version"), "has version 2"),
    "no section": (without("metrics"), "lacks the part 'metrics'"),
    "unknown section": (put([], "tables"), "unknown part 'tables'"),
    "experiment is none": (put([], "experiment"), "experiment is a list of 0"),
    "no id": (put("nobody", "experiment", "id"), "experiment.id cannot be 'nobody'; it takes a UUID"),
    "null id": (put(None, "experiment", "id"), "experiment.id"),
    "errors": (put(-1, "experiment", "error_count"), "experiment.error_count"),
    "endless errors": (put(10**5000, "experiment", "error_count"), "experiment.error_count"),
    "section is none": (put({}, "logs"), "logs is an object of 0"),
    "row is none": (put("x" * 10_000, "logs", 3), r"logs\[3\] is 'xxx"),
    "lacks": (lambda document: document["logs"][2].pop("message"), r"logs\[2\] lacks the field 'message'"),
    "unknown field": (put(1, "nodes", 0, "percent"), r"nodes\[0\] has the unknown field 'percent'"),
    "status": (put("over", "nodes", 1, "status"), r"nodes\[1\].status cannot be 'over'"),
    "level": (put(["INFO"], "logs", 0, "level"), r"logs\[0\].level cannot be a list of 1"),
    "time": (put("2026-01-01 12:00", "logs", 0, "timestamp"), r"logs\[0\].timestamp .* it takes a time"),
    "year": (put("-4000-01-01T00:00:00Z", "logs", 0, "timestamp"), r"logs\[0\].timestamp"),
    "no time": (put(None, "logs", 0, "timestamp"), r"logs\[0\].timestamp cannot be None"),
    "number": (put(1.5, "nodes", 0, "completed_units"), r"nodes\[0\].completed_units cannot be 1.5"),
    "truth": (put(True, "nodes", 0, "completed_units"), r"nodes\[0\].completed_units cannot be True"),
    "too large": (put(2**63, "nodes", 0, "completed_units"), r"nodes\[0\].completed_units"),
    "too large attempt": (put(2**31, "nodes", 0, "attempt"), r"nodes\[0\].attempt"),
    "too long": (put("p" * 256, "nodes", 0, "node_id"), r"nodes\[0\].node_id .* 255"),
    "float": (put("much", "metrics", 0, "memory_mb"), r"metrics\[0\].memory_mb cannot be 'much'"),
    "tags": (put([1], "experiment", "tags"), "experiment.tags cannot be a list of 1"),
    "twice": (lambda document: document["nodes"].append(document["nodes"][0]), "'nightly' is there twice"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_is_refused(name: str, document: Document) -> None:
    """The error names the place and what is taken there, and is never endless."""
    change, told = BAD[name]
    change(document)
    with pytest.raises(DocumentError, match=told) as caught:
        parse_document(document)
    assert len(str(caught.value)) < 500


def test_of_a_bad_document_nothing_is_written(elsewhere: Client, dsn: str, document: Document) -> None:
    """It is read whole before the first row is written."""
    for change, _ in BAD.values():
        bad = copy.deepcopy(document)
        change(bad)
        with pytest.raises(DocumentError):
            elsewhere.import_(bad)
    assert counts(dsn) == [0] * len(TABLES)


@pytest.mark.parametrize("nothing", [None, 5, "text", [], {}, [{"format": "pipespan.experiment"}]])
def test_what_is_no_document_is_refused(nothing: Any) -> None:
    """Whatever else was in the file."""
    with pytest.raises(DocumentError, match="pipespan export"):
        parse_document(nothing)


def test_a_document_that_the_database_refuses_leaves_nothing(
    elsewhere: Client, document: Document, dsn: str
) -> None:
    """All rows are one transaction: what fails at the last one takes back the first."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "alter table pipeline_metrics add constraint never check (memory_mb is distinct from -5)"
        )
    document["metrics"].append({**document["metrics"][0], "memory_mb": -5.0})
    with pytest.raises(RefusedError):
        elsewhere.import_(document)
    assert counts(dsn) == [0] * len(TABLES)
    document["metrics"].pop()
    assert elsewhere.import_(document).is_new


def test_a_named_schema_is_exported_and_imported(
    client: Client, document: Document, empty_dsn: str, tmp_path: Path
) -> None:
    """Where the tables are in a schema of their own, all goes there and comes from there."""
    settings = load_settings({}, tmp_path, dsn=empty_dsn, schema="runs of us", state_dir=tmp_path)
    migrate(settings)
    source, sink = open_source(settings), open_import_sink(settings)
    try:
        assert import_document(document, source, sink).is_new
        assert export_document(source, client.experiment().id) == document
        assert source.phase_history("nightly", "fit", limit=1) == client.history("nightly", "fit", limit=1)
        assert source.resource_timeline(client.experiment().id, points=3)
    finally:
        source.close()
        sink.close()
