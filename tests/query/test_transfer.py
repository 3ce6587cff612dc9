"""Any experiment goes out of a store and into another one, and is the same."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow, NodeRow, Row, columns
from pipespan.model.status import LOG_LEVELS, NODE_LEVELS, STATUSES
from pipespan.query.exporting import export_document, write_document
from pipespan.query.importing import import_document, parse_document
from pipespan.query.rowjson import row_object, row_of
from pipespan.store.memory import MemoryStore
from tests.fixtures.rows import EXPERIMENT_ID, Shipper

SIZES = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "Uuid": st.uuids().map(str),
    "Status": st.sampled_from(STATUSES),
    "NodeLevel": st.sampled_from(NODE_LEVELS),
    "LogLevel": st.sampled_from(LOG_LEVELS),
    "int": st.integers(0, 2**15 - 1),
    "float": st.floats(),
    "UnixNs": st.integers(-(2**40), 2**31).map(lambda seconds: seconds * 10**9)
    | st.integers(0, 2**62).map(lambda us: us // 1000 * 1000),
    "Json": st.dictionaries(TEXT, JSON, max_size=3),
    "TextArray": st.lists(TEXT, max_size=3).map(tuple),
}
NODE_IDS = st.sampled_from(["p", "p/a", "p/b", "p/a/x", "q", "ä'\\%"])


def rows(row_type: Any, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = []
    for name in columns(row_type):
        kind = str(getattr(row_type.__annotations__[name], "__forward_arg__", row_type.__annotations__[name]))
        strategy = fixed[name] if name in fixed else KINDS[kind.removesuffix(" | None")]
        fields.append(strategy | st.none() if kind.endswith(" | None") and name not in fixed else strategy)
    return st.tuples(*fields).map(lambda values: row_type(*values))


OWNED = {"experiment_id": st.just(EXPERIMENT_ID)}
PLACED = {**OWNED, "node_id": NODE_IDS | st.none()}
EXPERIMENTS = st.tuples(
    rows(ExperimentRow, id=st.just(EXPERIMENT_ID)),
    st.lists(rows(JobRow, **OWNED), max_size=3, unique_by=lambda row: row.id),
    st.lists(
        rows(NodeRow, **OWNED, node_id=NODE_IDS, parent_id=NODE_IDS | st.none()),
        max_size=6,
        unique_by=lambda row: row.node_id,
    ),
    st.lists(rows(LogRow, **PLACED), max_size=4),
    st.lists(rows(EventRow, **PLACED), max_size=3),
    st.lists(rows(MetricRow, **PLACED), max_size=3),
)


def stored(parts: tuple[Row, list[Row], list[Row], list[Row], list[Row], list[Row]]) -> MemoryStore:
    store = MemoryStore()
    experiment, *lists = parts
    Shipper(store).ship(experiment, *(row for one in lists for row in one))
    return store


@SIZES
@given(parts=EXPERIMENTS)
def test_an_import_gives_the_same_experiment(parts: Any) -> None:
    """Document, tree and sums are equal, through JSON text, whatever stands in the rows; again changes nothing."""
    origin, target = stored(parts), MemoryStore()
    document = json.loads(json.dumps(export_document(origin, EXPERIMENT_ID), allow_nan=False))
    assert import_document(document, target, target).is_new
    assert export_document(target, EXPERIMENT_ID) == document
    for ours, theirs in zip(origin.nodes(EXPERIMENT_ID), target.nodes(EXPERIMENT_ID), strict=True):
        assert (ours.node_id, ours.progress_percent, ours.child_weight, ours.child_sum) == (
            theirs.node_id, theirs.progress_percent, theirs.child_weight, theirs.child_sum,
        )  # fmt: skip
    assert origin.experiments(limit=1)[0].error_count == target.experiments(limit=1)[0].error_count
    assert not import_document(document, target, target).is_new
    assert not import_document(document, origin, origin).is_new
    assert export_document(target, EXPERIMENT_ID) == document


@SIZES
@given(parts=EXPERIMENTS)
def test_a_stream_has_the_same_document(parts: Any) -> None:
    """Written row by row it is the same as made at once, and safe to print."""
    store = stored(parts)
    pieces: list[str] = []
    write_document(store, EXPERIMENT_ID, pieces.append)
    text = "".join(pieces)
    assert json.loads(text) == export_document(store, EXPERIMENT_ID)
    assert not any(char in text for char in "\x1b\x7f\x85\u2028\u202e")


@SIZES
@given(parts=EXPERIMENTS)
def test_a_row_is_read_as_it_was_written(parts: Any) -> None:
    """Each row on its own, too."""
    with stored(parts).snapshot(EXPERIMENT_ID) as snapshot:
        found = list(snapshot.rows)
    for row in found:
        again = row_of(type(row), json.loads(json.dumps(row_object(row))), "here", EXPERIMENT_ID)
        assert repr(again) == repr(row._replace(**_as_tuples(row)))


def _as_tuples(row: Row) -> dict[str, Any]:
    return {
        name: tuple(value)
        for name, value in zip(columns(type(row)), row, strict=True)
        if isinstance(value, list)
    }


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["format", "version", "experiment", "jobs", "nodes", "logs", "events", "metrics", "id"]
            )
            | TEXT,
            inner,
            max_size=8,
        )
    ),
    max_leaves=12,
)


@SIZES
@given(noise=ANYTHING)
def test_any_other_document_is_refused(noise: Any) -> None:
    """Whatever is no document gives the one error that says so, and never another."""
    from pipespan.errors import DocumentError  # noqa: PLC0415 - for this test alone

    try:
        parse_document(noise)
    except DocumentError as error:
        assert str(error)
    else:
        raise AssertionError(noise)


@SIZES
@given(parts=EXPERIMENTS, noise=ANYTHING, data=st.data())
def test_a_damaged_document_is_refused_or_read(parts: Any, noise: Any, data: st.DataObject) -> None:
    """Anything in the place of any field is an error of ours, or is something that the field takes."""
    from pipespan.errors import DocumentError  # noqa: PLC0415 - for this test alone

    document = export_document(stored(parts), EXPERIMENT_ID)
    lists = [name for name, value in document.items() if isinstance(value, list) and value]
    place = data.draw(st.sampled_from(["experiment", *lists]))
    row = document[place] if place == "experiment" else data.draw(st.sampled_from(document[place]))
    row[data.draw(st.sampled_from(sorted(row)))] = noise
    target = MemoryStore()
    try:
        import_document(document, target, target)
    except DocumentError as error:
        assert place in str(error) or "twice" in str(error)
        assert target.experiments(limit=1) == []
    else:
        assert len(target.experiments(limit=2)) == 1
