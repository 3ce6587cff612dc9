"""Leaf updates that parents follow: the statement-level trigger beside one that works row by row.

Four writers change leaves of one tree of 100,000 nodes, in batches of 100, each batch a sorted statement of its own:
ten leaves in each of ten steps. The peer recomputes the parent of each row from its children. It falls behind because
writers wait for each other's parents in changing order, which is a deadlock, and it loses updates: what it reads of
the other children is older than the lock that it then waits for.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import psycopg
from psycopg import errors

from pipespan.model.rows import NodeRow, RowType
from pipespan.store.base import Batch, StreamKey
from pipespan.store.copytext import encode_row
from pipespan.store.postgres.write import PostgresSink
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.server import running_server

EXPERIMENT_ID = "11111111-2222-4333-8444-555555555555"
PHASES, STEPS, LEAVES = 10, 100, 100
WRITERS = 4
BATCH_ROWS = 100
STEPS_IN_A_BATCH = 10

_UPDATE = """
update {schema}.pipeline_progress as node
set completed_units = told.completed, version = node.version + 1
from (
    select * from unnest(%s::text[], %s::bigint[]) as told (node_id, completed) order by told.node_id desc
) as told
where node.experiment_id = %s::uuid and node.node_id = told.node_id
"""

_WRONG_SUMS = """
select count(*)
from {schema}.pipeline_progress as parent
cross join lateral (
    select coalesce(sum(1000 * child.progress_percent * 10000000), 0) as total
    from {schema}.pipeline_progress as child
    where child.experiment_id = parent.experiment_id and child.parent_id = parent.node_id
) as sums
where parent.child_sum <> sums.total or parent.child_reached <> sums.total
"""

_PEER = """
create schema row_level;
create table row_level.pipeline_progress (like public.pipeline_progress including all);
insert into row_level.pipeline_progress overriding system value
select {columns} from public.pipeline_progress;
create function row_level.recompute() returns trigger language plpgsql as $$
begin
    update row_level.pipeline_progress as parent
    set child_weight = sums.weight, child_sum = sums.total, child_reached = sums.reached, updated_at = now()
    from (
        select
            sum(public.pipespan_thousandths_v1(child.weight)) as weight,
            sum(public.pipespan_thousandths_v1(child.weight) * case
                when child.status in ('completed', 'failed', 'cancelled') then 1000000000::numeric
                else public.pipespan_shown_ppb_v1(
                    child.status, child.completed_units, child.total_units,
                    child.child_sum, child.child_reached, child.child_weight
                )
            end) as total,
            sum(public.pipespan_thousandths_v1(child.weight) * public.pipespan_reached_ppb_v1(
                child.status, child.completed_units, child.total_units, child.child_reached, child.child_weight
            )) as reached
        from row_level.pipeline_progress as child
        where child.experiment_id = new.experiment_id and child.parent_id = new.parent_id
    ) as sums
    where parent.experiment_id = new.experiment_id and parent.node_id = new.parent_id;
    return null;
