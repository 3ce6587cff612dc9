"""Several processes at one experiment, with all the ways in which Python makes and loses them."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from pipespan.store.postgres.read import PostgresSource
from tests.wiring.programs import Programs, Seen

POOL = """
    def work(number):
        with pipespan.step(f"shard {number}", total=10) as step:
            for _ in step.track(range(10)):
                logging.warning("line of %d", number)
        return os.getpid()
"""


def names_of(seen: Seen) -> Counter[str]:
    return Counter(node.node_name for node in seen.nodes.values())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_pools_work_below_the_node(programs: Programs, method: str) -> None:
    """Workers of a pool, wrapped where Python loses the context, add their steps and logs to the experiment."""
    programs.run(
        POOL
        + f"""
    if __name__ == "__main__":
        with pipespan.pipeline("run") as run, run.phase("work"):
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                pids = pool.map(pipespan.wrap(work), range(12), chunksize=1)
                pool.close()
                pool.join()
        print(len(set(pids)))
    """
    )
    seen = programs.delivered()
    assert len(seen.experiments) == 1
    assert names_of(seen) == {"run": 1, "work": 1, **{f"shard {number}": 1 for number in range(12)}}
    assert {node.parent_id for node in seen.nodes.values() if node.node_name.startswith("shard")} == {
        "run/work"
    }
    assert set(seen.statuses().values()) == {"completed"}
    assert Counter(seen.messages()) == {f"line of {number}": 10 for number in range(12)}
    assert {record.node_id for record in seen.logs()} == {
        n.node_id for n in seen.nodes.values() if "shard" in n.node_id
    }
    seen.check_sums()
    jobs = seen.source.jobs(seen.id)
    owner = next(job for job in jobs if job.parent_job_id is None)
    assert {job.parent_job_id for job in jobs} == {None, owner.id}
    assert 2 <= len(jobs) <= 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_jobs_of_workers_end_with_them(programs: Programs, method: str) -> None:
    """A `multiprocessing` child ends by `os._exit` when it was forked; its job is completed all the same."""
    programs.run(f"""
    def work():
        with pipespan.step("s"):
            pass

    if __name__ == "__main__":
        with pipespan.pipeline("run"):
            child = multiprocessing.get_context({method!r}).Process(target=pipespan.wrap(work))
            child.start()
            child.join()
    """)
    seen = programs.delivered()
    assert [job.status for job in seen.source.jobs(seen.id)] == ["completed", "completed"]


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_executors_of_both_kinds(programs: Programs, kind: str) -> None:
    """Each task is a step below the node where it was submitted."""
    programs.run(
        POOL
        + f"""
    from concurrent.futures import {kind}
    if __name__ == "__main__":
        with pipespan.pipeline("run") as run, {kind}(2) as pool:
            for phase in ("one", "two"):
                with run.phase(phase):
                    list(pool.map(pipespan.wrap(work), range(4)))
    """
    )
    seen = programs.delivered()
    parents = Counter(node.parent_id for node in seen.nodes.values() if node.node_name.startswith("shard"))
    assert parents == {"run/one": 4, "run/two": 4}
    assert len(seen.messages()) == 80
    assert set(seen.statuses().values()) == {"completed"}
    seen.check_sums()


def test_a_forked_child_that_leaves_through_its_parents_blocks_ends_nothing(programs: Programs) -> None:
    """`os.fork` inside a step: the child leaves by exception, return and exit, and all that stays the parent's."""
    programs.run("""
    with pipespan.pipeline("run") as run:
        with run.step("outer", total=2) as outer:
            outer.advance()
            logging.warning("before")
            pid = os.fork()
            if pid == 0:
                with pipespan.step("mine"):
                    logging.warning("in the child")
                outer.advance()
                sys.exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            outer.advance()
        logging.warning("after")
    """)
    seen = programs.delivered()
    mine = next(node_id for node_id in seen.nodes if "mine" in node_id)
    assert seen.statuses() == {"run": "completed", "run/outer": "completed", mine: "completed"}
    assert seen.nodes[mine].parent_id == "run/outer"
    assert seen.nodes["run/outer"].completed_units == 2
    assert sorted(seen.messages()) == ["after", "before", "in the child"]
    assert seen.experiments[0].status == "completed"
    assert len(seen.source.jobs(seen.id)) == 2


def test_a_forked_child_logs_for_a_job_of_its_own(programs: Programs) -> None:
    """Also below the very node of which its parent has logged last; and so does a child of the child."""
    programs.run("""
    with pipespan.pipeline("run"):
        for generation in range(3):
            for _ in range(2):
                logging.warning("of %d", generation)
            if (pid := os.fork()) != 0:
                break
        if pid:
            os.waitpid(pid, 0)
        if generation:
            os._exit(0)
    """)
    seen = programs.delivered()
    jobs = {(record.message, record.job_id) for record in seen.logs()}
    assert {message for message, _ in jobs} == {"of 0", "of 1", "of 2"}
    assert len({job_id for _, job_id in jobs}) == len(jobs) == 3
    owner = next(job for job in seen.source.jobs(seen.id) if job.parent_job_id is None)
    assert ("of 0", owner.id) in jobs


def test_a_forked_child_that_does_nothing_leaves_nothing(programs: Programs) -> None:
    """No job, no stream, and no second end of what the parent has open."""
    programs.run("""
    with pipespan.pipeline("run"):
        for leave in (lambda: os._exit(0), lambda: sys.exit(0)):
            if (pid := os.fork()) == 0:
                leave()
            os.waitpid(pid, 0)
    """)
    assert len(list((programs.state_dir / "spool").iterdir())) == 1
    seen = programs.delivered()
    assert seen.statuses() == {"run": "completed"}
    assert len(seen.source.jobs(seen.id)) == 1


