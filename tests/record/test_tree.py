from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace

from pipespan.errors import UsageError
from pipespan.model.ids import MAX_NODE_ID_CHARS
from pipespan.model.lifecycle import event_of
from pipespan.model.rows import ExperimentRow, JobRow, NodeRow
from pipespan.model.status import NODE_LEVELS
from pipespan.record.null import NULL_NODE
from tests.record.support import Recorded


def test_a_pipeline_is_an_experiment_with_a_job_and_a_root(recorded: Recorded) -> None:
    """Opening and closing a pipeline writes experiment, job and root node, first running, then completed."""
    with recorded.pipeline("train", params={"lr": 0.1}, tags=["a", "b"]) as run:
        assert (run.status, run.level, run.name, run.node_id) == ("running", "pipeline", "train", "train")
        (begun,) = recorded.rows(ExperimentRow)
        assert (begun.status, begun.name, begun.params, tuple(begun.tags)) == (
            "running",
            "train",
            {"lr": 0.1},
            ("a", "b"),
        )
        assert begun.ended_at is None
        assert recorded.rows(JobRow)[0].status == "running"
    ended = recorded.rows(ExperimentRow)[-1]
    assert (ended.id, ended.status) == (begun.id, "completed")
    assert ended.version > begun.version
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.started_at
    job = recorded.rows(JobRow)[-1]
    assert (job.status, job.cause, job.experiment_id) == ("completed", "return", begun.id)
    root = recorded.nodes()["train"]
    assert (root.parent_id, root.status, root.job_id) == (None, "completed", job.id)
    assert root.metadata["params"] == {"lr": 0.1}
    assert recorded.jobs_begun == 1


def test_the_experiment_id_is_the_trace_id(recorded: Recorded) -> None:
    """A root outside of any trace names its experiment by its trace; each run has another one."""
    ids = set()
    for _ in range(3):
        with recorded.pipeline() as run:
            assert uuid.UUID(run.experiment_id).hex == run.trace_id
            ids.add(run.experiment_id)
    assert len(ids) == 3


def test_inside_of_somebody_elses_trace_the_experiment_has_an_id_of_its_own(recorded: Recorded) -> None:
    """The trace is kept, and the experiment is not named after it."""
    ids = trace.SpanContext(0x1234, 0x56, is_remote=False, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(ids)), recorded.pipeline() as run:
        assert run.trace_id == f"{0x1234:032x}"
        assert uuid.UUID(run.experiment_id).int != 0x1234


@pytest.mark.parametrize("given_id", ["11111111-2222-4333-8444-555555555555", uuid.UUID(int=7)])
def test_a_given_experiment_id_is_taken(recorded: Recorded, given_id: Any) -> None:
    """The caller may name the experiment; the trace follows it."""
    with recorded.pipeline(experiment_id=given_id) as run:
        assert run.experiment_id == str(given_id)
        assert run.trace_id == uuid.UUID(str(given_id)).hex


def test_the_experiment_id_of_the_settings_goes_to_the_first_root_alone() -> None:
    """Two pipelines in one process are two experiments."""
    wanted = str(uuid.uuid4())
    recorded = Recorded(experiment_id=wanted)
    with recorded.pipeline() as first:
        pass
    with recorded.pipeline() as second:
        pass
    assert first.experiment_id == wanted
    assert second.experiment_id != wanted


def test_children_know_parents_levels_and_ids(recorded: Recorded) -> None:
    """Each node names its parent and the path from the root; span and trace ids stand beside it."""
    with (
        recorded.pipeline("run") as run,
        run.phase("load") as load,
        load.step("file") as file,
        file.substep("parse") as parse,
    ):
        assert recorded.current() is parse
    nodes = recorded.nodes()
    assert [(row.node_id, row.parent_id, row.node_level) for row in nodes.values()] == [
        ("run", None, "pipeline"),
        ("run/load", "run", "phase"),
        ("run/load/file", "run/load", "step"),
        ("run/load/file/parse", "run/load/file", "substep"),
    ]
    assert len({row.span_id for row in nodes.values()}) == 4
    assert {row.trace_id for row in nodes.values()} == {run.trace_id}
    assert parse.experiment_id == run.experiment_id
    assert set(recorded.statuses().values()) == {"completed"}