end
$$;
create trigger recompute after update on row_level.pipeline_progress
for each row when (new.parent_id is not null) execute function row_level.recompute();
"""


@dataclass(slots=True)
class Tally:
    """What the writers of one block did."""

    rows: int = 0
    deadlocks: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: int, deadlocks: int) -> None:
        with self.turn:
            self.rows += rows
            self.deadlocks += deadlocks


def against_row_level(options: Options) -> dict[str, Samples]:
    """Measure thousands of leaf updates a second, by plain statements and through the writer."""
    seconds = options.pick(4, 1)
    with running_server() as server:
        _build(server.dsn)
        sides = {"public": Tally(), "row_level": Tally()}
        rates: dict[str, list[float]] = {name: [] for name in sides}
        shipped: list[float] = []
        seeds = iter(range(10**6))
        for number in range(options.pick(9, MIN_PAIRS) + 1):
            for schema in sides if number % 2 else reversed(sides):
                rates[schema].append(_block(server.dsn, schema, seconds, sides[schema], seeds))
            shipped.append(_ship_block(server.dsn, seconds, seeds))
        wrong = {schema: _wrong_sums(server.dsn, schema) for schema in sides}
    faults = []
    if wrong["public"]:
        faults.append(f"{wrong['public']} parents have wrong sums")
    if sides["public"].deadlocks:
        faults.append(f"{sides['public'].deadlocks} deadlocks")
    note = (
        f"{PHASES * STEPS * LEAVES} leaves, {WRITERS} writers; sums exact, no deadlock; "
        f"peer: {sides['row_level'].deadlocks} deadlocks, {wrong['row_level']} parents with wrong sums"
    )
    fault = ", ".join(faults)
    # the first block fills caches
    ours, peer = rates["public"][1:], rates["row_level"][1:]
    return {
        "aggregate": Samples(ours, (), note=note if not fault else "", fault=fault),
        "aggregate_ratio": Samples(ours, peer, note=note if not fault else "", fault=fault),
        "aggregate_ship": Samples(shipped[1:], (), note="with ledger, COPY and merge"),
    }


def _block(dsn: str, schema: str, seconds: float, tally: Tally, seeds: Iterator[int]) -> float:
    statement = _UPDATE.format(schema=schema).encode()

    def write(chance: random.Random, until_s: float) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while time.perf_counter() < until_s:
                names, completed = zip(*_leaves(chance), strict=True)
                try:
                    connection.execute(statement, (list(names), list(completed), EXPERIMENT_ID))
                except errors.DeadlockDetected:
                    tally.add(0, 1)
                else:
                    tally.add(BATCH_ROWS, 0)

    return _rate(write, seconds, tally, seeds)


def _ship_block(dsn: str, seconds: float, seeds: Iterator[int]) -> float:
    tally = Tally()

    def write(chance: random.Random, until_s: float) -> None:
        sink, key, position = (
            PostgresSink(dsn),
            StreamKey(str(uuid.UUID(int=chance.getrandbits(128))), "bulk"),
            0,
        )
        while time.perf_counter() < until_s:
            now = time.time_ns()
            rows = [
                encode_row(_node(name, name.rpartition("/")[0], now)._replace(completed_units=completed))
                for name, completed in _leaves(chance)
            ]
            sink.ship(Batch(key, position, position + 1, {NodeRow: rows}))
            position += 1
            tally.add(BATCH_ROWS, 0)
        sink.close()

    return _rate(write, seconds, tally, seeds)


def _rate(
    write: Callable[[random.Random, float], None], seconds: float, tally: Tally, seeds: Iterator[int]
) -> float:
    before, start_s = tally.rows, time.perf_counter()
    writers = [
        threading.Thread(target=write, args=(random.Random(next(seeds)), start_s + seconds))
        for _ in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return (tally.rows - before) / (time.perf_counter() - start_s) / 1000


def _leaves(chance: random.Random) -> list[tuple[str, int]]:
    """Return which leaves a batch changes, in the order of their keys, and what each has done."""
    steps = chance.sample(range(PHASES * STEPS), STEPS_IN_A_BATCH)
    return sorted(
        (f"p/{step // STEPS}/{step % STEPS}/{leaf}", chance.randrange(1000))
        for step in steps
        for leaf in chance.sample(range(LEAVES), BATCH_ROWS // STEPS_IN_A_BATCH)
    )


def _wrong_sums(dsn: str, schema: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(_WRONG_SUMS.format(schema=schema).encode()).fetchone()
    return -1 if row is None else int(row[0])


def _build(dsn: str) -> None:
    """Make the tree, and a copy of it for the peer."""
    sink, key = PostgresSink(dsn), StreamKey(str(uuid.uuid4()), "keep")
    nodes = [_node("p", None, 1)]
    position = 0
    for phase in range(PHASES):
        nodes.append(_node(f"p/{phase}", "p", 1))
        for step in range(STEPS):
            place = f"p/{phase}/{step}"
            nodes.append(_node(place, f"p/{phase}", 1))
            nodes += [_node(f"{place}/{leaf}", place, 1) for leaf in range(LEAVES)]
        sink.ship(Batch(key, position, position + 1, _lines(nodes)))
        nodes, position = [], position + 1
    sink.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute(
            "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute"
            " where attrelid = 'public.pipeline_progress'::regclass and attnum > 0 and not attisdropped"
            " and attgenerated = ''"
        ).fetchone()
        columns = "" if found is None else found[0]
        script = _PEER.replace("{columns}", columns).replace(
            "insert into row_level.pipeline_progress overriding",
            f"insert into row_level.pipeline_progress ({columns}) overriding",
        )
        connection.execute(script.encode())
        connection.execute("vacuum analyze")


def _lines(nodes: Sequence[NodeRow]) -> dict[RowType, list[bytes]]:
    return {NodeRow: [encode_row(row) for row in nodes]}


def _node(node_id: str, parent_id: str | None, version: int) -> NodeRow:
    is_leaf = node_id.count("/") == 3
    return NodeRow(
        experiment_id=EXPERIMENT_ID,
        node_id=node_id,
        node_level=("pipeline", "phase", "step", "substep")[node_id.count("/")],
        parent_id=parent_id,
        node_name=node_id.rpartition("/")[2],
        status="running",
        completed_units=0,
        total_units=1000 if is_leaf else None,
        unit=None,
        weight=1.0,
        message=None,
        error_type=None,
        start_time=1_760_000_000_000_000_000,
        end_time=None,
        metadata={},
        trace_id=None,
        span_id=None,
        job_id=None,
        attempt=1,
        version=version,
    )
