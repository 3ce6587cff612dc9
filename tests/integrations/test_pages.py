"""The programs of the pages on engines run as they stand there."""

from __future__ import annotations

import re
import signal
from collections import Counter

import pytest

from pipespan.store.postgres.read import PostgresSource
from tests.docs.pages import ROOT
from tests.integrations.conftest import deliver, need
from tests.wiring.programs import Programs, Seen


def example(page: str, mark: str) -> str:
    """Return the block of a page that follows a mark."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8")
    found = re.search(
        rf"<!-- example: {re.escape(mark)} -->\n+```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    assert found is not None
    return found[1]


def names(programs: Programs) -> Counter[tuple[str, str]]:
    source = PostgresSource(programs.environ["PIPESPAN_DSN"])
    seen = Seen(source)
    source.close()
    return Counter((node.node_name, node.status) for node in seen.nodes.values())


def test_the_page_on_celery(connected: Programs, redis_url: str) -> None:
    """The app of the page, a worker, and the program that submits."""
    need("celery")
    (connected.folder / "tasks.py").write_text(example("celery.md", "tasks.py"))
    connected.using(BROKER=redis_url)
    worker = connected.start("""
        from tasks import app
        app.worker_main(["worker", "--pool", "threads", "-c", "2", "--without-gossip", "--without-mingle"])
    """)
    done = connected.run(example("celery.md", "submit"))
    assert done.out == "['ADA', 'GRACE']\n"
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=30)
    assert names(connected) == {
        ("pictures", "completed"): 1, ("resize", "completed"): 1, ("tasks.resize", "completed"): 2
    }  # fmt: skip


def test_the_page_on_dask(connected: Programs) -> None:
    """A cluster of processes."""
    need("distributed")
    assert connected.run(example("dask.md", "runs on a cluster")).out == "328350\n"
    assert names(connected) == {
        ("squares", "completed"): 1,
        ("compute", "completed"): 1,
        ("square", "completed"): 1,
    }


@pytest.mark.timeout(120)
def test_the_page_on_ray(connected: Programs) -> None:
    """A local Ray."""
    need("ray")
    connected.using(RAY_USAGE_STATS_ENABLED="0", HOME=str(connected.folder))
    assert connected.run(example("ray.md", "runs on ray"), timeout_s=100).out == "9\n"
    deliver(connected)
    assert names(connected) == {
        ("squares", "completed"): 1, ("sum", "completed"): 1, ("square", "completed"): 1, ("Total.add", "completed"): 1
    }  # fmt: skip
