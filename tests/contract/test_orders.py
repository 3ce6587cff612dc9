"""Whatever way rows take into a store, its tables end up the same, in memory and in Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipespan.model.merge import merge
from pipespan.model.records import NodeRecord
from pipespan.model.rows import NodeRow
from pipespan.model.status import STATUSES
from pipespan.model.tree import Rollup, rollup
from pipespan.store.memory import MemoryStore
from pipespan.store.postgres.read import PostgresSource
from pipespan.store.postgres.write import PostgresSink
from tests.fixtures.postgres import fresh_database
from tests.fixtures.rows import Shipper, node

NAMES = [f"n{number}" for number in range(9)]
CLOCKS = {"created_at", "updated_at"}


@dataclass
class Pair:
    sink: PostgresSink
    source: PostgresSource


@pytest.fixture(scope="module")
def postgres(pg_admin_dsn: str, pg_template: str) -> Iterator[Pair]:
    with fresh_database(pg_admin_dsn, pg_template) as dsn:
        pair = Pair(PostgresSink(dsn), PostgresSource(dsn))
        yield pair
        pair.sink.close()
        pair.source.close()


def sums_of(counted: NodeRecord | Rollup) -> tuple[int, int, int]:
    return counted.child_weight, counted.child_sum, counted.child_reached


def _rows() -> st.SearchStrategy[NodeRow]:
    """Rows of a few nodes; a parent always has a lower number, so there is no cycle, though often no parent."""

    def build(number: int, parent: int | None, **values: Any) -> NodeRow:
        parent_id = None if parent is None or number == 0 else NAMES[parent % number]
        return node(NAMES[number], parent_id, **values)

    return st.builds(
        build,
        st.integers(0, len(NAMES) - 1),
        st.none() | st.integers(0, len(NAMES) - 1),
        status=st.sampled_from(STATUSES),
        completed_units=st.integers(-1, 10) | st.sampled_from([2**63 - 1, 10**15]),
        total_units=st.none() | st.integers(0, 7) | st.sampled_from([2**63 - 1, 10**15]),
        weight=st.sampled_from([0.0, 0.5, 1.0, 2.25, 1e6, 0.0005]) | st.floats(0, 10),
        attempt=st.integers(1, 2),
        version=st.integers(1, 4),
        message=st.none() | st.text("ab", max_size=2),
    )


def _of_a_new_experiment(rows: list[NodeRow]) -> tuple[str, list[NodeRow]]:
    """Examples share a database and must not meet there; random ids stay out of what hypothesis draws."""
    experiment_id = str(uuid.uuid4())
    return experiment_id, [row._replace(experiment_id=experiment_id) for row in rows]


def _comparable(
    records: list[NodeRecord], without: frozenset[str] = frozenset()
) -> dict[str, dict[str, Any]]:
    names = [field.name for field in fields(NodeRecord) if field.name not in CLOCKS | without]
    return {record.node_id: {name: getattr(record, name) for name in names} for record in records}


def _ship_split(shipper: Shipper, rows: list[NodeRow], cuts: list[int]) -> None:
    bounds = sorted({0, len(rows), *(cut % (len(rows) + 1) for cut in cuts)})
    for start, end in zip(bounds, bounds[1:], strict=False):
        shipper.ship(*rows[start:end])


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split_gives_the_same_tables_in_both_stores(postgres: Pair, data: st.DataObject) -> None:
    """The same batches leave the same records, and the sums are those of the pure function."""
    rows = data.draw(st.lists(_rows(), min_size=1, max_size=25))
    cuts = data.draw(st.lists(st.integers(0, 25), max_size=6))
    experiment_id, rows = _of_a_new_experiment(rows)
    memory = MemoryStore()
    _ship_split(Shipper(memory), rows, cuts)
    _ship_split(Shipper(postgres.sink), rows, cuts)
    stored = postgres.source.nodes(experiment_id)
    assert _comparable(stored) == _comparable(memory.nodes(experiment_id))
    assert [record.node_id for record in stored] == [record.node_id for record in memory.nodes(experiment_id)]
    expected = rollup(stored)
    for record in stored:
        sums = expected[record.node_id]
        assert sums_of(record) == sums_of(sums)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_and_repetition_do_not_matter(postgres: Pair, data: st.DataObject) -> None:
    """Rows of different rank, shuffled, repeated and split in any way, leave the tree that merging them gives."""
    drawn = data.draw(st.lists(_rows(), min_size=1, max_size=20))
    # Two rows of one rank are a writer's fault: the first to come stays, so here each has its own.
    rows = [row._replace(version=number) for number, row in enumerate(drawn)]
    wanted: dict[str, NodeRow] = {}
    for row in rows:
        wanted[row.node_id] = merge(wanted.get(row.node_id), row)
    shuffled = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=10))))
    cuts = data.draw(st.lists(st.integers(0, 30), max_size=6))
    experiment_id, shuffled = _of_a_new_experiment(shuffled)
    _ship_split(Shipper(postgres.sink), shuffled, cuts)
    stored = {record.node_id: record for record in postgres.source.nodes(experiment_id)}
    expected = rollup(wanted.values())
    assert set(stored) == set(wanted)
    for node_id, row in wanted.items():
        record = stored[node_id]
        assert (record.attempt, record.version, record.status) == (row.attempt, row.version, row.status)
        assert (record.parent_id, record.message) == (row.parent_id, row.message)
        assert sums_of(record) == sums_of(expected[node_id])
        assert record.progress_percent == expected[node_id].ppb / 10**7
