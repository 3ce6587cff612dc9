"""Celery with a real broker and real workers: tasks are nodes, from submission to result."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pipespan.store.postgres.read import PostgresSource
from tests.integrations.conftest import need
from tests.wiring.programs import Programs, Seen

need("celery")

APP = """
    import logging, os, time
    import pipespan
    from celery import Celery
    from pipespan.integrations.celery import instrument

    app = Celery("work", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
    app.conf.worker_hijack_root_logger = app.conf.worker_redirect_stdouts = False
    app.conf.task_default_queue = "q"
    instrument(app)
    log = logging.getLogger("work")

    @app.task
    def double(number):
        log.warning("doubling %d", number)
        with pipespan.step("inside", total=2) as step:
            step.advance(2)
        return 2 * number

    @app.task
    def fail():
        raise ValueError("no good")

    @app.task(bind=True, max_retries=2)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(exc=OSError(f"try {self.request.retries}"), countdown=0.2)
        return "ok"

    @app.task(time_limit=1)
    def endless():
        log.warning("before the limit")
        time.sleep(30)

    @app.task
    def lost():
        log.warning("before the kill")
        os.kill(os.getpid(), 9)

    @app.task
    def outer():
        return inner.delay().id

    @app.task
    def inner():
        return 1
"""


class Celery:
    """An app, its workers, and programs that submit to it."""

    def __init__(self, programs: Programs, broker: str) -> None:
        self.programs = programs.using(BROKER=broker)
        (programs.folder / "work.py").write_text(textwrap.dedent(APP))
        programs.using(PYTHONPATH=f"{programs.folder}:{_source()}")

    def worker(self, *options: str) -> subprocess.Popen[str]:
        """Start a worker and wait until it is ready."""
        code = """
            from celery.signals import worker_ready
            import work
            worker_ready.connect(lambda **_: print("ready", flush=True), weak=False)
            work.app.worker_main(["worker", "--without-gossip", "--without-mingle", "-n", "w1@here", *sys.argv[1:]])
        """
        worker = self.programs.start(code, *options)
        assert worker.stdout is not None
        for line in worker.stdout:
            if line.strip() == "ready":
                return worker
        raise AssertionError(worker.communicate()[1])

    def end(self, worker: subprocess.Popen[str]) -> str:
        """Have the worker finish what it does and end."""
        worker.send_signal(signal.SIGTERM)
        out, err = worker.communicate(timeout=40)
        assert worker.returncode == 0, out + err
        return out + err


def _source() -> str:
    import pipespan

    return str(__import__("pathlib").Path(pipespan.__file__).parents[1])


@pytest.fixture
def celery(connected: Programs, redis_url: str) -> Any:
    """An app of the test's own."""
    import redis

    redis.Redis(unix_socket_path=redis_url.removeprefix("redis+socket://")).flushall()
    return Celery(connected, redis_url)


def seen_when(celery: Celery, is_there: Callable[[Seen], bool]) -> Seen:
    """Return what the database says once it is as expected, or after a while anyhow."""
    source = PostgresSource(celery.programs.environ["PIPESPAN_DSN"])
    deadline = time.monotonic() + 15
    try:
        while True:
            seen = Seen(source)
            if is_there(seen) or time.monotonic() > deadline:
                seen.lines = seen.logs()
                seen.said = [record.message for record in seen.lines]
                return seen
            time.sleep(0.05)
    finally:
        source.close()


def by_name(seen: Seen, name: str) -> list[Any]:
    return [node for node in seen.nodes.values() if node.node_name == name]


def submit(celery: Celery, code: str) -> str:
    body = textwrap.indent(textwrap.dedent(code), "    ")
    program = "import work\nwith pipespan.pipeline('run') as run, run.phase('send'):\n" + body
    return celery.programs.run(program).out


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_tasks_from_submission_to_result(celery: Celery, pool: str) -> None:
    """Each task is a step below the one that submitted it, with what it logs and opens, its worker and its end."""
    worker = celery.worker("--pool", pool, "-c", "2")
    submit(
        celery,
        """
        results = [work.double.delay(number) for number in range(4)]
        assert [one.get(timeout=30) for one in results] == [0, 2, 4, 6]
        work.fail.delay().get(timeout=30, propagate=False)
        assert work.flaky.delay().get(timeout=30) == "ok"
        chain = (work.double.s(1) | work.double.s())()
        assert chain.get(timeout=30) == 4
        """,
    )
    celery.end(worker)
    seen = seen_when(celery, lambda seen: "running" not in seen.statuses().values())
    assert len(seen.experiments) == 1
    doubles = by_name(seen, "work.double")
    assert [node.status for node in doubles] == ["completed"] * 6
    assert {node.parent_id for node in doubles} == {"run/send"}
    assert {(node.metadata["worker"], node.metadata["queue"]) for node in doubles} == {("w1@here", "q")}
    assert {node.parent_id for node in by_name(seen, "inside")} == {node.node_id for node in doubles}
    assert Counter(seen.said)["doubling 2"] == 2
    (failed,) = by_name(seen, "work.fail")
    assert (failed.status, failed.error_type, failed.message) == ("failed", "ValueError", "no good")
    (tried,) = by_name(seen, "work.flaky")
    assert (tried.status, tried.metadata["retries"]) == ("completed", 2)
    source = PostgresSource(celery.programs.environ["PIPESPAN_DSN"])
    records = Seen(source).logs()
    source.close()
    assert any("ValueError: no good" in (record.traceback or "") for record in records)
    assert [record.level for record in records if "OSError: try" in record.message] == ["WARNING"] * 2
    seen.check_sums()


def test_a_task_is_pending_until_a_worker_takes_it(celery: Celery) -> None:
    """What was submitted is in the tree before there is any worker, and goes on when there is one."""
    submit(celery, "work.double.delay(1), work.double.delay(2)")
    seen = seen_when(celery, lambda seen: len(seen.nodes) == 4)
    assert [node.status for node in by_name(seen, "work.double")] == ["pending"] * 2
    worker = celery.worker("--pool", "solo")
    seen = seen_when(celery, lambda seen: "pending" not in seen.statuses().values())
    celery.end(worker)
    seen = seen_when(celery, lambda seen: "running" not in seen.statuses().values())
    assert [node.status for node in by_name(seen, "work.double")] == ["completed"] * 2


def test_revoked_tasks_are_cancelled(celery: Celery) -> None:
    """Whether it waits or runs: a revoked task ends as cancelled, and says so."""
    worker = celery.worker("--pool", "prefork", "-c", "1")
    submit(
        celery,
        """
        later = work.double.apply_async((1,), countdown=1)
        later.revoke()
        running = work.endless.apply_async(time_limit=30)
        while running.state != "STARTED" and not work.app.control.inspect().active()["w1@here"]:
            time.sleep(0.02)
        running.revoke(terminate=True)
        for one in (later, running):
            one.get(timeout=30, propagate=False)
        """,
    )
    celery.end(worker)
    seen = seen_when(celery, lambda seen: not {"running", "pending"} & set(seen.statuses().values()))
    (later,), (running,) = by_name(seen, "work.double"), by_name(seen, "work.endless")
    assert (later.status, later.message) == ("cancelled", "revoked")
    assert running.status == "cancelled"
    assert "before the limit" in seen.said


def test_a_task_revoked_long_before_its_time_is_cancelled(celery: Celery) -> None:
    """Its worker ends before the time comes, which is when Celery itself would say that it was revoked."""
    worker = celery.worker("--pool", "prefork", "-c", "1")
    submit(
        celery,
        """
        later = work.double.apply_async((1,), countdown=600)
        while not work.app.control.inspect().scheduled()["w1@here"]:
            time.sleep(0.02)
        later.revoke()
        while later.id not in work.app.control.inspect().revoked()["w1@here"]:
            time.sleep(0.02)
        """,
    )
    celery.end(worker)
    seen = seen_when(celery, lambda seen: "pending" not in seen.statuses().values())
    (later,) = by_name(seen, "work.double")
    assert (later.status, later.message) == ("cancelled", "revoked")


def test_recycled_and_killed_workers_lose_nothing(celery: Celery) -> None:
    """Children that are replaced after two tasks, killed by a hard time limit or by the kernel: all is there."""
    worker = celery.worker("--pool", "prefork", "-c", "2", "--max-tasks-per-child", "2")
    submit(
        celery,
        """
        results = [work.double.delay(number) for number in range(12)]
        results += [work.endless.delay(), work.lost.delay(), work.outer.delay()]
        for one in results:
            one.get(timeout=40, propagate=False)
        work.inner.AsyncResult(results[-1].get()).get(timeout=40)
        """,
    )
    celery.end(worker)
    seen = seen_when(
        celery,
        lambda seen: "running" not in seen.statuses().values() and len(by_name(seen, "work.inner")) == 1,
    )
    assert Counter(node.status for node in by_name(seen, "work.double")) == {"completed": 12}
    said = Counter(seen.said)
    assert all(said[f"doubling {number}"] == 1 for number in range(12))
    (endless,), (lost,) = by_name(seen, "work.endless"), by_name(seen, "work.lost")
    assert (endless.status, endless.error_type) == ("failed", "billiard.exceptions.TimeLimitExceeded")
    # Whoever finds the process gone tells of it too; Celery's word is the later one.
    assert (lost.status, lost.error_type) == ("failed", "billiard.exceptions.WorkerLostError")
    assert any("WorkerLostError" in message for message in said)
    # Celery runs a task again whose process died before it was heard to have begun. No process says anything twice.
    assert said["before the limit"] == 1
    assert said["before the kill"] >= 1
    by_process = Counter((record.job_id, record.message) for record in seen.lines)
    assert {
        line: count for line, count in by_process.items() if line[1].startswith("before") and count > 1
    } == {}
    (outer,), (inner,) = by_name(seen, "work.outer"), by_name(seen, "work.inner")
    assert (inner.parent_id, inner.status) == (outer.node_id, "completed")
    jobs = PostgresSource(celery.programs.environ["PIPESPAN_DSN"])
    statuses = Counter(job.status for job in jobs.jobs(seen.id))
    jobs.close()
    assert statuses["running"] == 0
    assert statuses["failed"] >= 1  # the lost one; who meets a time limit is told to end before it is killed
    assert statuses["completed"] >= 7  # six recycled children at least, and the one that submitted
    seen.check_sums()