def test_levels_never_rise_on_the_way_down(recorded: Recorded) -> None:
    """A phase below a step is a substep, and below substeps all are substeps."""
    with recorded.pipeline("r") as run, run.step("a") as a, a.phase("b") as b, b.phase("c") as c, c.step("d"):
        pass
    assert [row.node_level for row in recorded.nodes().values()] == [
        "pipeline", "step", "substep", "substep", "substep",
    ]  # fmt: skip


def test_a_scope_without_a_parent_given_goes_below_the_current_node(recorded: Recorded) -> None:
    """`with step(...)` in whatever function finds the node that is open around it."""

    def elsewhere() -> None:
        with recorded.step("inner"):
            pass

    with recorded.pipeline("r") as run, run.phase("p"):
        elsewhere()
        assert recorded.current().node_id == "r/p"
    assert "r/p/inner" in recorded.nodes()


def test_repeated_names_are_numbered(recorded: Recorded) -> None:
    """The second sibling of a name is `#2`, whatever lies between."""
    with recorded.pipeline("r") as run:
        for name in ("a", "b", "a", "a", "b"):
            with run.step(name):
                pass
        with run.step("c") as c, c.step("a"):
            pass
    assert list(recorded.nodes()) == ["r", "r/a", "r/b", "r/a#2", "r/a#3", "r/b#2", "r/c", "r/c/a"]


