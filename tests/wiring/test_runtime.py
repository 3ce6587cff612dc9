"""What a program sees of pipespan while it runs."""

from __future__ import annotations

import json

from pipespan.store.postgres.read import PostgresSource
from tests.fixtures.waiting import wait_for
from tests.wiring.programs import Programs, Seen


def test_rows_are_in_the_database_while_the_pipeline_runs(connected: Programs) -> None:
    """Start and progress of a step are visible long before it ends; `flush` waits for them."""
    child = connected.start("""
    with pipespan.pipeline("run") as run, run.step("s", total=10) as step:
        step.progress(4, message="under way")
        logging.warning("hello")
        time.sleep(0.3)
        print(pipespan.flush(10), flush=True)
        sys.stdin.read()
    """, PIPESPAN_PROGRESS_INTERVAL_S="0.05")  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    seen = Seen(source)
    assert seen.statuses() == {"run": "running", "run/s": "running"}
    step = seen.nodes["run/s"]
    assert (step.completed_units, step.total_units, step.message) == (4, 10, "under way")
    assert float(step.progress_percent) == 40
    assert seen.messages() == ["hello"]
    child.communicate("")
    assert Seen(source).statuses() == {"run": "completed", "run/s": "completed"}
    source.close()


def test_the_end_of_a_phase_and_of_a_pipeline_is_seen_at_once(connected: Programs) -> None:
    """Nobody waits for the next turn to see that something is over."""
    child = connected.start("""
    with pipespan.pipeline("run") as run:
        pipespan.flush(10)
        with run.phase("p") as phase, phase.step("s"):
            pass
        print(flush=True)
        sys.stdin.readline()
    print(flush=True)
    sys.stdin.readline()
    """, PIPESPAN_FLUSH_INTERVAL_S="600")  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    child.stdout.readline()
    wait_for(lambda: Seen(source).statuses().get("run/p") == "completed")
    assert Seen(source).statuses() == {"run": "running", "run/p": "completed", "run/p/s": "completed"}
    child.stdin.write("\n")
    child.stdin.flush()
    child.stdout.readline()
    wait_for(lambda: Seen(source).statuses()["run"] == "completed")
    (job,) = source.jobs(Seen(source).id)
    assert job.status == "completed"
    child.communicate("")
    source.close()


