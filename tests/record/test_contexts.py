from __future__ import annotations

import asyncio
import json
import pickle
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context, trace

from pipespan.model.rows import ExperimentRow, JobRow, NodeRow
from pipespan.record.callbacks import Callbacks
from pipespan.record.carrier import Carrier, RemoteNode, carrier_of, wrap
from pipespan.record.headers import environment_of
from pipespan.record.launch import Launch
from tests.record.support import Recorded


def in_thread(function: Any, *args: Any) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


def opened(recorded: Recorded, name: str = "work") -> str:
    with recorded.step(name) as node:
        return node.node_id


def test_a_thread_without_context_works_for_the_running_pipeline(recorded: Recorded) -> None:
    """What a plain thread opens goes below the pipeline, not below the step that happened to be open."""
    with recorded.pipeline("r") as run, run.step("s"):
        assert in_thread(opened, recorded) == "r/work"
    assert in_thread(opened, recorded) == ""


def test_a_wrapped_function_works_for_the_node_where_it_was_wrapped(recorded: Recorded) -> None:
    """In a thread, after the node moved on, and more than once; the thread's own context is as before."""
    with recorded.pipeline("r") as run:
        with run.step("s"):
            work = wrap(opened, lambda: recorded.recorder)
            assert in_thread(work, recorded) == "r/s/work"
            with run.step("other"):
                assert work(recorded) == "r/s/work#2"
                assert recorded.current().node_id == "r/other"

        def twice() -> list[str]:
            before = context.get_current()
            got = [work(recorded), opened(recorded)]
            assert context.get_current() is before
            return got

        assert in_thread(twice) == ["r/work", "r/work#2"], "the node it was wrapped in has ended"


def test_a_wrapped_function_is_itself(recorded: Recorded) -> None:
    """Name, arguments, result and exceptions are the function's."""

    def divide(a: int, b: int) -> float:
        return a / b

    with recorded.pipeline("r"):
        wrapped = wrap(divide, lambda: recorded.recorder)
        assert wrapped(1, b=2) == 0.5
        with pytest.raises(ZeroDivisionError):
            wrapped(1, 0)
    assert wrapped.__name__ == "divide"


def test_wrapping_outside_of_a_pipeline_changes_nothing(recorded: Recorded) -> None:
    """The function just runs."""
    assert wrap(opened, lambda: recorded.recorder)(recorded) == ""
    assert recorded.written == []


def test_threads_pool_with_contexts_of_their_own(recorded: Recorded) -> None:
    """Forty wrapped tasks in four threads: each goes below its own step."""
    with recorded.pipeline("r") as run, ThreadPoolExecutor(4) as pool:
        futures = []
        for number in range(40):
            with run.step(f"s{number}"):
                futures.append((number, pool.submit(wrap(opened, lambda: recorded.recorder), recorded)))
        got = {number: future.result() for number, future in futures}
    nodes = recorded.nodes()
    assert len(nodes) == 81
    assert len(set(got.values())) == 40
    assert {row.parent_id for row in nodes.values() if row.node_name == "work"} <= {
        "r",
        *(f"r/s{n}" for n in range(40)),
    }


def test_run_in_executor_and_to_thread_keep_the_node(recorded: Recorded) -> None:
    """asyncio carries the context itself."""

    async def work() -> str:
        with recorded.step("s"):
            return await asyncio.to_thread(opened, recorded)

    with recorded.pipeline("r"):
        assert asyncio.run(work()) == "r/s/work"


# carriers


def spawned(recorded: Recorded, carrier: Carrier, **config: Any) -> tuple[Recorded, RemoteNode]:
    """Return what another process would have: a recorder of its own and the node it was started for."""
    other = Recorded(**config)
    remote = RemoteNode(other.recorder, carrier)
    other.recorder.adopted = remote
    return other, remote


def test_a_child_process_works_below_the_node_that_was_carried(recorded: Recorded) -> None:
    """Its nodes are marked, its job names the parent's, it makes sure that the experiment exists and never ends it."""
    with recorded.pipeline("r") as run, run.step("s") as step:
        text = carrier_of(step).to_text()
    carrier = Carrier.from_text(text)
    assert carrier is not None
    other, _ = spawned(recorded, carrier)
    ids = [opened(other, name) for name in ("shard", "shard", "other")]
    (job, *_) = other.rows(JobRow)
    mark = job.id[:6]
    assert ids == [f"r/s/shard@{mark}", f"r/s/shard@{mark}#2", f"r/s/other@{mark}"]
    assert (job.experiment_id, job.parent_job_id) == (run.experiment_id, run.job_id)
    (stub,) = other.rows(ExperimentRow)
    assert (stub.id, stub.attempt, stub.version, stub.name) == (run.experiment_id, 0, 0, "r")
    assert {row.parent_id for row in other.rows(NodeRow)} == {"r/s"}
    assert {row.trace_id for row in other.rows(NodeRow)} == {run.trace_id}
    other.recorder.end_all()
    assert other.rows(JobRow)[-1].status == "completed"
    assert len(other.rows(ExperimentRow)) == 1


def test_ranks_mark_the_nodes_of_parallel_workers(recorded: Recorded) -> None:
    """Where a launcher numbers processes the mark is the number, the same in the next run."""
    with recorded.pipeline("r") as run:
        carrier = carrier_of(run)
    other, remote = spawned(recorded, carrier, launch=Launch(rank=3))
    assert opened(other) == "r/work@r3"
    with other.step("x", key="exactly") as node:
        assert node.node_id == "r/exactly"
    with other.pipeline("part") as part, part.step("inner") as inner:
        assert (part.node_id, inner.node_id) == ("r/part@r3", "r/part@r3/inner")
    assert remote.job_id == other.rows(JobRow)[0].id


