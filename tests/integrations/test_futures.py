"""The current node goes along to pools of every kind, by every way of starting processes."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.integrations.conftest import need
from tests.wiring.programs import Programs, Seen

WORK = """
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from pipespan.integrations.futures import carry

    def work(number, offset=0):
        with pipespan.step("part", total=1) as step:
            step.advance()
            logging.warning("part %d", number + offset)
        return number
"""


@pytest.fixture
def programs(tmp_path):
    made = Programs(tmp_path)
    yield made
    made.end()


def check(seen: Seen, parents: dict[str, int]) -> None:
    parts = [node for node in seen.nodes.values() if node.node_name == "part"]
    assert Counter(node.parent_id for node in parts) == parents
    assert {node.status for node in seen.nodes.values()} == {"completed"}
    assert Counter(seen.messages()) == {f"part {number}": 1 for number in range(len(parts))}
    assert {job.status for job in seen.source.jobs(seen.id)} == {"completed"}
    seen.check_sums()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_pool_with_every_start_method(programs: Programs, method: str) -> None:
    """`carry` around the pool is all that it takes; each call belongs to the node that was current at the call."""
    programs.run(
        WORK
        + f"""
    if __name__ == "__main__":
        context = multiprocessing.get_context({method!r})
        with carry(ProcessPoolExecutor(2, mp_context=context)) as pool, pipespan.pipeline("run") as run:
            with run.phase("one"):
                assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
            with run.phase("two"):
                assert pool.submit(work, 3, offset=1).result() == 3
    """
    )
    check(programs.delivered(), {"run/one": 4, "run/two": 1})


def test_threads(programs: Programs) -> None:
    """The same for threads, which lose the context too."""
    programs.run(
        WORK
        + """
    with pipespan.pipeline("run") as run, run.step("s"), carry(ThreadPoolExecutor(2)) as pool:
        list(pool.map(work, range(6)))
    """
    )
    check(programs.delivered(), {"run/s": 6})


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_joblib(programs: Programs, backend: str) -> None:
    """`Parallel` of `pipespan.integrations.joblib` in the place of joblib's own."""
    need("joblib")
    programs.run(
        WORK
        + f"""
    from joblib import delayed
    from pipespan.integrations.joblib import Parallel

    if __name__ == "__main__":
        with pipespan.pipeline("run") as run, run.step("s"):
            assert Parallel(n_jobs=2, backend={backend!r})(delayed(work)(n) for n in range(6)) == list(range(6))
    """
    )
    seen = programs.delivered()
    parts = [node for node in seen.nodes.values() if node.node_name == "part"]
    assert Counter(node.parent_id for node in parts) == {"run/s": 6}
    assert set(seen.statuses().values()) == {"completed"}
    assert Counter(seen.messages()) == {f"part {number}": 1 for number in range(6)}
    seen.check_sums()


def test_headers_lead_another_process_to_the_node(programs: Programs) -> None:
    """What `inject` gives travels as any dict of strings does; `extract` goes on below the node, or stays outside."""
    programs.run("""
    import json, subprocess
    code = (
        "import json, sys, logging, pipespan\\n"
        "headers = json.loads(sys.argv[1])\\n"
        "with pipespan.extract({'PipeSpan-Parent': headers['pipespan-parent'], 'X': 'y'}):\\n"
        "    logging.warning('from afar')\\n"
        "    with pipespan.step('far') as step:\\n"
        "        again = pipespan.inject()\\n"
        "assert again['traceparent'].split('-')[1] == headers['traceparent'].split('-')[1]\\n"
        "assert pipespan.current().node_id is None or not pipespan.current().node_id\\n"
    )
    assert pipespan.inject({"a": "b"}) == {"a": "b"}
    with pipespan.pipeline("run") as run, run.step("s") as step:
        headers = pipespan.inject({"a": "b"})
        assert set(headers) == {"a", "pipespan-parent", "traceparent"}, headers
        assert headers["traceparent"] == f"00-{step.trace_id}-{step.span_id}-01"
        subprocess.run([sys.executable, "-c", code, json.dumps(headers)], check=True)
        with pipespan.extract(headers):  # in the process that owns it: the node itself
            assert pipespan.current() is step
            with pipespan.step("near") as near:
                assert near.node_id == "run/s/near"
        with pipespan.extract({}), pipespan.extract({"pipespan-parent": "{", "traceparent": "x"}):
            assert pipespan.current() is step
    """)
    seen = programs.delivered()
    (far,) = [node for node in seen.nodes.values() if node.node_name == "far"]
    assert (far.parent_id, far.status, far.trace_id) == ("run/s", "completed", seen.nodes["run"].trace_id)
    (said,) = seen.logs()
    assert (said.message, said.node_id) == ("from afar", "run/s")


def test_inside_somebody_elses_trace_the_experiment_travels_beside_it(programs: Programs) -> None:
    """Where the trace id does not tell the experiment, baggage does, and for a child of any language its resource."""
    programs.run("""
    from opentelemetry import context, trace
    outer = trace.SpanContext(5, 7, is_remote=True, trace_flags=trace.TraceFlags(1))
    context.attach(trace.set_span_in_context(trace.NonRecordingSpan(outer)))
    with pipespan.pipeline("run") as run:
        headers = pipespan.inject()
        assert headers["baggage"] == f"pipespan.experiment.id={run.experiment_id}", headers
        assert headers["traceparent"].startswith(f"00-{5:032x}-"), headers
        env = pipespan.child_env({"OTEL_RESOURCE_ATTRIBUTES": "a=b,pipespan.experiment.id=old", "BAGGAGE": "x=y"})
        assert env["OTEL_RESOURCE_ATTRIBUTES"] == f"a=b,pipespan.experiment.id={run.experiment_id}", env
        assert env["BAGGAGE"] == headers["baggage"]
        assert env["TRACEPARENT"] == headers["traceparent"]
    """)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_rank_do_not_take_its_number(programs: Programs, method: str) -> None:
    """A rank's own children inherit its variables: only the rank itself is marked by the number."""
    programs.run(
        WORK
        + f"""
    import subprocess
    if __name__ == "__main__" and len(sys.argv) == 1:
        with pipespan.pipeline("run"):
            environ = pipespan.child_env() | {{"WORLD_SIZE": "2"}}
            ranks = [
                subprocess.Popen([sys.executable, __file__, "rank"], env=environ | {{"RANK": str(n)}})
                for n in range(2)
            ]
            assert [one.wait() for one in ranks] == [0, 0]
    elif __name__ == "__main__":
        with pipespan.step("train"):
            context = multiprocessing.get_context({method!r})
            children = [context.Process(target=pipespan.wrap(work), args=(number,)) for number in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
    """
    )
    seen = programs.delivered()
    assert {node_id for node_id in seen.nodes if node_id.count("/") == 1} == {"run/train@r0", "run/train@r1"}
    parts = [node_id for node_id, node in seen.nodes.items() if node.node_name == "part"]
    assert len(parts) == 4
    assert not any(node_id.rpartition("/")[2].startswith("part@r") for node_id in parts)
    ranks = [job.evidence.get("rank") for job in seen.source.jobs(seen.id)]
    assert sorted(ranks, key=str) == [0, 1, None, None, None, None, None]
