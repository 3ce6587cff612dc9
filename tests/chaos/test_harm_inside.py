"""Whatever the program does to itself, pipespan neither hangs it nor changes it, and what was recorded is there."""

from __future__ import annotations

import pytest

from pipespan.store.postgres.read import PostgresSource
from tests.chaos.harm import audit, count, through
from tests.wiring.programs import Programs, Seen

pytestmark = pytest.mark.chaos

CLOCK = """
import time
real = time.time_ns
offset = [0]
time.time_ns = lambda: real() + offset[0]
time.time = lambda: time.time_ns() / 1e9
"""
"""No name space moves the wall clock, so the program's own reading of it is moved, before anything else is loaded."""


def seen(programs: Programs) -> Seen:
    source = PostgresSource(programs.environ["PIPESPAN_DSN"])
    try:
        found = Seen(source)
        found.said = found.messages()
        return found
    finally:
        source.close()


def lines(programs: Programs, pattern: str) -> tuple[int, int]:
    """Return how many log rows there are of a pattern, and how many different ones."""
    dsn = programs.environ["PIPESPAN_DSN"]
    where = f"from pipeline_logs where message like '{pattern}'"
    return count(dsn, f"select count(*) {where}"), count(dsn, f"select count(distinct message) {where}")


def test_the_clock_is_set_back_an_hour(harmed: Programs) -> None:
    """Progress goes on being seen, no end comes before its start, the run stays one story, and an alarm tells it."""
    source = (
        "import builtins\n"
        + CLOCK
        + """
builtins.offset = offset
"""
    )
    ended = through(harmed, bool, HARM_BEFORE=source + "\noffset[0] = 0")
    assert ended.err == ""
    audit(harmed.environ["PIPESPAN_DSN"])
    ran = harmed.run(
        CLOCK
        + """
import os, sys, logging
import pipespan
with pipespan.pipeline("set back") as run, run.step("s", total=10) as step:
    step.progress(3)
    pipespan.flush(10)
    time.sleep(0.3)
    offset[0] = -3600 * 10**9
    step.progress(5)
    logging.warning("after the step of the clock")
    time.sleep(0.4)
    pipespan.flush(10)
    import psycopg
    with psycopg.connect(os.environ["PIPESPAN_DSN"]) as connection:
        row = connection.execute(
            "select p.completed_units, p.status from pipeline_progress p join experiments e on e.id = p.experiment_id"
            " where p.node_id = 'set back/s'").fetchone()
    print(*row)
print(pipespan.health().failed_rows)
""",
        PIPESPAN_PROGRESS_INTERVAL_S="0.05",
        PIPESPAN_SAMPLE_INTERVAL_S="0.1",
    )
    assert ran.out == "5 running\n0\n"
    found = seen(harmed)
    dsn = harmed.environ["PIPESPAN_DSN"]
    assert count(dsn, "select count(*) from pipeline_progress where end_time < start_time") == 0
    assert count(dsn, "select count(*) from processing_jobs where status <> 'completed'") == 0
    assert count(dsn, "select count(*) from experiments where status <> 'completed'") == 0
    assert count(dsn, "select count(*) from pipeline_logs where message like 'after the step%'") == 1
    assert count(dsn, "select count(*) from pipeline_events where details->>'alarm' = 'clock'") == 1
    assert found.experiments


CROWD = """
    def work(number):
        for turn in range(50):
            with run.step(f"t{number}") as step:
                step.advance()
                logging.warning("line %d %d", number, turn)
            total.advance()
    with pipespan.pipeline("run") as run, run.step("total") as total:
        threads = [threading.Thread(target=pipespan.wrap(work), args=(number,)) for number in range(200)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    print("done")
    sys.exit(3)
"""