names = st.sampled_from(
    [
        "a",
        "a#2",
        "a#2#2",
        "a:2",
        "a/b",
        "a:b",
        "a b",
        "a\nb",
        " a b",
        "",
        "unnamed",
        "\0",
        "x" * 300,
        "é",
        "#2",
        "#",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(names | st.text(max_size=6), max_size=12))
def test_no_two_siblings_share_an_id(some: list[str]) -> None:
    """Whatever siblings are called, each has a row of its own, within the column's width."""
    recorded = Recorded()
    with recorded.pipeline("r") as run:
        ids = []
        for name in some:
            with run.step(name) as node:
                ids.append(node.node_id)
    assert len(set(ids)) == len(some)
    assert all(len(one) <= MAX_NODE_ID_CHARS for one in ids)
    assert all(one.startswith("r/") and "/" not in one[2:] for one in ids)
    assert len(recorded.nodes()) == 1 + len(some)


def test_deep_paths_stay_within_the_column_and_apart(recorded: Recorded) -> None:
    """Below a long path ids are cut and closed by a digest, and still tell siblings apart."""
    scopes = [recorded.pipeline("p" * 90)]
    scopes += [recorded.step(f"{depth}" + "x" * 90) for depth in range(6)]
    for scope in scopes:
        scope.__enter__()
    with recorded.step("twin") as one, recorded.step("twin"):
        pass
    with recorded.current().step("twin") as two:
        pass
    for scope in reversed(scopes):
        scope.__exit__(None, None, None)
    assert one.node_id != two.node_id
    ids = list(recorded.nodes())
    assert len(ids) == len(set(ids)) == 10
    assert max(map(len, ids)) <= MAX_NODE_ID_CHARS


def test_a_key_is_taken_as_it_is(recorded: Recorded) -> None:
    """An explicit key names the node in its path, whatever it is called."""
    with recorded.pipeline("r") as run, run.step("shard of the day", key="shard-3") as node:
        assert node.node_id == "r/shard-3"
        assert node.name == "shard of the day"


def test_planned_children_are_pending_until_they_start(recorded: Recorded) -> None:
    """Announced names have rows at once; a child of that name takes the row over; the rest is cancelled at the end."""
    with recorded.pipeline("r") as run:
        run.plan("load", "fit", "fit", "report")
        assert recorded.statuses() == {
            "r": "running", "r/load": "pending", "r/fit": "pending", "r/fit#2": "pending", "r/report": "pending",
        }  # fmt: skip
        for name in ("load", "fit", "fit", "extra"):
            with run.phase(name):
                pass
    assert recorded.statuses() == {
        "r": "completed", "r/load": "completed", "r/fit": "completed", "r/fit#2": "completed",
        "r/report": "cancelled", "r/extra": "completed",
    }  # fmt: skip
    report = recorded.nodes()["r/report"]
    assert report.start_time is None
    assert "never started" in (report.message or "")


def test_a_key_may_name_a_planned_child(recorded: Recorded) -> None:
    """What was announced and then started under an explicit key of the same text is not cancelled afterwards."""
    with recorded.pipeline("r") as run:
        run.plan("load")
        with run.step("anything", key="load"):
            pass
    assert recorded.statuses() == {"r": "completed", "r/load": "completed"}


def test_a_pipeline_inside_of_a_pipeline_is_a_part_of_it(recorded: Recorded) -> None:
    """A library that opens a pipeline joins the one around it: one experiment, a node of level pipeline or below."""
    with recorded.pipeline("outer") as outer, outer.phase("p"):
        with recorded.pipeline("inner", params={"k": 1}) as inner, inner.step("s"):
            assert inner.experiment_id == outer.experiment_id
        assert recorded.current().node_id == "outer/p"
    assert list(recorded.nodes()) == ["outer", "outer/p", "outer/p/inner", "outer/p/inner/s"]
    assert len({row.id for row in recorded.rows(ExperimentRow)}) == 1
    assert recorded.nodes()["outer/p/inner"].metadata["params"] == {"k": 1}
    assert {row.node_level for row in recorded.nodes().values()} <= set(NODE_LEVELS)


def test_a_pipeline_with_an_id_of_its_own_is_an_experiment_of_its_own(recorded: Recorded) -> None:
    """Inside of another one too; afterwards the outer one goes on."""
    wanted = str(uuid.uuid4())
    with recorded.pipeline("outer") as outer:
        with recorded.pipeline("inner", experiment_id=wanted) as inner, recorded.step("s"):
            pass
        with recorded.step("t"):
            pass
    assert inner.experiment_id == wanted
    homes = {row.node_id: row.experiment_id for row in recorded.rows(NodeRow)}
    assert homes == {
        "outer": outer.experiment_id, "inner": wanted, "inner/s": wanted, "outer/t": outer.experiment_id,
    }  # fmt: skip
    assert {row.id: row.status for row in recorded.rows(ExperimentRow)} == {
        outer.experiment_id: "completed", wanted: "completed",
    }  # fmt: skip


def test_a_step_outside_of_any_pipeline_does_nothing_and_says_so_once(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code that uses steps runs as well without a pipeline."""
    for _ in range(3):
        with recorded.step("lonely", total=3) as node:
            assert node is NULL_NODE
            assert list(node.track([1, 2])) == [1, 2]
            node.advance()
            node.progress(1, 2, "m")
            with node.substep("deeper") as deeper:
                deeper.set(a=1)
    assert recorded.written == []
    assert capsys.readouterr().err.count("lonely") == 1


def test_a_scope_that_is_open_cannot_be_opened_again(recorded: Recorded) -> None:
    """One scope object is one opening; the message says what to do."""
    with recorded.pipeline():
        scope = recorded.step("s")
        with scope, pytest.raises(UsageError, match="make a new scope"):
            scope.__enter__()
    assert recorded.statuses() == {"run": "completed", "run/s": "completed"}


def test_scopes_closed_out_of_order_end_up_right(recorded: Recorded) -> None:
    """Closing the outer one first ends it; new scopes go below what is still open."""
    with recorded.pipeline("r") as run:
        outer, inner = run.step("outer"), recorded.step("inner")
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        with recorded.step("late"):
            pass
        inner.__exit__(None, None, None)
        with recorded.step("after"):
            pass
    assert list(recorded.nodes()) == ["r", "r/outer", "r/outer/inner", "r/outer/inner/late", "r/after"]
    assert set(recorded.statuses().values()) == {"completed"}


def test_a_child_that_opens_below_an_ended_parent_goes_to_the_next_one_above(untidy: Recorded) -> None:
    """A node that has ended gets no children by chance."""
    with untidy.pipeline("r") as run:
        outer = run.step("outer")
        outer.__enter__()
        inner = untidy.step("inner")
        inner.__enter__()
        inner.__exit__(None, None, None)
        outer.__exit__(None, None, None)
        with untidy.step("next") as node:
            assert node.node_id == "r/next"


def test_scopes_left_open_are_cancelled_at_the_exit(untidy: Recorded) -> None:
    """What was never closed ends with the process, and says why; the experiment is no success then."""
    scopes = [untidy.pipeline("r"), untidy.step("a"), untidy.step("b")]
    for scope in scopes:
        scope.__enter__()
    with untidy.step("c"):
        pass
    untidy.recorder.end_all()
    assert untidy.statuses() == {
        "r": "cancelled",
        "r/a": "cancelled",
        "r/a/b": "cancelled",
        "r/a/b/c": "completed",
    }
    assert "left open" in (untidy.nodes()["r/a"].message or "")
    assert untidy.rows(ExperimentRow)[-1].status == "cancelled"
    assert untidy.rows(JobRow)[-1].status == "cancelled"
    count = len(untidy.written)
    for scope in reversed(scopes):
        scope.__exit__(None, None, None)
    untidy.recorder.end_all()
    assert len(untidy.written) == count, "an end is final"


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"weight": -1}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": "2"}, "weight"),
        ({"total": "many"}, "leave it out"),
        ({"total": float("nan")}, "leave it out"),
        ({"key": ""}, "key"),
        ({"key": 5}, "key"),
        ({"unit": 5}, "unit"),
        ({"metadata": 5}, "metadata"),
        ({"wieght": 1}, "weight"),
    ],
)
def test_a_wrong_option_is_refused_at_once(recorded: Recorded, options: dict[str, Any], remedy: str) -> None:
    """The programmer hears of it where it is written, with what to write instead; nothing is recorded."""
    with recorded.pipeline("r"):
        before = len(recorded.written)
        with pytest.raises(UsageError, match=remedy):
            recorded.step("s", **options).__enter__()
        assert len(recorded.written) == before


@pytest.mark.parametrize(
    "options",
    [{"tags": "abc"}, {"tags": 5}, {"params": [1]}, {"experiment_id": "x"}, {"total": "x"}, {"unit": 1}],
)
def test_a_wrong_option_of_a_pipeline_is_refused_at_once(recorded: Recorded, options: dict[str, Any]) -> None:
    """A tag list given as one word, for one, would be a tag for each letter."""
    with pytest.raises(UsageError, match="; "):
        recorded.pipeline("r", **options).__enter__()
    assert recorded.written == []


@pytest.mark.parametrize("name", [5, None, b"bytes"])
def test_a_name_must_be_text(recorded: Recorded, name: Any) -> None:
    """`with step(5)` is refused with what to write."""
    with recorded.pipeline("r"), pytest.raises(UsageError, match="name"):
        recorded.step(name).__enter__()


def test_totals_out_of_range_are_bounded(recorded: Recorded) -> None:
    """A total is between 0 and what the column holds."""
    totals = []
    with recorded.pipeline("r") as run:
        for total in (-5, 10**30, 2.9):
            with run.step("s", total=total) as step:
                totals.append(step.total)
    assert totals == [0, 2**63 - 1, 2]


def test_nothing_of_ours_stops_the_users_work(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a node cannot be opened or closed, the block runs all the same, and the trouble is told."""
    done = []
    with recorded.pipeline("r"):
        with recorded.step("a"):
            monkeypatch.setattr(recorded, "write_line", lambda kind, line, droppable=False: 1 / 0)
            done.append("a")
        with recorded.step("b") as node:
            done.append("b")
            node.advance()
        monkeypatch.undo()
    assert done == ["a", "b"]
    assert recorded.troubles() >= {"open", "close"}


def test_starts_and_ends_of_nodes_are_progress(recorded: Recorded) -> None:
    """A job whose steps count no units moves all the same; a heartbeat alone does not move it."""
    with recorded.pipeline("r") as run:
        before = run.job.row().progress_at
        with run.step("s"):
            during = run.job.row().progress_at
        after = run.job.row().progress_at
        assert before < during < after
        assert run.job.row().progress_at == after


def test_a_heartbeat_is_no_second_start_however_soon_it_comes(recorded: Recorded) -> None:
    """Of the rows of a job the first one alone tells of its start."""
    with recorded.pipeline():
        (job,) = recorded.recorder.jobs
        for _ in range(2):
            recorded.write(job.row())
    told = [event_of(row).name for row in recorded.rows(JobRow)]
    assert told == [
        "pipespan.process.start",
        "pipespan.process.heartbeat",
        "pipespan.process.heartbeat",
        "pipespan.process.end",
    ]
