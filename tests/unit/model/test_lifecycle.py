"""Rows survive the way over OTLP as log events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.model.lifecycle import StateRow, event_of, row_of
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, MetricRow, NodeRow, column_kinds, columns
from pipespan.model.status import LOG_LEVELS, NODE_LEVELS, STATUSES
from tests.fixtures import rows

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
INTEGER = st.integers(0, 2**63 - 1)
JSON = st.dictionaries(
    TEXT,
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | TEXT, st.lists, max_leaves=4),
    max_size=3,
)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "int": INTEGER,
    "float": st.floats(0, 1e9),
    "Uuid": st.uuids().map(str),
    "UnixNs": INTEGER,
    "Json": JSON,
    "TextArray": st.lists(TEXT, max_size=3).map(tuple),
    "Status": st.sampled_from(STATUSES),
    "NodeLevel": st.sampled_from(NODE_LEVELS),
    "LogLevel": st.sampled_from(LOG_LEVELS),
}


def any_row(row_type: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for rows of a type."""
    fields = {}
    for name, (kind, is_nullable) in zip(columns(row_type), column_kinds(row_type), strict=True):
        fields[name] = st.none() | KINDS[kind] if is_nullable else KINDS[kind]
    return st.builds(row_type, **fields)


@given(row=st.one_of(*(any_row(kind) for kind in (ExperimentRow, JobRow, NodeRow, MetricRow))))
def test_state_survives(row: StateRow) -> None:
    """Any row of state comes back as it was from its event."""
    event = event_of(row)
    assert row_of(event.name, event.attributes) == row


@given(row=any_row(EventRow))
def test_events_survive_under_any_name(row: EventRow) -> None:
    """An event of pipespan's keeps its own type as its name, and comes back all the same."""
    row = row._replace(event_type=f"my.{row.event_type}")
    event = event_of(row)
    assert event.name == row.event_type
    assert row_of(event.name, event.attributes) == row


@given(row=any_row(NodeRow))
def test_attributes_are_what_otlp_carries(row: NodeRow) -> None:
    """Values are strings, numbers and lists of strings: no backend needs to know more; numbers may come as text."""
    attributes = event_of(row).attributes
    assert all(isinstance(value, str | int | float | tuple) for value in attributes.values())
    as_json = json.loads(json.dumps({
        key: str(value) if isinstance(value, int) else value for key, value in attributes.items()
    }))  # fmt: skip
    assert row_of(event_of(row).name, as_json) == row


def test_progress_can_be_left_out_by_severity() -> None:
    """Start and end are INFO or more, progress and heartbeats DEBUG; a failure is an ERROR."""
    started = rows.node("run", start_time=5_000, version=5_000, status="running")
    levels = [
        event_of(started).level,
        event_of(started._replace(version=9_000)).level,
        event_of(started._replace(version=9_000, status="completed", end_time=9_000)).level,
        event_of(started._replace(version=9_000, status="failed", end_time=9_000)).level,
    ]
    assert levels == ["INFO", "DEBUG", "INFO", "ERROR"]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("pipespan.node.level", "stage"),
        ("pipespan.node.status", 3),
        ("pipespan.progress.completed", "many"),
        ("pipespan.progress.completed", 1.5),
        ("pipespan.progress.completed", 2**70),
        ("pipespan.node.metadata", "[1]"),
        ("pipespan.node.id", None),
    ],
)
def test_what_is_no_row_is_told(attribute: str, value: Any) -> None:
    """An event of ours that is damaged is refused with the attribute's name."""
    event = event_of(rows.node("run"))
    with pytest.raises(ValueError, match=attribute):
        row_of(event.name, {**event.attributes, attribute: value})


def test_other_events_are_none_of_ours() -> None:
    """What another library calls an event stays a log record or an event of its own."""
    assert row_of("exception", {"pipespan.experiment.id": rows.EXPERIMENT_ID}) is None