def test_ten_thousand_threads_worth_of_contention(harmed: Programs) -> None:
    """200 threads open 10,000 steps and log 10,000 lines at once: each is there once, and the sums are exact."""
    ran = harmed.run(CROWD, code=3, PIPESPAN_EXIT_TIMEOUT_S="30")
    assert ran.out == "done\n"
    assert lines(harmed, "line %") == (10_000, 10_000)
    found = seen(harmed)
    assert len(found.nodes) == 10_002
    assert set(found.statuses().values()) == {"completed"}
    assert found.nodes["run/total"].completed_units == 10_000
    run = found.nodes["run"]
    assert (int(run.child_weight), int(run.child_sum)) == (10_001 * 1000, 10_001 * 1000 * 10**9)


FORKS = """
    import warnings
    warnings.simplefilter("ignore")
    stop = threading.Event()
    def noise(number):
        log = pipespan.get_logger(f"noise{number}")
        while not stop.is_set():
            with run.step("noise") as step:
                pipespan.get_logger(f"noise{number}").info("noise")
                step.set(a=1)
    with pipespan.pipeline("run") as run:
        threads = [threading.Thread(target=pipespan.wrap(noise), args=(number,)) for number in range(4)]
        for thread in threads: thread.start()
        for number in range(25):
            child = os.fork()
            if child == 0:
                pipespan.get_logger("child").warning("child %d", number)
                with pipespan.step("of the child"):
                    logging.warning("inside %d", number)
                os._exit(0)
            logging.warning("parent %d", number)
            deadline = time.monotonic() + 30
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(child, signal.SIGABRT)
                    sys.exit("child %d hangs" % number)
                time.sleep(0.002)
        stop.set()
        for thread in threads: thread.join()
    print("done")
"""


def test_fork_in_the_worst_moment(harmed: Programs) -> None:
    """25 forks in a loop while threads record and the shipper ships: no child hangs, nothing is lost or there twice."""
    ran = harmed.run(FORKS, PIPESPAN_FLUSH_INTERVAL_S="0.005", PIPESPAN_EXIT_TIMEOUT_S="30")
    assert ran.out == "done\n"
    harmed.run(
        'with pipespan.pipeline("later"): pass', PIPESPAN_EXIT_TIMEOUT_S="30"
    )  # brings the children's along
    for pattern in ("child %", "inside %", "parent %"):
        assert lines(harmed, pattern) == (25, 25), pattern


def test_interpreter_shutdown(harmed: Programs) -> None:
    """Logging from atexit functions and from daemon threads that are cut off: the exit status is the program's."""
    ran = harmed.run(
        """
    import atexit
    logging.getLogger().setLevel(logging.INFO)
    def late():
        logging.info("late")
        with pipespan.pipeline("at exit"):
            logging.warning("at the exit")
    atexit.register(late)  # runs after pipespan's own end
    run = pipespan.pipeline("run").__enter__()
    atexit.register(lambda: logging.warning("before the end"))  # runs before it
    def forever():
        number = 0
        while True:
            logging.info("daemon %d", number)
            number += 1
            time.sleep(0.0005)
    for _ in range(4):
        threading.Thread(target=forever, daemon=True).start()
    logging.warning("last of the main thread")
    time.sleep(0.05)
    sys.exit(5)
    """,
        code=5,
        PIPESPAN_EXIT_TIMEOUT_S="10",
    )
    assert "Traceback" not in ran.err
    assert "Fatal" not in ran.err
    assert ran.seconds < 30
    harmed.run('with pipespan.pipeline("later"): pass', PIPESPAN_EXIT_TIMEOUT_S="30")
    assert lines(harmed, "last of the main thread") == (1, 1)
    assert lines(harmed, "before the end") == (1, 1)


SIGNALS = """
    import itertools
    numbers = itertools.count()
    def on_alarm(number, frame):
        logging.warning("caught %d", next(numbers))
    signal.signal(signal.SIGALRM, on_alarm)
    with pipespan.pipeline("run") as run:
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        for number in range(3000):
            with run.step("s") as step:
                logging.warning("line %d", number)
                step.advance()
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(next(numbers))
    print(pipespan.health().failed_rows)
"""


