from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipespan.errors import UsageError
from pipespan.model.rows import EventRow, ExperimentRow, JobRow, LogRow, MetricRow
from pipespan.store.memory import MemoryStore
from tests.fixtures import rows
from tests.record.support import Recorded

any_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)
ODD_NAMES = [
    "",
    " ",
    "x" * 10_000,
    "a\nb\r\tc",
    "nul\0nul",
    "\ud800lone",
    "emoji 🧪 ✓",
    "/",
    "..",
    "\\N",
    "\\.",
    "a\u2028b",
    "😀" * 300,
]


class Hostile:
    """Raises from whatever a look at it may call."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class HostileDict(dict[str, int]):
    def items(self) -> Any:
        raise ZeroDivisionError


def cycle() -> dict[str, Any]:
    one: dict[str, Any] = {"name": "cycle"}
    one["self"] = [one]
    return one


ODD_VALUES: dict[str, Any] = {
    "bytes": b"\x00\xff", "set": {1, "a"}, "cycle": cycle(), "nan": float("nan"), "inf": float("-inf"),
    "huge int": 10**400, "huge text": "x" * 3_000_000, "hostile": Hostile(),
    "endless int": 10**5000, "hostile dict": HostileDict(a=1), "keys": {1: 2, (1, 2): 3, None: 4, Hostile(): 5},
    "nul": "\0", "lone": "\ud800", "path": Path("/tmp"), "deep": [[[[[[[[[[1]]]]]]]]]], "type": int, "lambda": len,
}  # fmt: skip


def stored(recorded: Recorded) -> MemoryStore:
    """Ship what was recorded to a store, which fails on anything a database would refuse."""
    store = MemoryStore()
    rows.Shipper(store).ship(*(row for row, _ in recorded.written))
    return store


@pytest.mark.parametrize("name", ODD_NAMES, ids=[ascii(name)[:20] for name in ODD_NAMES])
def test_odd_names_are_kept_in_a_readable_form(recorded: Recorded, name: str) -> None:
    """Whatever a pipeline, a step, a unit or a message is called, it has its row, and its id fits the column."""
    with recorded.pipeline(name, tags=[name], params={name: name}) as run:
        run.plan(name)
        with run.step(name, unit=name, key=name[:255] or None, metadata={name: name}) as step:
            step.progress(1, 2, name)
            step.event(name, event_type=name, detail=name)
            step.metric(**{name: 1})
            with step.substep(name):
                pass
    nodes = recorded.nodes()
    assert len(nodes) in {3, 4}, "a key may name the planned one"
    assert sum(row.status == "completed" for row in nodes.values()) == 3
    for row in nodes.values():
        assert 0 < len(row.node_id) <= 255
        for text in (row.node_id, row.node_name, row.message or "", row.unit or ""):
            assert "\0" not in text
            text.encode()
    (experiment, *_) = recorded.rows(ExperimentRow)
    assert len(experiment.name) == len(name) or "\ud800" in name
    assert recorded.troubles() == set()
    assert len(stored(recorded).nodes(experiment.id)) == len(nodes)


@given(name=any_text, message=any_text)
@settings(max_examples=60, deadline=None)
def test_any_text_is_taken_anywhere(name: str, message: str) -> None:
    """No text makes a row that cannot be written and read."""
    recorded = Recorded()
    with recorded.pipeline(name) as run, run.step(name) as step:
        step.message(message)
        step.event(message)
        step.set(**{name: message})
    assert recorded.troubles() == set()
    assert len(recorded.nodes()) == 2
    stored(recorded)


@pytest.mark.parametrize("kind", list(ODD_VALUES))
def test_odd_values_are_kept_in_a_readable_form(recorded: Recorded, kind: str) -> None:
    """Metadata, parameters, details and metrics take any value: each of the rows is there, and the block goes on."""
    value = ODD_VALUES[kind]
    with recorded.pipeline("r", params={"v": value}) as run, run.step("s", metadata={"v": value}) as step:
        step.set(w=value)
        step.event("e", v=value)
        step.metric(v=value)
        step.artifact("memory://x", v=value)
    assert recorded.statuses() == {"r": "completed", "r/s": "completed"}
    assert [row.title for row in recorded.rows(EventRow)] == ["e", "memory://x"]
    assert len(recorded.rows(MetricRow)) == 1
    metadata = recorded.nodes()["r/s"].metadata
    assert {"v", "w"} <= set(metadata) or "pipespan.cut" in metadata
    assert recorded.troubles() == set()
    stored(recorded)


def test_metadata_of_one_thread_may_grow_while_another_ends_the_node(recorded: Recorded) -> None:
    """No row is lost when values change under the encoder."""
    stop = threading.Event()
    with recorded.pipeline("r") as run:
        shared: dict[str, Any] = {}

        def churn() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                shared[str(number % 500)] = number
                if number % 300 == 0:
                    shared.clear()

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            deadline = time.monotonic() + 0.5
            count = 0
            while time.monotonic() < deadline:
                with run.step("s", metadata={"shared": shared}):
                    count += 1
        finally:
            stop.set()
            thread.join()
    assert len(recorded.nodes()) == 1 + count
    assert recorded.troubles() == set()


def test_events_stand_with_their_node(recorded: Recorded) -> None:
    """An event has title, type, severity, details, and the place where it happened."""
    with recorded.pipeline("r") as run, run.step("s") as step:
        step.event("checkpoint", event_type="state", severity="WARNING", epoch=3)
        run.event("plain")
    first, second = recorded.rows(EventRow)
    assert (first.title, first.event_type, first.severity, first.details, first.node_id) == (
        "checkpoint", "state", "WARNING", {"epoch": 3}, "r/s",
    )  # fmt: skip
    assert (second.event_type, second.severity, second.node_id) == ("note", "INFO", "r")
    assert first.job_id == run.job_id


def test_an_unknown_severity_is_refused(recorded: Recorded) -> None:
    """With the known ones in the message."""
    wrong: Any = "warn"
    with recorded.pipeline("r") as run, pytest.raises(UsageError, match="WARNING"):
        run.event("x", severity=wrong)


def test_artifacts_are_described(recorded: Recorded, tmp_path: Path) -> None:
    """Of a file the size, of a missing one that it is missing, of a URI where it is."""
    report = tmp_path / "report.md"
    report.write_bytes(b"12345")
    with recorded.pipeline("r") as run:
        run.artifact(report)
        run.artifact(str(tmp_path / "gone.csv"), rows=3)
        run.artifact("s3://bucket/key.parquet", kind="table")
        run.artifact("bad\0path")
    made, missing, remote, odd = (row.details for row in recorded.rows(EventRow))
    assert made == {"location": str(report.resolve()), "kind": "md", "size_bytes": 5}
    assert missing == {"location": str(tmp_path / "gone.csv"), "kind": "csv", "is_missing": True, "rows": 3}
    assert remote == {"location": "s3://bucket/key.parquet", "kind": "table"}
    assert odd["is_missing"] is True
    assert {row.event_type for row in recorded.rows(EventRow)} == {"artifact"}


def test_metrics_stand_with_their_node(recorded: Recorded) -> None:
    """Values that the user measured are custom metrics."""
    with recorded.pipeline("r") as run, run.step("s") as step:
        step.metric(loss=0.5, accuracy=1)
    (row,) = recorded.rows(MetricRow)
    assert (row.node_id, row.custom_metrics, row.memory_mb) == ("r/s", {"loss": 0.5, "accuracy": 1}, None)


def test_the_last_words_of_a_job_are_its_last_log_messages(recorded: Recorded) -> None:
    """They stand in the job's row when it ends."""
    with pytest.raises(ValueError, match="v"), recorded.pipeline("r") as run, run.step("s"):
        raise ValueError("v")
    job = recorded.rows(JobRow)[-1]
    assert (job.status, job.cause) == ("failed", "ValueError")
    assert job.log_messages[-1].startswith("ERROR step 's' failed")
    assert len(recorded.rows(LogRow)) == 1
