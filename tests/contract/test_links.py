"""Spans of other programs stand where they belong, in whatever order, split and number they come, in both stores."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from pipespan.model.redact import Redactor
from pipespan.model.redact_spec import RedactSpec
from pipespan.model.rows import NodeRow, SpanNote
from pipespan.model.tree import rollup
from pipespan.otlp.decode import Decoder
from pipespan.otlp.fastlane import FastLane
from pipespan.otlp.rules import NodeRule
from pipespan.receiver.intake import make_batch
from pipespan.store.base import Batch, RequestSink, Source, StreamKey
from pipespan.store.copytext import encode_span
from pipespan.store.memory import MemoryStore
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import fresh_database
from tests.fixtures.rows import MOMENT_UNIX_NS, batch_of, new_key, node

LEVELS = ("pipeline", "phase", "step", "substep")
Piece = tuple[NodeRow | None, SpanNote | None]


@dataclass
class Store:
    sink: RequestSink
    source: Source


@pytest.fixture(scope="module")
def postgres(pg_admin_dsn: str, pg_template: str) -> Iterator[Store]:
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        sink, source = PostgresSink(dsn), PostgresSource(dsn)
        yield Store(sink, source)
        sink.close()
        source.close()


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        memory = MemoryStore()
        return Store(memory, memory)
    found: Store = request.getfixturevalue("postgres")
    return found


def span_of(number: int) -> str:
    return f"{number:016x}"


def foreign(experiment: str, number: int, above: int | None, **changes: Any) -> Piece:
    """A span of another program that is a node."""
    own, parent = span_of(number), None if above is None else span_of(above)
    row = node(own, parent, node_level="pipeline" if above is None else "substep", span_id=own)
    note = None if parent is None else SpanNote(experiment, own, parent, is_node=True)
    return row._replace(experiment_id=experiment)._replace(**changes), note


def left_out(experiment: str, number: int, above: int | None) -> Piece:
    return None, SpanNote(
        experiment, span_of(number), None if above is None else span_of(above), is_node=False
    )


def ours(experiment: str, node_id: str, parent_id: str | None, level: str, number: int) -> Piece:
    row = node(node_id, parent_id, node_level=level, span_id=span_of(number))
    return row._replace(experiment_id=experiment), None


def request_of(pieces: Sequence[Piece]) -> Batch:
    made = batch_of([row for row, _ in pieces if row is not None], StreamKey(str(uuid.uuid4()), "otlp"))
    return replace(made, end_bytes=1, spans=[encode_span(note) for _, note in pieces if note is not None])


def places(source: Source, experiment: str) -> dict[str, tuple[str | None, str]]:
    return {one.node_id: (one.parent_id, one.node_level) for one in source.nodes(experiment)}


def check_sums(source: Source, experiment: str) -> None:
    found = source.nodes(experiment)
    expected = rollup(found)
    for one in found:
        sums = expected[one.node_id]
        assert (one.child_weight, one.child_sum, one.child_reached) == (
            sums.child_weight, sums.child_sum, sums.child_reached,
        )  # fmt: skip


@pytest.mark.parametrize("is_parent_first", [True, False])
def test_a_span_below_a_node_of_pipespan_is_its_child(store: Store, *, is_parent_first: bool) -> None:
    """The span names the span above; the node that has it is the parent, whichever of the two comes first."""
    experiment = str(uuid.uuid4())
    mine = [ours(experiment, "run", None, "pipeline", 1), ours(experiment, "run/load", "run", "phase", 2)]
    theirs = [foreign(experiment, 3, 2, status="completed"), foreign(experiment, 4, 3)]
    for pieces in (mine, theirs) if is_parent_first else (theirs, mine):
        store.sink.ship_requests([request_of(pieces)])
    assert places(store.source, experiment) == {
        "run": (None, "pipeline"),
        "run/load": ("run", "phase"),
        span_of(3): ("run/load", "step"),
        span_of(4): (span_of(3), "substep"),
    }
    check_sums(store.source, experiment)


def test_a_writer_that_knows_nothing_of_spans_brings_the_parent(store: Store) -> None:
    """A process that writes to the database itself ships its node after the span of another program came."""
    experiment = str(uuid.uuid4())
    store.sink.ship_requests([request_of([foreign(experiment, 3, 2)])])
    rows = [ours(experiment, "run", None, "pipeline", 1)[0], ours(experiment, "run/a", "run", "phase", 2)[0]]
    store.sink.ship(batch_of([row for row in rows if row is not None], new_key()))
    assert places(store.source, experiment)[span_of(3)] == ("run/a", "step")
    check_sums(store.source, experiment)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_spans_that_are_no_nodes_are_stepped_over(store: Store, order: tuple[int, ...]) -> None:
    """What is below a span that a rule keeps out belongs to the nearest node above, across any number of them."""
    experiment = str(uuid.uuid4())
    parts = [
        [foreign(experiment, 1, None), left_out(experiment, 2, 1)],
        [left_out(experiment, 3, 2)],
        [foreign(experiment, 4, 3), foreign(experiment, 5, 4)],
    ]
    for number in order:
        store.sink.ship_requests([request_of(parts[number])])
    assert places(store.source, experiment) == {
        span_of(1): (None, "pipeline"), span_of(4): (span_of(1), "phase"), span_of(5): (span_of(4), "step"),
    }  # fmt: skip
    check_sums(store.source, experiment)


def test_what_is_moved_together_has_its_level_from_where_it_came_to(store: Store) -> None:
    """A node below a span that is no node, in one request with the node above it, which finds its place as well."""
    experiment = str(uuid.uuid4())
    mine, theirs = ours(experiment, "run", None, "pipeline", 1), foreign(experiment, 3, 1)
    store.sink.ship_requests([
        request_of([foreign(experiment, 9, 8), mine, theirs, left_out(experiment, 8, 3)])
    ])  # fmt: skip
    assert places(store.source, experiment) == {
        "run": (None, "pipeline"), span_of(3): ("run", "phase"), span_of(9): (span_of(3), "step"),
    }  # fmt: skip


@pytest.mark.postgres
def test_a_session_may_begin_with_spans_alone(dsn: str) -> None:
    """The first request of a connection has spans that are no nodes, and nothing else."""
    sink, source, experiment = PostgresSink(dsn), PostgresSource(dsn), str(uuid.uuid4())
    request = request_of([left_out(experiment, 2, 1)])
    assert list(sink.ship_requests([request])) == []
    assert sink.offset(request.key) == 1
    sink.ship_requests([request_of([foreign(experiment, 1, None), foreign(experiment, 3, 2)])])
    assert places(source, experiment)[span_of(3)] == (span_of(1), "phase")
    sink.close()
    source.close()


def test_below_a_root_that_is_no_node_stand_roots(store: Store) -> None:
    """When all that is above is kept out of the tree, a node is a root."""
    experiment = str(uuid.uuid4())
    store.sink.ship_requests([request_of([foreign(experiment, 2, 1), foreign(experiment, 3, 2)])])
    assert places(store.source, experiment)[span_of(2)] == (span_of(1), "substep")
    store.sink.ship_requests([request_of([left_out(experiment, 1, None)])])
    assert places(store.source, experiment) == {
        span_of(2): (None, "pipeline"), span_of(3): (span_of(2), "phase"),
    }  # fmt: skip


def test_a_row_that_comes_again_stays_in_its_place(store: Store) -> None:
    """A span that was told of while it ran, and again when it ended, keeps its parent and level."""
    experiment = str(uuid.uuid4())
    store.sink.ship_requests([request_of([ours(experiment, "run", None, "pipeline", 1)])])
    for version, status in ((5, "running"), (9, "completed"), (7, "running")):
        store.sink.ship_requests([request_of([foreign(experiment, 2, 1, version=version, status=status)])])
    (found,) = (one for one in store.source.nodes(experiment) if one.node_id == span_of(2))
    assert (found.parent_id, found.node_level, found.status) == ("run", "phase", "completed")
    check_sums(store.source, experiment)


def test_requests_of_one_transaction_are_noted_each(store: Store) -> None:
    """Of several requests those that were written before are told and left out, the others are written."""
    experiment = str(uuid.uuid4())
    first, second, third = (request_of([foreign(experiment, number, 9)]) for number in (1, 2, 3))
    assert list(store.sink.ship_requests([first, second])) == []
    assert list(store.sink.ship_requests([second, third, first])) in (
        [second.key, first.key], [first.key, second.key],
    )  # fmt: skip
    assert set(places(store.source, experiment)) == {span_of(1), span_of(2), span_of(3)}
    assert [store.sink.offset(one.key) for one in (first, second, third)] == [1, 1, 1]
    store.sink.prune_requests()


def test_a_large_trace_whose_root_comes_last(postgres: Store) -> None:
    """Batch after batch of spans that wait for the same root takes about the same time each, whatever waits already."""
    experiment = str(uuid.uuid4())
    times_s = []
    for batch in range(12):
        pieces = [foreign(experiment, 1_000 * batch + number + 2, 1) for number in range(300)]
        request, began_s = request_of(pieces), time.monotonic()
        postgres.sink.ship_requests([request])
        times_s.append(time.monotonic() - began_s)
    postgres.sink.ship_requests([request_of([foreign(experiment, 1, None)])])
    assert {level for _, level in places(postgres.source, experiment).values()} == {"pipeline", "phase"}
    # One that looks at all that wait would take ten times as long; machines that others use too are not exact.
    assert min(times_s[8:]) < 4 * min(times_s[1:4]) + 0.05
    check_sums(postgres.source, experiment)


@st.composite
def forests(draw: st.DrawFn) -> list[tuple[str, int, int | None]]:
    """Spans (kind, number, span above); one of pipespan always has pipespan's nodes alone above it."""
    made: list[tuple[str, int, int | None]] = []
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["ours", "foreign", "foreign", "left out"]))
        fit = [one[1] for one in made if kind != "ours" or one[0] == "ours"]
        # 90 and above never come.
        above = (
            draw(st.sampled_from([*fit, None, 90 + number])) if kind != "ours" else (fit[-1] if fit else None)
        )
        made.append((kind, number, above))
    return made