def test_a_signal_handler_that_logs(harmed: Programs) -> None:
    """It comes in the midst of everything, of recording too: each line of it is there, as is each of the work."""
    ran = harmed.run(SIGNALS, PIPESPAN_EXIT_TIMEOUT_S="30")
    caught, failed = map(int, ran.out.split())
    assert caught > 20
    assert failed == 0
    assert lines(harmed, "line %") == (3000, 3000)
    assert lines(harmed, "caught %") == (caught, caught)


def test_a_destructor_that_logs(harmed: Programs) -> None:
    """Collected in the midst of recording: its lines are there, and nobody hangs."""
    ran = harmed.run(
        """
    import gc
    count = 0
    class Loud:
        def __init__(self):
            self.me = self
        def __del__(self):
            global count
            logging.warning("gone %d", count)
            count += 1
    gc.set_threshold(7)
    with pipespan.pipeline("run") as run:
        for number in range(1000):
            Loud()
            logging.warning("line %d", number, extra={"list": [number]})
        gc.collect()
    print(count)
    """,
        PIPESPAN_EXIT_TIMEOUT_S="30",
    )
    assert int(ran.out) == 1000
    assert lines(harmed, "line %") == (1000, 1000)
    assert lines(harmed, "gone %") == (1000, 1000)


def test_a_record_whose_parts_log(harmed: Programs) -> None:
    """A value that logs when it is written out, and a handler of the program that logs: no circles."""
    ran = harmed.run(
        """
    class Chatty:
        def __str__(self):
            logging.warning("I was asked")
            return "chatty"
        __repr__ = __str__
    class Echo(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("line"):
                logging.getLogger("echo").warning("echo of %s", record.getMessage())
    logging.getLogger().addHandler(Echo())
    with pipespan.pipeline("run") as run:
        for number in range(100):
            logging.warning("line %d", number)
        logging.warning("with %s", Chatty())
        run.set(value=Chatty())
        run.event("event", value=Chatty())
    sys.exit(4)
    """,
        code=4,
        PIPESPAN_EXIT_TIMEOUT_S="30",
    )
    assert "Traceback" not in ran.err
    assert lines(harmed, "line %") == (100, 100)
    assert lines(harmed, "echo of line %") == (100, 100)
    assert lines(harmed, "with chatty") == (1, 1)


def test_logging_at_the_limit_of_recursion(harmed: Programs) -> None:
    """The program meets its own limit where it would have; a record that could not be made is counted and shown."""
    source = """
    reached = []
    def down(depth):
        logging.warning("depth %d", depth)
        reached.append(depth)
        down(depth + 1)
    def fall():
        try:
            down(0)
        except RecursionError:
            return len(reached)
    with pipespan.pipeline("run") as run:
        with run.step("deep"):
            got = fall()
        logging.warning("after")
    failed = pipespan.health().failed_rows
    print(got, failed)
    """
    ran = harmed.run(source, PIPESPAN_EXIT_TIMEOUT_S="30")
    without = harmed.run(source, PIPESPAN_DISABLED="1")
    got, failed = map(int, ran.out.split())
    assert abs(got - int(without.out.split()[0])) <= 60  # as many calls go through as without pipespan
    depths, different = lines(harmed, "depth %")
    assert depths == different
    assert depths + failed >= got
    assert lines(harmed, "after") == (1, 1)
    assert set(seen(harmed).statuses().values()) == {"completed"}


def test_logging_in_a_recursion_error(harmed: Programs) -> None:
    """A step that a RecursionError leaves fails with it, and its record is there."""
    ran = harmed.run(
        """
    def down():
        with pipespan.current().step("s"):
            down()
    with pipespan.pipeline("run") as run:
        try:
            down()
        except RecursionError:
            print("caught")
    sys.exit(2)
    """,
        code=2,
        PIPESPAN_EXIT_TIMEOUT_S="30",
    )
    assert ran.out == "caught\n"
    found = seen(harmed)
    assert found.nodes["run"].status == "completed"
    assert {status for node, status in found.statuses().items() if node != "run"} == {"failed"}
