"""Work that one process announces, another does, and a third may have to settle: one node, whatever comes first."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from pipespan.model.rows import JobRow, LogRow, NodeRow, Row
from pipespan.model.semconv import ENV_PARENT
from pipespan.record.carrier import Carrier, RemoteNode, carrier_of
from pipespan.record.handing import announce, cancel, child_of, give_up, log_for, park, settle
from pipespan.record.headers import (
    PARENT_HEADER,
    carrier_in,
    context_in,
    environment_of,
    headers_of,
    parent_of,
)
from pipespan.record.jobs import Serving
from pipespan.store.memory import MemoryStore
from tests.fixtures.rows import Shipper
from tests.record.support import Recorded

KEY = "work@1234"


def worker(carrier: Carrier, **config: Any) -> tuple[Recorded, Any]:
    """Return another process's recorder and what stands there for the node of `carrier`."""
    other = Recorded(**config)
    return other, parent_of(carrier, other.recorder)


def done(carrier: Carrier, how: Callable[[Recorded, Any], None]) -> list[Row]:
    other, parent = worker(carrier)
    node = other.recorder.open("step", "work", parent, {"key": KEY})
    assert node is not None
    how(other, node)
    return [row for row, _ in other.written]


def settled(rows: list[list[Row]]) -> set[tuple[str, str | None]]:
    """Return how the node ends, with every order of what the processes wrote."""
    found: set[tuple[str, str | None]] = set()
    for order in permutations(rows):
        store = MemoryStore()
        shipper = Shipper(store)
        for part in order:
            shipper.ship(*part)
        (experiment,) = store.experiments(limit=2)
        (node,) = [one for one in store.nodes(experiment.id) if one.node_id == f"r/{KEY}"]
        found.add((node.status, node.message))
    return found


def handed(recorded: Recorded) -> tuple[Carrier, list[Row]]:
    with recorded.pipeline("r") as run:
        assert announce(recorded.recorder, run, "work", KEY, {"queue": "q"}) == f"r/{KEY}"
        carrier = carrier_of(run)
    return carrier, [row for row, _ in recorded.written]


def test_an_announcement_is_pending_and_nobodys(recorded: Recorded) -> None:
    """It outlives the process that made it: no certificate of that one's death may end it."""
    handed(recorded)
    (row,) = [row for row in recorded.rows(NodeRow) if row.node_id == f"r/{KEY}"]
    assert (row.status, row.job_id, row.node_name, row.parent_id) == ("pending", None, "work", "r")
    assert (row.node_level, row.metadata, row.start_time) == ("step", {"queue": "q"}, None)


def test_whatever_the_worker_says_outranks_the_announcement(recorded: Recorded) -> None:
    """Also when its clock is far behind, and in whatever order it arrives."""
    carrier, before = handed(recorded)
    ended = done(carrier, lambda other, node: other.recorder.close(node, None))
    assert settled([before, ended]) == {("completed", None)}
    assert settled([before, done(carrier, lambda other, node: None)]) == {("running", None)}


def test_work_that_is_given_back_is_pending_again(recorded: Recorded) -> None:
    """It belongs to nobody then, and goes on wherever it is taken up."""
    carrier, before = handed(recorded)
    parked = done(carrier, lambda other, node: park(other.recorder, node, "to be tried again"))
    assert settled([before, parked]) == {("pending", "to be tried again")}
    assert [row for row in parked if isinstance(row, NodeRow)][-1].job_id is None
    ended = done(carrier, lambda other, node: other.recorder.close(node, None))
    assert settled([before, parked, ended]) == {("completed", None)}


def test_who_knows_more_of_the_end_has_the_last_word(recorded: Recorded) -> None:
    """A process that is told to end gives its work up; what whoever told it says of the work stays, before or after."""
    carrier, before = handed(recorded)
    given_up = done(carrier, lambda other, node: give_up(other.recorder, node, "told to end"))
    assert settled([before, given_up]) == {("cancelled", "told to end")}
    main, parent = worker(carrier)
    log_for(main.recorder, child_of(main.recorder, parent, KEY), 40, "it took too long", TimeoutError("1 s"))
    settle(
        main.recorder, parent, "work", KEY, status="failed", metadata={}, message="too long", error_type="T"
    )
    (log,) = main.rows(LogRow)
    assert (log.node_id, log.level, log.error_type) == (f"r/{KEY}", "ERROR", "TimeoutError")
    told = [row for row, _ in main.written]
    assert settled([before, given_up, told]) == {("failed", "too long")}


def test_a_root_cannot_be_given_back(untidy: Recorded) -> None:
    """Only what has a parent can be found again by another process."""
    from pipespan.errors import UsageError

    node = untidy.pipeline("r").__enter__()
    with pytest.raises(UsageError, match="root of a tree"):
        park(untidy.recorder, node, "why")


def test_a_worker_without_work_has_ended_its_part(recorded: Recorded) -> None:
    """Only where it serves others, only once nothing is open, and only after a while; new work makes a new part."""
    carrier, _ = handed(recorded)
    other, parent = worker(carrier)
    other.recorder.jobs.serving = Serving(idle_limit_s=60)
    node = other.recorder.open("step", "work", parent, {"key": KEY})
    assert node is not None
    job, later = node.job, time.time_ns() + 120 * 10**9
    assert not other.recorder.jobs.end_if_idle(job, later)
    cancel(other.recorder, node, "enough")
    assert not other.recorder.jobs.end_if_idle(job, time.time_ns())
    assert other.recorder.jobs.end_if_idle(job, later)
    assert other.rows(JobRow)[-1].status == "completed"
    again = other.recorder.open("step", "more", parent, {})
    assert again is not None
    assert again.job.id != job.id
    other.recorder.jobs.serving = Serving()
    assert not other.recorder.jobs.end_if_idle(again.job, later)


def test_a_sampling_decision_travels(recorded: Recorded) -> None:
    """What its parent does not send is not sent by the child either; each node reaches the store all the same."""
    with recorded.pipeline("r") as run:
        text = carrier_of(run).to_text().replace('"trace_flags": 1', '"trace_flags": 0')
    carrier = Carrier.from_text(text)
    assert carrier is not None
    other, _ = worker(carrier)
    headers = headers_of(RemoteNode(other.recorder, carrier))
    assert headers["traceparent"].endswith("-00")


def test_headers_are_found_under_any_spelling(recorded: Recorded) -> None:
    """As HTTP headers of any case, as bytes, as an environment; nonsense leads nowhere."""
    with recorded.pipeline("r") as run:
        headers = headers_of(run)
        environ = environment_of(run, {"TRACESTATE": "old=1", "BAGGAGE": "old=1"})
    text = headers[PARENT_HEADER]
    assert "TRACESTATE" not in environ
    assert "BAGGAGE" not in environ
    for spelled in (
        {"PipeSpan-Parent": text},
        {ENV_PARENT: text},
        {"pipespan-parent": text.encode()},
        environ,
    ):
        assert carrier_in(spelled) == carrier_of(run)  # type: ignore[arg-type]
    other = Recorded()
    for nonsense in ({}, {"traceparent": "x"}, {PARENT_HEADER: "{}"}, {PARENT_HEADER: "\x00"}):
        assert context_in(nonsense, other.recorder) is None
