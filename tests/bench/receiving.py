"""The OTLP receiver: what a record costs it from the wire into the table, and how it fares under load."""

from __future__ import annotations

import hashlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Final

import psutil
import psycopg

from pipespan.config import load_settings
from pipespan.model.redact_rows import RowGate
from pipespan.otlp.decode import Decoder
from pipespan.otlp.fastlane import FastLane
from pipespan.otlp.rules import NodeRule
from pipespan.receiver.intake import make_batch
from pipespan.wiring.redaction import build_redactor
from tests.bench.result import MIN_PAIRS, Options, Samples
from tests.bench.senders import RECORDS, Receiver, Requests, cpu_of, logs, running_receiver, send_all, spans
from tests.bench.server import running_server

US = 1e6

SENDERS: Final = 10
"""Requests on their way at once: as many as the queue of a Collector's exporter sends if nothing else is set."""

STEADY_PER_S: Final = 8
"""Requests of a long run: it is to show what stays behind, and not to fill the disk."""


def against_parse(options: Options) -> dict[str, Samples]:
    """Compare the receiver's CPU for a record in the table with protobuf's for parsing it."""
    found: dict[str, Samples] = {}
    with running_server() as server, running_receiver(server) as receiver:
        for name, requests, table in (
            ("receive_span", spans(), "pipeline_progress"), ("receive_log", logs(), "pipeline_logs"),
        ):  # fmt: skip
            ours: list[float] = []
            peer: list[float] = []
            few: list[float] = []
            total = 0
            send_all(receiver.port, requests.path, requests.make(10), 1)  # caches are warm from now on
            for _ in range(options.pick(9, MIN_PAIRS)):
                for senders, costs in ((SENDERS, ours), (2, few)):
                    bodies = requests.make(options.pick(60, 15))
                    before_s = receiver.cpu_s()
                    send_all(receiver.port, requests.path, bodies, senders)
                    costs.append((receiver.cpu_s() - before_s) / len(bodies) / RECORDS * US)
                    total += len(bodies)
                parsed = requests.make(60)
                peer.append(_parse_s(requests, parsed) / len(parsed) / RECORDS * US)
            fault = _missing(server.dsn, table, (total + 10) * RECORDS)
            note = (
                f"{_shares(requests, statistics.median(ours))}; {statistics.median(few):.1f} with two senders"
            )
            found[name] = Samples(ours, peer, note=note, fault=fault)
    return found


def _parse_s(requests: Requests, bodies: list[bytes]) -> float:
    def parse() -> None:
        for body in bodies:
            requests.kind.FromString(body)

    return cpu_of(parse)


def _missing(dsn: str, table: str, wanted: int) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(f"select count(*) from {table}".encode()).fetchone()  # noqa: S608 - ours
    count = 0 if row is None else int(row[0])
    return "" if count == wanted else f"{count} rows in {table}, not {wanted}"


def _shares(requests: Requests, whole_us: float) -> str:
    """Return how the cost of a record divides into stages; each is measured by itself."""
    signal = "traces" if requests.path.endswith("traces") else "logs"
    redactor = build_redactor(load_settings({}))
    lane = FastLane(NodeRule(), redactor)
    decoder, gate = Decoder(NodeRule(), lane), RowGate(redactor).row
    bodies = requests.make(40)

    def cost_us(run: Callable[[bytes], object]) -> float:
        run(bodies[0])
        return cpu_of(lambda: [run(body) for body in bodies]) / len(bodies) / RECORDS * US

    def decode(body: bytes) -> object:
        return decoder.decode(signal, body, is_json=False, now_unix_ns=time.time_ns())  # type: ignore[arg-type]

    def batch(body: bytes) -> object:
        found = decoder.decode(signal, body, is_json=False, now_unix_ns=time.time_ns())  # type: ignore[arg-type]
        return make_batch(bytes(16), [gate(row) for row in found.rows], found)

    parse_us = cost_us(lambda body: lane.parse(signal, body))
    decode_us, batch_us = cost_us(decode), cost_us(batch)
    digest_us = cost_us(lambda body: hashlib.sha256(body).digest())
    parts = {
        "parse": parse_us,
        "mapping": decode_us - parse_us,
        "batch": max(batch_us - decode_us, 0.0),
        "digest": digest_us,
        "transport and database client": whole_us - batch_us - digest_us,
    }
    return ", ".join(f"{name} {part / whole_us:.0%}" for name, part in parts.items())