def test_two_workers_never_share_an_id(recorded: Recorded) -> None:
    """Two processes that open the same name below the same node are two nodes."""
    with recorded.pipeline("r") as run:
        carrier = carrier_of(run)
    ids = [opened(spawned(recorded, carrier)[0]) for _ in range(5)]
    assert len(set(ids)) == 5


def recorder_of_the_other_process() -> Any:
    return OTHER[0].recorder


OTHER: list[Recorded] = []


def test_a_wrapped_function_may_be_pickled(recorded: Recorded) -> None:
    """In the process that unpickles it, it works below the node that was current."""
    with recorded.pipeline("r") as run, run.step("s"):
        OTHER[:] = [recorded]
        data = pickle.dumps(wrap(opened, recorder_of_the_other_process))
    other = Recorded()
    OTHER[:] = [other]
    work = pickle.loads(data)
    assert other.written == []
    first, second = in_thread(work, other), work(other)
    assert first == f"r/s/work@{other.rows(JobRow)[0].id[:6]}"
    assert second == f"{first}#2"
    OTHER.clear()


def test_the_environment_of_a_child_program(recorded: Recorded) -> None:
    """It names experiment, node and trace, and keeps what was there."""
    with recorded.pipeline("r") as run, run.step("s") as step:
        env = environment_of(step, {"PATH": "/bin"})
    assert env["PATH"] == "/bin"
    assert env["PIPESPAN_EXPERIMENT_ID"] == run.experiment_id
    assert env["TRACEPARENT"] == f"00-{step.trace_id}-{step.span_id}-01"
    carrier = Carrier.from_text(env["PIPESPAN_PARENT"])
    assert carrier is not None
    assert carrier.node_id == "r/s"
    assert environment_of(None, {"A": "b"}) == {"A": "b"}


def sound() -> dict[str, Any]:
    return {
        "experiment_id": str(uuid.uuid4()), "experiment_name": "n", "attempt": 1, "started_at_unix_ns": 1,
        "job_id": str(uuid.uuid4()), "node_id": "r", "level": "pipeline", "trace_id": "1" * 32, "span_id": "1" * 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"experiment_id": "x"}, {"experiment_id": None}, {"job_id": 5}, {"node_id": None}, {"node_id": ""},
        {"node_id": "\ud800"}, {"level": "leaf"}, {"level": []}, {"trace_id": "zz"}, {"span_id": 3}, {"attempt": "1"},
        {"started_at_unix_ns": None}, {"experiment_name": 7}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_carrier_that_is_not_sound_is_none(change: dict[str, Any]) -> None:
    """What an environment holds may come from anybody: nothing raises, and no row is spoiled."""
    assert Carrier.from_text(json.dumps(sound())) is not None
    assert Carrier.from_text(json.dumps({**sound(), **change})) is None


@given(
    st.text()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ).map(json.dumps)
)
def test_no_text_makes_reading_a_carrier_raise(text: str) -> None:
    """Anything else is none."""
    assert Carrier.from_text(text) is None


# callbacks


def test_callbacks_hear_of_each_change(recorded: Recorded) -> None:
    """Start, progress, end and failure, with the node."""
    heard: list[str] = []
    recorded.recorder.observers.append(
        Callbacks(
            recorded.notices,
            started=lambda node: heard.append(f"started {node.node_id}"),
            progress=lambda node: heard.append(f"at {node.completed} {node.node_id}"),
            completed=lambda node: heard.append(f"completed {node.node_id}"),
            failed=lambda node: heard.append(f"{node.status} {node.error_type} {node.node_id}"),
        )
    )
    with pytest.raises(KeyError), recorded.pipeline("r") as run:
        with run.step("a") as a:
            a.advance()
            recorded.recorder.write_progress(a)
        with run.step("b"):
            raise KeyError
    assert heard == [
        "started r", "started r/a", "at 1 r/a", "completed r/a", "started r/b",
        "failed KeyError r/b", "failed KeyError r",
    ]  # fmt: skip


def test_a_callback_that_raises_is_told_and_does_no_harm(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pipeline goes on; one line says which callback."""

    def bad(_node: object) -> None:
        raise ZeroDivisionError

    recorded.recorder.observers.append(Callbacks(recorded.notices, started=bad, completed=bad))
    with recorded.pipeline("r") as run, run.step("s"):
        pass
    assert set(recorded.statuses().values()) == {"completed"}
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert err.count("\n") == 1


def test_spans_of_others_stay_between_two_nodes(recorded: Recorded) -> None:
    """The tree of nodes passes over spans that the program opens itself; the trace keeps them."""
    with recorded.pipeline("r") as run:
        ids = trace.SpanContext(
            int(run.trace_id or "0", 16), 0x77, is_remote=False, trace_flags=trace.TraceFlags(1)
        )
        with trace.use_span(trace.NonRecordingSpan(ids)), recorded.step("s") as step:
            assert step.node_id == "r/s"
            assert step.trace_id == run.trace_id


def test_many_threads_open_steps_of_one_name(recorded: Recorded) -> None:
    """Each gets an id of its own."""
    with recorded.pipeline("r"):
        threads = [
            threading.Thread(target=lambda: [opened(recorded) for _ in range(100)]) for _ in range(8)
        ]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(recorded.nodes()) == 801
    assert recorded.troubles() == set()


def test_a_wrapped_coroutine_function_runs_below_its_node(recorded: Recorded) -> None:
    """The node is current while the coroutine runs, not only while it is made."""
    names: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0)
        names.append(opened(recorded, "inner"))

    with recorded.pipeline("run"), recorded.step("outer"):
        wrapped = wrap(work, lambda: recorded.recorder)
        with recorded.step("elsewhere"):
            asyncio.run(wrapped())
    assert names == ["run/outer/inner"]