def _pieces(experiment: str, forest: list[tuple[str, int, int | None]]) -> list[Piece]:
    paths: dict[int | None, str] = {}
    pieces: list[Piece] = []
    for kind, number, above in forest:
        if kind == "foreign":
            status = "completed" if number % 2 else "running"
            pieces.append(foreign(experiment, number, above, status=status, version=number + 2))
        elif kind == "left out":
            pieces.append(left_out(experiment, number, above))
        else:
            parent = paths.get(above)
            paths[number] = f"{parent}/n{number}" if parent else f"n{number}"
            depth = paths[number].count("/")
            pieces.append(ours(experiment, paths[number], parent, LEVELS[min(depth, 3)], number))
    return pieces


@given(data=st.data(), forest=forests())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_split_and_repetition_do_not_matter(
    postgres: Store, data: st.DataObject, forest: list[tuple[str, int, int | None]]
) -> None:
    """Any forest of spans of both kinds comes out the same in both stores, with exact sums in all parents."""
    experiment, again = str(uuid.uuid4()), str(uuid.uuid4())
    pieces = _pieces(experiment, forest)
    shuffled = data.draw(st.permutations(pieces + data.draw(st.lists(st.sampled_from(pieces), max_size=6))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=5)))
    memory = MemoryStore()
    for sink in (memory, postgres.sink):
        for start, end in zip([0, *cuts], [*cuts, len(shuffled)], strict=True):
            sink.ship_requests([request_of(shuffled[start:end])])
    stored = places(postgres.source, experiment)
    assert stored == places(memory, experiment)
    check_sums(postgres.source, experiment)
    whole = MemoryStore()
    whole.ship_requests([request_of(_pieces(again, forest))])
    assert stored == places(whole, again)