def by_workers(options: Options) -> dict[str, Samples]:
    """Compare two workers with one: requests that are known already, so that the database has little to do."""
    requests = spans()
    ours: list[float] = []
    peer: list[float] = []
    with running_server() as server:
        known = requests.make(40)
        with running_receiver(server) as one, running_receiver(server, 2) as two:
            send_all(one.port, requests.path, known, 2)
            for number in range(options.pick(9, MIN_PAIRS)):
                bodies = known * options.pick(10, 3)
                for receiver in (one, two) if number % 2 else (two, one):
                    _settle()
                    rate = len(bodies) * RECORDS / send_all(receiver.port, requests.path, bodies, 8) / 1000
                    (peer if receiver is one else ours).append(rate)
            notes = "known requests; new ones, which the database writes: " + ", ".join(
                _fresh(receiver, requests, options) for receiver in (one, two)
            )
    return {"receive_workers": Samples(ours, peer, note=notes)}


def _settle() -> None:
    time.sleep(0.2)


def _fresh(receiver: Receiver, requests: Requests, options: Options) -> str:
    """Return the rate of new requests, and who used the processors meanwhile."""
    bodies = requests.make(options.pick(200, 40))
    before_s, database_s = receiver.cpu_s(), _postgres_s()
    took_s = send_all(receiver.port, requests.path, bodies, 8)
    share, database = (receiver.cpu_s() - before_s) / took_s, (_postgres_s() - database_s) / took_s
    rate = len(bodies) * RECORDS / took_s / 1000
    return f"{len(receiver.workers())} worker(s) {rate:.1f} k/s (cores: receiver {share:.2f}, database {database:.2f})"


def _postgres_s() -> float:
    found = 0.0
    for process in psutil.process_iter(["name", "cpu_times"]):
        if process.info["name"] == "postgres" and process.info["cpu_times"] is not None:
            found += sum(process.info["cpu_times"][:2])
    return found


def under_load(options: Options) -> dict[str, Samples]:
    """Send for as long as is asked for, over minutes at a steady rate; the figures are those of tenths of that time."""
    requests = spans()
    memory, cost = [], []
    with running_server() as server, running_receiver(server) as receiver:
        send_all(receiver.port, requests.path, requests.make(20), 4)
        seconds = 60 * options.minutes or options.pick(60, 10)
        pause_s = 1 / STEADY_PER_S if options.minutes else 0.0
        for _ in range(10):
            until_s, before_s = time.monotonic() + seconds / 10, receiver.cpu_s()
            counted = itertools.count()
            send_all(receiver.port, requests.path, _until(until_s, requests, counted, pause_s), 4)
            cost.append((receiver.cpu_s() - before_s) / (next(counted) or 1) / RECORDS * US)
            memory.append(receiver.rss_mb())
    growth = memory[-1] - memory[2]
    return {
        "receive_memory": Samples(
            memory, note=f"over {seconds / 60:.1f} min; {growth:+.1f} MB since the third tenth"
        ),
        "receive_flat": Samples(cost[5:], cost[:5], note="CPU of a span in the second half; in the first"),
    }


def _until(until_s: float, requests: Requests, counted: Iterator[int], pause_s: float) -> Iterator[bytes]:
    while time.monotonic() < until_s:
        next(counted)
        time.sleep(pause_s)
        yield requests.make(1)[0]
