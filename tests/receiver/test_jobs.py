"""Processes that are known by their telemetry alone: whether they live, how they ended, where their spans stand."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipespan.model.health import Health, derive_health
from pipespan.model.lifecycle import event_of
from pipespan.otlp.decode import Decoder, Signal
from pipespan.otlp.rules import NodeRule
from pipespan.query.liveness import gather_evidence
from pipespan.receiver.intake import make_batch
from pipespan.store.base import RequestSink, Source
from pipespan.store.memory import MemoryStore
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures import rows as made
from tests.otlp.test_decode import NOW, TRACE, any_value, logs, pair, span, spans

EXPERIMENT = str(UUID(bytes=TRACE))
S = 1_000_000_000


@dataclass
class Receiver:
    """The path of a request without a network."""

    sink: RequestSink
    source: Source
    rule: NodeRule

    def take(self, signal: Signal, payload: bytes, now_unix_ns: int = NOW) -> None:
        found = Decoder(self.rule).decode(signal, payload, is_json=False, now_unix_ns=now_unix_ns)
        assert found.rejected == 0, found.reasons
        digest = (f"{hash((payload, now_unix_ns)):x}" + "0" * 16).encode()
        self.sink.ship_requests([make_batch(digest, found.rows, found)])

    def health(self, now_unix_ns: int, experiment_id: str = EXPERIMENT) -> Health:
        (experiment,) = self.source.find_experiments(experiment_id, limit=1)
        jobs = self.source.jobs(experiment_id)
        now = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=now_unix_ns // 1000)
        return derive_health(experiment, jobs, now, gather_evidence(jobs))

    def tree(self) -> dict[str, tuple[str | None, str, str]]:
        nodes = self.source.nodes(EXPERIMENT)
        names = {node.node_id: node.node_name for node in nodes}
        return {
            node.node_name: (names.get(node.parent_id or "", node.parent_id), node.node_level, node.status)
            for node in nodes
        }


@pytest.fixture(params=["memory", "postgres"])
def received(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    if request.param == "memory":
        memory = MemoryStore()
        yield Receiver(memory, memory, NodeRule())
        return
    dsn = request.getfixturevalue("dsn")
    sink, source = PostgresSink(dsn), PostgresSource(dsn)
    yield Receiver(sink, source, NodeRule())
    sink.close()
    source.close()


def test_a_program_on_this_host_is_not_looked_for_here(received: Receiver) -> None:
    """Its pid may be one of a container: that no such process is here is no evidence, and silence is none either."""
    resource = {"service.name": "shop", "host.name": socket.gethostname(), "process.pid": 2**22 + 1}
    received.take("traces", spans(span(2, 1), resource=resource).SerializeToString())
    assert received.health(NOW + S).word == "alive"
    assert received.health(NOW + 3600 * S).word == "lost contact"
    received.take("logs", logs({"trace_id": TRACE, "body": any_value("x"), "time_unix_nano": NOW + 3599 * S},
                               resource=resource), NOW + 3600 * S)  # fmt: skip
    assert received.health(NOW + 3600 * S).word == "alive"


@pytest.mark.parametrize(("is_error", "status"), [(False, "completed"), (True, "failed")])
def test_the_end_of_the_root_ends_the_job(received: Receiver, status: str, *, is_error: bool) -> None:
    """When the root span has come, experiment and job have ended, and late records do not open them again."""
    root = span(1)
    if is_error:
        root.status.code = 2  # type: ignore[assignment]
    received.take("traces", spans(span(2, 1)).SerializeToString())
    received.take("traces", spans(root).SerializeToString(), NOW + S)
    received.take("traces", spans(span(3, 1)).SerializeToString(), NOW + 2 * S)
    (experiment,) = received.source.find_experiments(EXPERIMENT, limit=1)
    (job,) = received.source.jobs(EXPERIMENT)
    assert (experiment.name, experiment.status, job.status) == ("span 1", status, status)
    assert received.health(NOW + 3600 * S).word == "finished"


def test_heartbeats_and_the_end_of_a_process_of_pipespan(received: Receiver) -> None:
    """Its events alone tell that it lives, that contact is lost, and how it ended."""
    experiment = made.experiment(EXPERIMENT, started_at=NOW)
    job = made.job("22222222-2222-4222-8222-222222222222", experiment_id=EXPERIMENT, started_at=NOW,
                   heartbeat_at=NOW, progress_at=NOW)  # fmt: skip

    def tell(*rows: Any) -> None:
        events = [event_of(row) for row in rows]
        records = [
            {"event_name": one.name, "time_unix_nano": one.timestamp, "attributes": dict(one.attributes)}
            for one in events
        ]
        received.take("logs", logs(*records, scope="pipespan"), rows[-1].version + NOW)

    tell(experiment, job)
    beat = job._replace(heartbeat_at=NOW + 60 * S, progress_at=NOW + 60 * S, version=2)
    tell(beat)
    assert received.health(NOW + 65 * S).word == "alive"
    assert received.health(NOW + 600 * S).word == "lost contact"
    assert len(received.source.jobs(EXPERIMENT)) == 1
    end = beat._replace(status="completed", ended_at=NOW + 70 * S, version=3)
    tell(experiment._replace(status="completed", ended_at=NOW + 70 * S, version=3), end)
    tell(beat._replace(version=4))
    assert received.health(NOW + 600 * S).word == "finished"


def test_a_process_of_pipespan_that_sends_spans_alone(received: Receiver) -> None:
    """Its final span ends it; what it says itself, should that come, stands above."""
    root = span(1, name="train")
    root.attributes.extend(
        [
            pair("pipespan.experiment.id", EXPERIMENT), pair("pipespan.node.id", "train"),
            pair("pipespan.job.id", "22222222-2222-4222-8222-222222222222"), pair("pipespan.node.level", "pipeline"),
        ]
    )  # fmt: skip
    received.take("traces", spans(root, scope="pipespan").SerializeToString())
    assert received.health(NOW + 3600 * S).word == "finished"
    (experiment,) = received.source.find_experiments(EXPERIMENT, limit=1)
    assert (experiment.name, experiment.status) == ("train", "completed")
    received.sink.ship(made.batch_of([made.experiment(EXPERIMENT, name="mine", version=1)], made.new_key()))
    assert received.source.find_experiments(EXPERIMENT, limit=1)[0].name == "mine"


def test_a_ci_pipeline_is_a_tree(received: Receiver) -> None:
    """Names, levels and results of tasks in `cicd.*` form, in the order in which they end."""

    def task(number: int, above: int | None, name: str, result: str) -> Span:
        run = span(number, above)
        kind = "cicd.pipeline" if above is None else "cicd.pipeline.task"
        run.attributes.extend(
            [
                pair(f"{kind}.name", name),
                pair("cicd.pipeline.result" if above is None else "cicd.pipeline.task.run.result", result),
            ]
        )
        return run

    tasks = [
        task(4, 2, "lint", "success"), task(5, 2, "unit", "failure"), task(2, 1, "test", "failure"),
        task(3, 1, "deploy", "skip"), task(1, None, "nightly", "failure"),
    ]  # fmt: skip
    for one in tasks:
        received.take("traces", spans(one).SerializeToString())
    assert received.tree() == {
        "nightly": (None, "pipeline", "failed"), "test": ("nightly", "phase", "failed"),
        "deploy": ("nightly", "phase", "cancelled"), "lint": ("test", "step", "completed"),
        "unit": ("test", "step", "failed"),
    }  # fmt: skip


def test_spans_of_instrumented_libraries_are_left_out_by_rule(received: Receiver) -> None:
    """What a web framework adds is kept out; what the program did itself stands below, errors where they belong."""
    server = replace(received, rule=NodeRule.parse(["!opentelemetry.instrumentation.*"]))
    library = "opentelemetry.instrumentation.wsgi"
    request = span(2, 1, name="GET /")
    failing = span(3, 2, name="SELECT")
    failing.events.add(name="exception", time_unix_nano=NOW).attributes.extend(
        [pair("exception.type", "OSError"), pair("exception.message", "gone")]
    )
    server.take("traces", spans(span(4, 3, name="render"), scope="shop").SerializeToString())
    server.take("traces", spans(request, failing, scope=library).SerializeToString())
    server.take("traces", spans(span(1, name="checkout"), scope="shop").SerializeToString())
    assert server.tree() == {
        "checkout": (None, "pipeline", "completed"), "render": ("checkout", "phase", "completed"),
    }  # fmt: skip
    counts = server.source.error_counts(EXPERIMENT)
    assert dict(counts) == {f"{1:016x}": 1}


def test_spans_below_a_node_of_pipespan(received: Receiver) -> None:
    """A service that a step calls is part of the tree below that step."""
    step = span(2, 1, name="load")
    step.attributes.extend(
        [
            pair("pipespan.experiment.id", EXPERIMENT), pair("pipespan.node.id", "run/load"),
            pair("pipespan.node.level", "phase"), pair("pipespan.job.id", "22222222-2222-4222-8222-222222222222"),
        ]
    )  # fmt: skip
    received.take("traces", spans(span(3, 2, name="query"), scope="db").SerializeToString())
    received.take("traces", spans(step, scope="pipespan").SerializeToString())
    assert received.tree()["query"] == ("load", "step", "completed")
