"""A LocalCluster of processes: what a graph does stands below the step that computes it."""

from __future__ import annotations

from collections import Counter

from pipespan.store.postgres.read import PostgresSource
from tests.integrations.conftest import need
from tests.wiring.programs import Programs, Seen

need("distributed")

PRELUDE = """
    import dask
    from distributed import Client, LocalCluster
    from pipespan.integrations.dask import instrument

    def square(number):
        logging.warning("squaring %d", number)
        with pipespan.step("inside"):
            return number * number

    def fail(number):
        raise ValueError(f"no good: {number}")

    def main():
        with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                          host="127.0.0.1") as cluster, Client(cluster) as client:
            instrument(client)
            work(client)
"""

START = """
    if __name__ == "__main__":
        main()
"""


def run(programs: Programs, work: str) -> Seen:
    programs.run(PRELUDE + work + START)
    source = PostgresSource(programs.environ["PIPESPAN_DSN"])
    seen = Seen(source)
    seen.said = seen.messages()
    seen.jobs = source.jobs(seen.id)  # type: ignore[attr-defined]
    seen.tracebacks = [record.traceback or "" for record in seen.logs()]  # type: ignore[attr-defined]
    source.close()
    return seen


def test_a_graph_stands_below_the_step_that_computes_it(connected: Programs) -> None:
    """A node for each prefix; few tasks are children of it, many are its units; errors are told where they happened."""
    seen = run(
        connected,
        """
    def work(client):
        with pipespan.pipeline("run") as run:
            with run.step("few"):
                parts = [dask.delayed(square)(number) for number in range(4)]
                assert dask.delayed(sum)(parts).compute() == 14
            with run.step("many"):
                futures = client.map(square, range(100, 160))
                assert len(client.gather(futures)) == 60
            with run.step("wrong"):
                futures = client.map(fail, range(3))
                client.gather(futures, errors="skip")
        client.submit(square, 7).result()  # outside of any pipeline it is Dask's own
    """,
    )
    assert len(seen.experiments) == 1
    names = Counter((node.node_name, node.status) for node in seen.nodes.values())
    assert names == {
        ("run", "completed"): 1, ("few", "completed"): 1, ("many", "completed"): 1, ("wrong", "completed"): 1,
        ("square", "completed"): 6, ("sum", "completed"): 2, ("inside", "completed"): 64, ("fail", "failed"): 4,
    }  # fmt: skip
    few, many, wrong = (seen.nodes[f"run/{name}"] for name in ("few/square", "many/square", "wrong/fail"))
    assert (few.total_units, few.completed_units, few.unit) == (4, 4, "tasks")
    assert (many.total_units, many.completed_units, many.unit) == (60, 60, "tasks")
    assert (wrong.status, wrong.message) == ("failed", "3 of 3 tasks failed")
    assert Counter(node.parent_id for node in seen.nodes.values())["run/few/square"] == 4
    assert Counter(node.parent_id for node in seen.nodes.values())["run/many/square"] == 60
    said = Counter(seen.said)
    assert all(said[f"squaring {number}"] == 1 for number in [*range(4), *range(100, 160)])
    assert sum("ValueError: no good" in text for text in seen.tracebacks) == 3  # type: ignore[attr-defined]
    assert len(seen.jobs) == 3  # type: ignore[attr-defined]
    seen.check_sums()


def test_a_worker_that_dies_loses_nothing_that_it_said(connected: Programs) -> None:
    """Its task runs again on another worker; what the first one wrote is delivered all the same."""
    seen = run(
        connected,
        """
    def once(path):
        import pathlib
        if not pathlib.Path(path).exists():
            pathlib.Path(path).touch()
            logging.warning("the first")
            os.kill(os.getpid(), 9)
        logging.warning("the second")
        return "ok"

    def work(client):
        with pipespan.pipeline("run") as run, run.step("s"):
            assert client.submit(once, os.path.abspath("mark")).result() == "ok"
    """,
    )
    assert sorted(line for line in seen.said if line.startswith("the ")) == ["the first", "the second"]
    once = seen.nodes["run/s/once"]
    assert (once.status, once.completed_units) == ("completed", 1)
    assert [node.status for node in seen.nodes.values() if node.parent_id == "run/s/once"] == ["completed"]