def test_a_child_program_joins_by_its_environment(programs: Programs) -> None:
    """What a subprocess opens, with `child_env`, stands below the node; its pipeline is a part of the experiment."""
    programs.run("""
    import subprocess
    code = (
        "import pipespan\\n"
        "with pipespan.pipeline('inner', total=1) as p:\\n"
        "    p.advance()\\n"
        "    p.event('hello')\\n"
        "    print(p.experiment_id)\\n"
    )
    with pipespan.pipeline("run") as run, run.step("s"):
        out = subprocess.check_output([sys.executable, "-c", code], env=pipespan.child_env(), text=True)
        assert out.strip() == run.experiment_id, out
    """)
    seen = programs.delivered()
    assert len(seen.experiments) == 1
    (inner,) = [node for node in seen.nodes.values() if node.node_name == "inner"]
    assert (inner.parent_id, inner.status, inner.trace_id) == (
        "run/s",
        "completed",
        seen.nodes["run"].trace_id,
    )
    assert [event.title for event in seen.source.events(seen.id, limit=10)] == ["hello"]
    assert seen.experiments[0].status == "completed"


@pytest.mark.parametrize("how", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_a_killed_worker_wrote_is_there(programs: Programs, how: str) -> None:
    """Workers that vanish in the middle of a step lose nothing of what they had written."""
    programs.run(f"""
    def work(number):
        with pipespan.step(f"shard {{number}}"):
            for line in range(50):
                logging.warning("%d %d", number, line)
            {how}

    if __name__ == "__main__":
        context = multiprocessing.get_context("fork")
        with pipespan.pipeline("run"):
            children = [context.Process(target=pipespan.wrap(work), args=(number,)) for number in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
    """)
    seen = programs.delivered()
    assert Counter(seen.messages()) == {f"{number} {line}": 1 for number in range(3) for line in range(50)}
    assert sorted(seen.statuses().values()) == ["completed", "running", "running", "running"]
    seen.check_sums()


def test_threads_with_and_without_wrap(programs: Programs) -> None:
    """Plain threads work for the pipeline, wrapped ones for the node."""
    programs.run("""
    def work():
        with pipespan.step("in a thread"):
            logging.warning("said")

    with pipespan.pipeline("run") as run, run.step("s"):
        for target in (work, pipespan.wrap(work)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    """)
    seen = programs.delivered()
    assert set(seen.nodes) == {"run", "run/s", "run/in a thread", "run/s/in a thread"}
    assert sorted(record.node_id or "" for record in seen.logs()) == ["run/in a thread", "run/s/in a thread"]


def test_four_processes_on_one_experiment_give_exact_parents(connected: Programs) -> None:
    """Owner and three others ship to one database at the same time: sums are exact, each line is there once."""
    connected.run(
        """
    def work(number):
        for part in range(8):
            with pipespan.step(f"part {part}", total=5, weight=number + 1) as step:
                for _ in step.track(range(5)):
                    logging.warning("%d %d", number, part)

    if __name__ == "__main__":
        contexts = [multiprocessing.get_context(method) for method in ("fork", "fork", "spawn")]
        with pipespan.pipeline("run") as run:
            with run.phase("shared"):
                target = pipespan.wrap(work)
                children = [one.Process(target=target, args=(number,)) for number, one in enumerate(contexts)]
                for child in children:
                    child.start()
                work(3)
                for child in children:
                    child.join()
        assert pipespan.flush(10)
    """,
        PIPESPAN_FLUSH_INTERVAL_S="0.02",
    )
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    seen = Seen(source)
    assert len(seen.nodes) == 2 + 4 * 8
    assert set(seen.statuses().values()) == {"completed"}
    assert Counter(seen.messages()) == {f"{number} {part}": 5 for number in range(4) for part in range(8)}
    assert {job.status for job in source.jobs(seen.id)} == {"completed"}
    assert len(source.jobs(seen.id)) == 4
    assert int(seen.nodes["run/shared"].child_weight) == 8 * (1 + 2 + 3 + 4) * 1000
    seen.check_sums()
    source.close()


def test_a_worker_killed_in_mid_run_is_delivered_by_its_parent(connected: Programs) -> None:
    """The parent's shipper finds the orphaned stream at the latest at its own end."""
    connected.run("""
    def work():
        with pipespan.step("doomed"):
            for line in range(200):
                logging.warning("line %d", line)
            os.kill(os.getpid(), signal.SIGKILL)

    if __name__ == "__main__":
        with pipespan.pipeline("run"):
            child = multiprocessing.get_context("fork").Process(target=work)
            child.start()
            child.join()
    """)
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    assert Counter(Seen(source).messages()) == {f"line {line}": 1 for line in range(200)}
    assert not any((connected.state_dir / "spool").iterdir())
    source.close()


def test_sigkill_at_random_moments_loses_no_line_whose_call_had_returned(programs: Programs) -> None:
    """Twenty times a logging loop is killed: every line that it had been told was logged is in the table, once."""
    source = """
    with pipespan.pipeline("run") as run, run.step("loop"):
        number = 0
        os.write(1, b"go\\n")
        while True:
            logging.warning("line %d", number)
            os.write(1, b"%d\\n" % number)
            number += 1
            if number % 100 == 0:
                with pipespan.step("inner"):
                    pass
    """
    for round_ in range(20):
        child = programs.start(source, PIPESPAN_SEGMENT_BYTES="20000")
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        for _ in range(1 + 37 * round_ % 400):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        rest = child.stdout.read().split("\n")
        child.wait()
        told = 1 + 37 * round_ % 400 + len(rest) - 1
        got = programs.delivered().messages()
        assert got == [f"line {number}" for number in range(len(got))]
        assert told <= len(got) <= told + 1, round_
