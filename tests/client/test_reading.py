"""The client over a real Postgres with runs of a real pipeline."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from pipespan import Client
from pipespan.errors import AmbiguousError, NotFoundError, StoreUnavailableError, UsageError
from pipespan.query.document import to_json
from tests.client.recorded import RUNS
from tests.fixtures.rows import Shipper, experiment

ANCIENT = datetime.min.replace(tzinfo=timezone.utc)
FUTURE = datetime.max.replace(tzinfo=timezone.utc)
HOSTILE = ["%", "_", "\\", "\x00", "'; drop table experiments; --", "\ud800", "%s", "$1", "x" * 1_000_000]


def test_experiments_and_references(client: Client) -> None:
    """An experiment is found by `last`, name, id and the beginning of its id, in any form of letters."""
    newest, oldest = client.experiments()
    assert newest.params["number"] == RUNS
    assert oldest.params == {"number": 1, "ä": [1, None, 0.5]}
    for reference in (
        "last",
        "nightly",
        newest.id,
        newest.id.upper(),
        newest.id[:8],
        newest.id.replace("-", ""),
    ):
        assert client.experiment(reference) == newest
    assert client.experiment() == newest
    assert client.experiment(oldest.id) == oldest
    assert [one.id for one in client.experiments(name="nightly", status="completed", tag="real", limit=1)] == [
        newest.id
    ]  # fmt: skip
    assert newest.started_at is not None
    assert client.experiments(since=newest.started_at) == [newest]
    assert client.experiments(until=newest.started_at) == [oldest]


def test_status_tree_and_nodes(client: Client) -> None:
    """The tree is there with what follows from it; nodes are the same, flat."""
    view = client.status()
    (root,) = client.tree()
    assert [child.record.node_name for child in root.children] == ["load", "fit", "never"]
    assert (view.health.word, view.is_over, view.error_count) == ("finished", True, 3)
    by_id = {one.node_id: one for one in client.nodes()}
    assert list(by_id)[:2] == ["nightly", "nightly/load"]
    assert (by_id["nightly/load"].completed_units, by_id["nightly/load"].unit) == (20, "files")
    assert [by_id[name].status for name in ("nightly/never", "nightly/fit")] == ["cancelled", "completed"]
    assert by_id["nightly"].progress_percent == 100.0
    (job,) = client.jobs()
    assert job.status == "completed"


def test_logs_are_filtered(client: Client) -> None:
    """Level, text, node and time narrow what comes; all of it in order of time."""
    everything = client.logs(limit=1000)
    assert len(everything) == 25
    assert list(everything) == sorted(everything, key=lambda one: (one.timestamp, one.id))
    assert {one.level for one in client.logs(level="WARNING")} == {"WARNING", "ERROR"}
    assert len(client.logs(search="FILE_7.csv")) == 1
    assert len(client.logs(search="100%")) == 20
    assert len(client.logs(search="cannot divide")) == 3
    assert {one.node_id for one in client.logs(node="nightly/fit", level="ERROR")} <= {
        "nightly/fit/evaluate", "nightly/fit/evaluate#2", "nightly/fit/evaluate#3",
    }  # fmt: skip
    assert [one.id for one in client.logs(limit=2)] == [one.id for one in everything[-2:]]
    tenth = everything[10].timestamp
    assert list(client.logs(since=tenth, limit=1000)) + list(client.logs(until=tenth)) != []
    assert len(client.logs(since=tenth, limit=1000)) + len(client.logs(until=tenth, limit=1000)) == 25
    elsewhere = timezone(timedelta(hours=-7))
    assert client.logs(since=tenth.astimezone(elsewhere)) == client.logs(since=tenth)


def test_logs_are_paged(client: Client) -> None:
    """With the id of the last record as cursor every record comes once."""
    seen: list[int] = []
    after = 0
    while page := client.logs(after=after, limit=7):
        assert len(page) <= 7
        seen += [one.id for one in page]
        after = page[-1].id
    assert sorted(seen) == sorted(one.id for one in client.logs(limit=1000))
    assert len(seen) == len(set(seen)) == 25


def test_a_finished_experiment_is_followed_to_its_end(client: Client) -> None:
    """All comes once, the backlog first, and nothing is waited for; other questions may be asked meanwhile."""
    seen = []
    for record in client.follow_logs(level="WARNING", backlog=5):
        seen.append(record.id)
        assert client.experiment().name == "nightly"
    assert seen == [one.id for one in client.logs(level="WARNING")]


def test_errors_events_metrics_artifacts(client: Client) -> None:
    """What was recorded beside the tree comes back typed."""
    groups = client.errors()
    assert sum(one.count for one in groups) == 3
    assert groups[0].error_type == "ValueError"
    (event,) = client.events(event_type="note", severity="WARNING")
    assert (event.title, event.details, event.node_id) == ("halfway", {"share": 0.5}, "nightly/fit")
    assert client.events(event_type="nothing") == []
    losses = [one for one in client.metrics(node="nightly/fit") if "loss" in (one.custom_metrics or {})]
    assert [one.custom_metrics for one in losses] == [
        {"loss": 1.0, "note": "good"},
        {"loss": 0.5, "note": "good"},
    ]
    model, report = client.artifacts()
    assert (model.kind, model.size_bytes, model.digest, model.metadata) == (
        "model", 1234, "sha256:00", {"accuracy": 0.97},
    )  # fmt: skip
    assert model.location.endswith("/model.bin")
    assert (report.location, report.kind, report.size_bytes) == ("s3://bucket/report.html", "html", None)
    assert client.artifacts(kind="model", node="nightly/fit") == [model]
    assert client.artifacts(kind="model", node="nightly/load") == client.artifacts(limit=0) == []


def test_history_trends_timeline_throughput(client: Client) -> None:
    """Runs of phases line up over experiments, with what they used."""
    runs = client.history("nightly", "fit")
    assert [one.node_id for one in runs] == ["nightly/fit"] * RUNS
    assert all(one.error_count == 3 and (one.peak_memory_mb or 0) > 1 for one in runs)
    assert len(client.history("nightly", limit=1)) == 3
    trends = {one.measure: one for one in client.trends("nightly", "fit")}
    assert set(trends) == {"duration_s", "peak_memory_mb", "cpu_s", "errors"}
    assert trends["duration_s"].last == tuple(one.duration_s for one in reversed(runs))
    assert client.history("nobody") == client.trends("nobody") == []
    timeline = client.timeline(points=3)
    assert len({one.bucket_start for one in timeline}) <= 3
    assert any(one.memory_mb for one in timeline)
    rates = {one.node_id: one for one in client.throughput()}
    assert rates["nightly/load"].completed_units == 20


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:10]))
def test_hostile_texts_are_plain_text(client: Client, text: str) -> None:
    """No character of a filter is special, none is refused, and the answer comes soon."""
    expected = {"%": 20, "_": 20, "\\": 2}.get(text, 0)
    assert len(client.logs(search=text, limit=1000)) == expected
    assert client.logs(node=text) == client.events(node=text) == client.metrics(node=text) == []
    assert (
        client.events(event_type=text) == client.experiments(name=text) == client.experiments(tag=text) == []
    )
    assert client.history(text, text) == client.trends(text, text) == client.timeline(node=text) == []
    with pytest.raises(NotFoundError):
        client.experiment(text)


def test_unknown_and_ambiguous_references(elsewhere: Client, dsn: str) -> None:
    """Each is an error that says what to do; an empty database says so."""
    with pytest.raises(NotFoundError, match="no experiments yet"):
        elsewhere.experiment()
    from pipespan.store.postgres.write import PostgresSink  # noqa: PLC0415 - for this test alone

    sink = PostgresSink(dsn)
    ids = [f"abcd{number}aaa-0000-4000-8000-000000000000" for number in range(2)]
    Shipper(sink).ship(*(experiment(one, name=f"train-{one[4]}") for one in ids))
    sink.close()
    with pytest.raises(AmbiguousError, match="type more"):
        elsewhere.status("abcd")
    with pytest.raises(NotFoundError, match="did you mean 'train-"):
        elsewhere.logs("train-7")
    for call in (elsewhere.tree, elsewhere.nodes, elsewhere.jobs, elsewhere.errors, elsewhere.events,
                 elsewhere.metrics, elsewhere.artifacts, elsewhere.timeline, elsewhere.throughput,
                 elsewhere.export):  # fmt: skip
        with pytest.raises(NotFoundError):
            call("nobody")
    with pytest.raises(NotFoundError):
        next(elsewhere.follow_logs("nobody"))


def test_ancient_and_future_times(client: Client) -> None:
    """Any aware time is a bound, also one that no clock in UTC shows."""
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-12))
    for since in (ANCIENT, datetime.min.replace(tzinfo=east), None):
        for until in (FUTURE, datetime.max.replace(tzinfo=west), None):
            assert len(client.logs(since=since, until=until, limit=1000)) == 25
    assert client.logs(since=FUTURE) == client.logs(until=ANCIENT) == client.events(since=FUTURE) == []
    assert client.metrics(until=ANCIENT) == client.experiments(since=FUTURE) == []


@pytest.mark.parametrize("number", [0, -5, -(2**70)])
def test_no_limit_is_too_small(client: Client, number: int) -> None:
    """Nothing comes where nothing is wanted."""
    assert client.logs(limit=number) == client.events(limit=number) == client.experiments(limit=number) == []
    assert client.history("nightly", limit=number) == client.metrics(limit=number) == []


def test_no_limit_is_too_large(client: Client) -> None:
    """All comes; a cursor beyond all ids ends the paging."""
    assert len(client.logs(limit=2**80)) == 25
    assert len(client.history("nightly", limit=2**80)) == 3 * RUNS
    assert client.logs(after=2**80) == client.events(after=2**80) == []
    assert len(client.logs(after=-(2**80), limit=1000)) == 25


def test_wrong_arguments_are_told_at_once(client: Client) -> None:
    """What can never work is an error that names the remedy."""
    with pytest.raises(UsageError, match="aware datetime"):
        client.logs(since=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake that is meant
    with pytest.raises(UsageError, match="use one of DEBUG"):
        client.logs(level="LOUD")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="use one of pending"):
        client.experiments(status="over")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'last'"):
        client.experiment(5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1"):
        client.timeline(points=0)


def test_a_closed_client_says_so(recorded_dsn: str) -> None:
    """It does not connect anew behind the caller's back; closing twice does no harm."""
    client = Client(recorded_dsn)
    client.close()
    client.close()
    with pytest.raises(UsageError, match="closed"):
        client.experiments()


def test_a_database_that_is_not_there(tmp_path: object) -> None:
    """The error names the remedy and no password, and making a client connects to nothing."""
    client = Client("host=/nowhere/at/all dbname=x password=geheim")
    with pytest.raises(StoreUnavailableError) as caught:
        client.experiments()
    assert "geheim" not in str(caught.value)


def test_results_are_lists_that_nobody_changes(client: Client) -> None:
    """They compare, slice and print as lists do, and what is in them goes to JSON."""
    logs = client.logs(limit=3)
    assert logs == list(logs) == client.logs(limit=3)
    assert logs != client.logs(limit=2)
    assert list(logs[1:]) == [logs[1], logs[-1]]
    assert "LogRecord" in repr(logs)
    with pytest.raises(TypeError):
        logs[0] = logs[1]  # type: ignore[index]
    with pytest.raises(AttributeError):
        logs[0].message = "other"  # type: ignore[misc]
    assert json.loads(json.dumps(to_json(logs[0])))["message"] == logs[0].message