def _spans(forest: list[tuple[str, int, int | None]], trace: bytes) -> list[tuple[str, Span]]:
    """Return the spans of a forest as programs send them, with their scopes."""
    made = []
    paths = {
        number: piece[0].node_id
        for piece, (_, number, _) in zip(_pieces("e", forest), forest, strict=True)
        if piece[0]
    }
    for kind, number, above in forest:
        span = Span(
            trace_id=trace, span_id=number.to_bytes(8, "big"), name=f"span {number}",
            start_time_unix_nano=MOMENT_UNIX_NS, end_time_unix_nano=MOMENT_UNIX_NS + number,
        )  # fmt: skip
        if above is not None:
            span.parent_span_id = above.to_bytes(8, "big")
        if kind == "ours":
            depth = paths[number].count("/")
            span.attributes.extend(
                KeyValue(key=key, value=AnyValue(string_value=value))
                for key, value in {
                    "pipespan.node.id": paths[number], "pipespan.node.level": LEVELS[min(depth, 3)],
                }.items()
            )  # fmt: skip
        made.append(({"ours": "pipespan", "foreign": "shop", "left out": "library"}[kind], span))
    return made


def _request(spans: Sequence[tuple[str, Span]], decoder: Decoder) -> Batch | None:
    message = ExportTraceServiceRequest()
    for scope, span in spans:
        inner = message.resource_spans.add().scope_spans.add()
        inner.scope.name = scope
        inner.spans.append(span)
    payload = message.SerializeToString()
    found = decoder.decode("traces", payload, is_json=False, now_unix_ns=MOMENT_UNIX_NS + 10**9)
    assert found.rejected == 0, found.reasons
    return None if found.is_empty else make_batch(uuid.uuid4().bytes, found.rows, found)


@given(data=st.data(), forest=forests())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_requests_may_be_cut_anywhere(
    postgres: Store, data: st.DataObject, forest: list[tuple[str, int, int | None]]
) -> None:
    """The same spans, in one request or in many, in any order, read the long way or the short one: the same tree."""
    # A left-out span that is number zero would have an id that is none.
    forest = [(kind, number + 1, None if above is None else above + 1) for kind, number, above in forest]
    rule, trace = NodeRule.parse(["!library"]), uuid.uuid4().bytes
    experiment = str(uuid.UUID(bytes=trace))
    spans = _spans(forest, trace)
    shuffled = data.draw(st.permutations(spans + data.draw(st.lists(st.sampled_from(spans), max_size=4))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=5)))
    decoders = [Decoder(rule), Decoder(rule, FastLane(rule, Redactor(RedactSpec())))]
    whole, memory = MemoryStore(), MemoryStore()
    for sink in (memory, postgres.sink):
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(shuffled)], strict=True)):
            batch = _request(shuffled[start:end], decoders[number % 2])
            if batch is not None:
                sink.ship_requests([batch])
    batch = _request(spans, decoders[0])
    assert batch is not None
    whole.ship_requests([batch])
    assert places(postgres.source, experiment) == places(memory, experiment) == places(whole, experiment)
    check_sums(postgres.source, experiment)