def test_heartbeats_and_metrics_arrive_by_themselves(connected: Programs) -> None:
    """A step that does nothing but wait is alive in the table, and its process is measured."""
    child = connected.start(
        """
    with pipespan.pipeline("run") as run, run.step("s"):
        print(flush=True)
        sys.stdin.read()
    """,
        PIPESPAN_PROGRESS_INTERVAL_S="0.05", PIPESPAN_HEARTBEAT_INTERVAL_S="0.05",
        PIPESPAN_SAMPLE_INTERVAL_S="0.05", PIPESPAN_METRICS_INTERVAL_S="0.1", PIPESPAN_FLUSH_INTERVAL_S="0.02",
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    beats: set[object] = set()
    seen = Seen(source)
    while len(beats) < 3:  # the test's own timeout ends it
        seen = Seen(source)
        beats |= {job.heartbeat_at for job in (source.jobs(seen.id) if seen.id else [])}
    while not (metrics := source.metrics(seen.id, limit=5)):
        pass
    assert metrics[0].memory_mb is not None
    assert metrics[0].memory_mb > 5
    child.communicate("")
    source.close()


def test_health_tells_what_became_of_the_rows(connected: Programs) -> None:
    """Accepted rows are shipped rows after a flush; nothing waits, nothing was lost."""
    ran = connected.run("""
    import dataclasses, json
    before = pipespan.health()
    with pipespan.pipeline("run") as run:
        for number in range(100):
            logging.warning("line")
        pipespan.flush(10)
        during = pipespan.health()
    print(json.dumps([dataclasses.asdict(before), dataclasses.asdict(during)]))
    """)
    before, during = json.loads(ran.out)
    assert before["is_enabled"] is False
    assert during["accepted_rows"] >= 103
    assert during["shipped_rows"] >= 103
    assert (
        during["waiting_bytes"],
        during["dropped_rows"],
        during["rejected_rows"],
        during["failed_rows"],
    ) == (0, 0, 0, 0)
    assert during["last_error"] is None


def test_callbacks_hear_the_pipeline_in_its_own_process(programs: Programs) -> None:
    """`on` may be called before or in the pipeline; progress comes from a thread of pipespan."""
    ran = programs.run("""
    pipespan.on(started=lambda node: print("started", node.node_id, flush=True))
    moved = threading.Event()
    with pipespan.pipeline("run") as run:
        pipespan.on(
            progress=lambda node: moved.set(), completed=lambda node: print("completed", node.node_id, flush=True),
            failed=lambda node: print(node.status, node.node_id, flush=True),
        )
        with run.step("s"):
            pipespan.advance()
            assert moved.wait(10)
        try:
            with run.step("bad"):
                raise KeyError
        except KeyError:
            pass
    """, PIPESPAN_PROGRESS_INTERVAL_S="0.05")  # fmt: skip
    assert ran.out.splitlines() == [
        "started run", "started run/s", "completed run/s", "started run/bad", "failed run/bad", "completed run",
    ]  # fmt: skip


def test_logs_of_the_program_are_recorded_and_still_go_where_they_went(programs: Programs) -> None:
    """`logging` at any place of a pipeline becomes rows of the node; handlers of the program see what they saw."""
    ran = programs.run("""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s", force=True)
    log = pipespan.get_logger("mine", shard=3)
    logging.info("before")
    with pipespan.pipeline("run") as run, run.step("s"):
        logging.getLogger("some.library").info("from a library")
        log.info("from me", more=1)
        try:
            raise ValueError("v")
        except ValueError:
            logging.exception("caught")
    logging.info("after")
    """)
    assert ran.out.splitlines()[:4] == ["before", "from a library", "from me", "caught"]
    seen = programs.delivered()
    assert [(one.logger_name, one.message, one.node_id) for one in seen.logs()] == [
        ("some.library", "from a library", "run/s"), ("mine", "from me", "run/s"), ("root", "caught", "run/s"),
    ]  # fmt: skip
    _, mine, caught = seen.logs()
    assert mine.context is not None
    assert (mine.context["shard"], mine.context["more"]) == (3, 1)
    assert caught.error_type == "ValueError"
    assert seen.experiments[0].error_count == 1


def test_what_a_database_refuses_does_not_block_the_rest(connected: Programs) -> None:
    """Odd names and values of all kinds arrive in a real database, none refused, none waiting."""
    ran = connected.run(
        r"""
    cycle = {}
    cycle["self"] = cycle
    odd = {"nan": float("nan"), "bytes": b"\0\xff", "set": {1}, "nul": chr(0), "cycle": cycle}
    odd["lone"] = chr(0xd800)
    odd["huge"] = 10**400
    with pipespan.pipeline(chr(0) + "\n", params=odd, tags=[chr(0xd800), "a\"b\\", ""]) as run:
        names = ["", "x" * 10000, "a" + chr(10) + "b", chr(0), chr(0xd800)]
        names += [chr(0x1f9ea), "\\.", "\\N", "\t"]
        for name in names:
            with run.step(name, unit=name, metadata=odd) as step:
                step.progress(float("nan"), -1, name)
                step.progress(10**30, 10**30)
                step.event(name, event_type=name, odd=odd)
                step.metric(odd=odd)
                logging.warning("%s", name, extra={"odd": odd})
        print(pipespan.flush(10), pipespan.health().rejected_rows, pipespan.health().failed_rows)
    """
    )
    assert ran.out == "True 0 0\n"
    assert "pipespan:" not in ran.err
    source = PostgresSource(connected.environ["PIPESPAN_DSN"])
    seen = Seen(source)
    assert len(seen.nodes) == 10
    assert set(seen.statuses().values()) == {"completed"}
    assert len(seen.messages()) == len(source.events(seen.id, limit=100)) == 9
    source.close()
