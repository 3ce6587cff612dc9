"""Whatever a collector does, the job ends as it would have, and the tables have everything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pipespan.otel.lifecycle import MAX_WAITING
from tests.chaos.harm import EXIT_S, MARGIN_S, Ended, audit, count, deliver, through
from tests.wiring.programs import Programs

pytestmark = pytest.mark.chaos


@contextmanager
def dead() -> Iterator[str]:
    """Give an endpoint that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextmanager
def black_hole() -> Iterator[str]:
    """Give an endpoint that takes connections and all that is sent, and never answers."""
    open_ones: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def swallow(one: socket.socket) -> None:
        with suppress(OSError):
            while one.recv(1 << 16):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                one, _ = listener.accept()
                open_ones.append(one)
                threading.Thread(target=swallow, args=(one,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for one in (listener, *open_ones):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def never_accepts() -> Iterator[str]:
    """Give an endpoint whose queue of connections is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for one in waiting:
                one.close()


def check(ended: Ended, programs: Programs) -> None:
    assert ended.took_s < MARGIN_S
    assert ended.exit_s < EXIT_S + MARGIN_S
    assert (ended.told["dropped"], ended.told["failed"], ended.told["error"]) == (0, 0, None)
    deliver(programs)  # on a busy machine two seconds may be too short for the database itself
    audit(programs.environ["PIPESPAN_DSN"])


@pytest.mark.parametrize("collector", [dead, black_hole, never_accepts])
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_collector_is_away(harmed: Programs, collector, protocol: str) -> None:
    """An endpoint that is dead, swallows everything, or takes nobody in: neither work, exit nor tables notice."""
    with collector() as endpoint:
        harmed.using(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        check(through(harmed, bool, PIPESPAN_EXIT_TIMEOUT_S=str(EXIT_S)), harmed)


def test_what_waits_to_be_told_of_is_bounded(harmed: Programs) -> None:
    """With the collector's own queues full, no more than `MAX_WAITING` rows wait; the tables miss none."""
    with black_hole() as endpoint:
        harmed.using(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_METRICS_EXPORTER="none")
        ran = harmed.run(
            """
            with pipespan.pipeline("run") as run:
                for number in range(int(sys.argv[1])):
                    pipespan.event(f"event {number}")
            from pipespan.wiring.process import PROCESS
            print(len(PROCESS.runtime_in_use().telemetry.lifecycle._waiting))
            """,
            MAX_WAITING + 5000,
            PIPESPAN_EXIT_TIMEOUT_S="20",
        )
    assert int(ran.out) <= MAX_WAITING
    query = "select count(distinct title) from pipeline_events where title like 'event %'"
    assert count(harmed.environ["PIPESPAN_DSN"], query) == MAX_WAITING + 5000
