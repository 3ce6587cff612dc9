"""Twenty processes on four hosts at one experiment, and a host that is cut off from the network for a while."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeVar

import pytest

from pipespan.model.health import CONTACT_LIMIT_S
from pipespan.query.status import StatusView, status
from pipespan.store.postgres.read import PostgresSource
from tests.chaos.hosts import Hosts, made_hosts, why_not
from tests.wiring.programs import Seen

ResultT = TypeVar("ResultT")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

HOSTS, PROCESSES, UNITS = 4, 20, 40

OWNER = """
    with pipespan.pipeline("run") as run, run.phase("shards") as phase:
        partial, whole = pathlib.Path("environ.partial"), pathlib.Path("environ")
        partial.write_text("".join(f"{key}={value}\\n" for key, value in pipespan.inject().items()))
        partial.rename(whole)
        sys.stdin.readline()
"""

WORKER = """
    lines = pathlib.Path("environ").read_text().splitlines()
    headers = dict(line.split("=", 1) for line in lines)
    number, units = int(sys.argv[1]), int(sys.argv[2])
    with pipespan.extract(headers), pipespan.step("shard", total=units, unit="parts") as step:
        for unit in range(units):
            logging.warning("%d %d", number, unit)
            step.advance()
            time.sleep(0.05)
        print("working", flush=True)
        sys.stdin.readline()  # the last part takes as long as the test needs
        logging.warning("%d last", number)
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with made_hosts(tmp_path, HOSTS) as made:
        yield made


def until(look: Callable[[], ResultT | None], within_s: float) -> ResultT:
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not seen within {within_s} s"
        time.sleep(0.1)


def words(source: PostgresSource) -> dict[str, set[str]]:
    """Return the health of the jobs of each host."""
    view = view_of(source)
    hosts = {job.id: job.host for job in view.jobs}
    found: dict[str, set[str]] = {}
    for verdict in view.health.jobs:
        found.setdefault(hosts[verdict.job_id], set()).add(verdict.word)
    return found


def view_of(source: PostgresSource) -> StatusView:
    return status(source, "last", datetime.now(timezone.utc))


def test_twenty_processes_on_four_hosts_are_one_tree(hosts: Hosts, tmp_path: Path) -> None:
    """Sums are exact; of the host that is cut off contact is lost and comes back, with all that it did meanwhile."""
    owner = hosts.start(1, OWNER)
    until((tmp_path / "environ").exists, 20)
    workers = [
        hosts.start(1 + (number + 1) % HOSTS, WORKER, number, UNITS) for number in range(PROCESSES - 1)
    ]
    source = PostgresSource(hosts.reader)
    names = {f"host-{host}" for host in range(1, HOSTS + 1)}
    until(lambda: source.experiments(limit=1) and len(view_of(source).jobs) == PROCESSES, 60)
    assert words(source) == {name: {"alive"} for name in names}

    hosts.cut(3)
    until(lambda: words(source)["host-3"] == {"lost contact"}, CONTACT_LIMIT_S + 15)
    view = view_of(source)
    assert view.health.word == "alive"
    assert "5 lost contact" in view.health.reason
    assert {name: found for name, found in words(source).items() if name != "host-3"} == {
        name: {"alive"} for name in names - {"host-3"}
    }
    assert view.experiment.status == "running"
    hosts.mend(3)
    until(lambda: words(source)["host-3"] == {"alive"}, 30)

    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "working\n"
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for one in [*workers, owner]:
        out, err = one.communicate(None if one is not owner else "\n", timeout=40)
        assert one.returncode == 0, out + err
    check(Seen(source), source)
    source.close()


def check(seen: Seen, source: PostgresSource) -> None:
    assert len(seen.experiments) == 1
    assert set(seen.statuses().values()) == {"completed"}
    shards = [node for node in seen.nodes.values() if node.node_name == "shard"]
    assert len(shards) == len({node.node_id for node in shards}) == PROCESSES - 1
    assert {node.parent_id for node in shards} == {"run/shards"}
    assert {node.completed_units for node in shards} == {UNITS}
    parent = seen.nodes["run/shards"]
    assert (parent.child_weight, parent.child_sum) == ((PROCESSES - 1) * 1000, (PROCESSES - 1) * 1000 * 10**9)
    seen.check_sums()
    expected = {f"{number} {unit}": 1 for number in range(PROCESSES - 1) for unit in [*range(UNITS), "last"]}
    assert Counter(seen.messages()) == expected
    jobs = source.jobs(seen.id)
    assert {job.status for job in jobs} == {"completed"}
    assert Counter(job.host for job in jobs) == {f"host-{host}": 5 for host in range(1, HOSTS + 1)}


def test_a_host_that_vanishes_in_mid_transaction_holds_up_nobody(hosts: Hosts) -> None:
    """The locks that it held are given back by the server within seconds, not after the two hours of TCP."""
    holder = hosts.start(1, """
        from pipespan.store.postgres.write import PostgresSink
        with pipespan.pipeline("run", experiment_id="6dd6f6a5-9ad4-4a4d-8d8c-7e4b0b1c2d3e"):
            pipespan.flush(10)
            sink = PostgresSink(os.environ["PIPESPAN_DSN"])
            connection = sink._ready()
            with sink._scope.transaction(connection, sink._sql):
                connection.execute("select from experiments for update")
                print("holds", connection.execute("show tcp_keepalives_idle").fetchone()[0], flush=True)
                sys.stdin.readline()
    """)  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline().split() == ["holds", "2"]
    hosts.cut(1)
    began = time.monotonic()
    other = hosts.start(2, """
        with pipespan.pipeline("run", experiment_id="6dd6f6a5-9ad4-4a4d-8d8c-7e4b0b1c2d3e"):
            logging.warning("I go on")
            print(pipespan.flush(40), flush=True)
    """)  # fmt: skip
    out, err = other.communicate(timeout=60)
    assert (other.returncode, out) == (0, "True\n"), err
    assert time.monotonic() - began < 20
