"""A local Ray: its tasks and actors are nodes of the tree that they were called from."""

from __future__ import annotations

from collections import Counter

import pytest

from pipespan.store.postgres.read import PostgresSource
from tests.integrations.conftest import deliver, need
from tests.wiring.programs import Programs, Seen

need("ray")

PROGRAM = """
    import ray
    from pipespan.integrations.ray import remote

    @remote
    def square(number):
        logging.warning("squaring %d", number)
        with pipespan.step("inside"):
            return number * number

    @remote(num_cpus=0, max_retries=0)
    def fail(*, text="bad", **more):
        raise ValueError(text)

    @remote
    class Counter:
        def __init__(self, start):
            self.count = start

        def add(self, n=1):
            self.count += n
            pipespan.metric(count=self.count)
            return self.count

        async def wait(self):
            return "waited"

    @remote(max_restarts=0)
    class Doomed:
        def work(self):
            logging.warning("last words")
            os.kill(os.getpid(), 9)

    @remote
    def calls(counter):
        return ray.get(counter.add.remote(10))

    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1"
    )
    with pipespan.pipeline("run") as run:
        with run.phase("tasks"):
            assert ray.get([square.remote(number) for number in range(6)]) == [0, 1, 4, 9, 16, 25]
            assert ray.get(square.options(name="other").remote(number=7)) == 49
            try:
                ray.get(fail.remote(text="no good", further=1))
            except ValueError:
                pass
        with run.phase("actors"):
            counter = Counter.remote(100)
            assert sorted(ray.get([counter.add.remote() for _ in range(3)])) == [101, 102, 103]
            assert ray.get(calls.remote(counter)) == 113
            assert ray.get(counter.wait.remote()) == "waited"
        with run.phase("doom"):
            try:
                ray.get(Doomed.remote().work.remote())
            except ray.exceptions.RayActorError:
                pass
            else:
                raise AssertionError
    assert ray.get(square.remote(3)) == 9  # outside of any pipeline it is Ray's own
    ray.shutdown()
"""


def quietly(programs: Programs) -> Programs:
    """Have Ray tell nobody of its use, and keep its files in the test's folder."""
    return programs.using(RAY_USAGE_STATS_ENABLED="0", HOME=str(programs.folder))


@pytest.mark.timeout(120)
def test_tasks_and_actors(connected: Programs) -> None:
    """Each call is a step below the one that made it, in whatever process it ran, with its logs, steps and end."""
    quietly(connected).run(PROGRAM, timeout_s=100)
    deliver(connected)
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    seen = Seen(source)
    assert len(seen.experiments) == 1
    names = Counter(node.node_name for node in seen.nodes.values())
    assert names == {
        "run": 1, "tasks": 1, "actors": 1, "doom": 1, "Doomed.work": 1, "square": 7, "inside": 7, "fail": 1,
        "Counter.add": 4, "calls": 1, "Counter.wait": 1,
    }  # fmt: skip
    statuses = Counter((node.node_name, node.status) for node in seen.nodes.values())
    assert statuses["square", "completed"] == 7
    (failed,) = [node for node in seen.nodes.values() if node.node_name == "fail"]
    assert (failed.status, failed.error_type, failed.message) == ("failed", "ValueError", "no good")
    parents = {
        name: {node.parent_id for node in seen.nodes.values() if node.node_name == name} for name in names
    }
    assert parents["square"] == {"run/tasks"}
    (calls,) = [node.node_id for node in seen.nodes.values() if node.node_name == "calls"]
    assert parents["Counter.add"] == {"run/actors", calls}
    assert Counter(seen.messages())["squaring 7"] == 1
    # What an actor said that was killed is there; that it is dead may have been found out by now.
    assert {status for (name, status) in statuses if name == "Doomed.work"} <= {"running", "failed"}
    assert {status for (name, status) in statuses if name != "Doomed.work"} == {"completed", "failed"}
    assert Counter(seen.messages())["last words"] == 1
    jobs = source.jobs(seen.id)
    assert len(jobs) >= 4
    # Ray has ended its processes without a word; one of them died at its work.
    ends = [(job.status, job.cause, job.evidence) for job in jobs]
    assert Counter(status for status, *_ in ends) == {"completed": len(jobs) - 1, "failed": 1}, ends
    seen.check_sums()
    source.close()
