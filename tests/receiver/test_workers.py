"""Several processes on the same ports, TLS, and what is left when one of them dies."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import psycopg
import pytest

from tests.otlp.test_decode import NOW, any_value, logs
from tests.receiver.support import PROTOBUF, TOKEN, Place, Rows, connect, free_port, head, receiver, wait_for


@contextmanager
def crew(dsn: str, folder: Path, workers: int = 2) -> Iterator[Place]:
    ports = ["--grpc-port", str(free_port()), "--http-port", str(free_port())]
    with receiver(dsn, folder, *ports, "--workers", str(workers)) as place:
        yield place


def workers_of(place: Place) -> list[psutil.Process]:
    return psutil.Process(place.process.pid).children()


def request(number: int) -> bytes:
    return logs({"body": any_value(f"line {number}"), "time_unix_nano": NOW + number})


def send_until_taken(place: Place, body: bytes) -> None:
    """Send as exporters do: again, the same bytes, until it is acknowledged."""

    def is_taken() -> bool:
        try:
            return place.post("/v1/logs", body)[0] == 200
        except OSError:
            return False

    wait_for(is_taken, 60)


def test_a_worker_that_dies_is_replaced_and_nothing_is_lost_or_twice(
    dsn: str, tmp_path: Path, rows: Rows
) -> None:
    """Workers are killed again and again under load; senders retry, and each record is there exactly once."""
    with crew(dsn, tmp_path / "state") as place:
        numbers = iter(range(240))
        lock = threading.Lock()

        def sender() -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                send_until_taken(place, request(number))

        threads = [threading.Thread(target=sender) for _ in range(4)]
        for thread in threads:
            thread.start()
        killed: set[int] = set()
        while any(thread.is_alive() for thread in threads) and len(killed) < 6:
            for worker in workers_of(place)[:1]:
                if worker.pid not in killed:
                    killed.add(worker.pid)
                    os.kill(worker.pid, signal.SIGKILL)
            threads[0].join(0.3)
        for thread in threads:
            thread.join(90)
        assert killed
        # The one that was killed last is listed until it is reaped.
        wait_for(lambda: len({worker.pid for worker in workers_of(place)} - killed) == 2)
        wait_for(lambda: not killed & {worker.pid for worker in workers_of(place)})
    found = rows("select message, count(*) as n from pipeline_logs group by message")
    assert {row["message"]: row["n"] for row in found} == {f"line {number}": 1 for number in range(240)}


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_what_was_not_acknowledged_is_sent_again_and_written_once(
    dsn: str, tmp_path: Path, rows: Rows, moment: str
) -> None:
    """A worker is killed while its transaction waits, or when it is committed and the answer was not read."""
    body = request(1)
    with crew(dsn, tmp_path / "state") as place:
        with psycopg.connect(dsn) as blocker, connect(place) as sender:
            if moment == "before the commit":
                blocker.execute("lock table pipeline_logs in access exclusive mode")
            sender.sendall(head("/v1/logs", len(body)) + body)
            if moment == "before the commit":
                wait_for(lambda: bool(rows("select from pg_locks where not granted")))
            else:
                wait_for(lambda: bool(rows("select from pipeline_logs")))
            for worker in workers_of(place):
                os.kill(worker.pid, signal.SIGKILL)
            blocker.rollback()
        send_until_taken(place, body)
    assert rows("select message from pipeline_logs") == [{"message": "line 1"}]


def test_workers_end_with_the_one_that_started_them(dsn: str, tmp_path: Path) -> None:
    """Told to stop it ends with code 0 and no worker is left; killed itself, its workers end too."""
    with crew(dsn, tmp_path / "state") as place:
        workers = workers_of(place)
        place.process.send_signal(signal.SIGTERM)
        assert place.process.wait(20) == 0
        assert not any(worker.is_running() for worker in workers)
    with crew(dsn, tmp_path / "state") as place:
        workers = workers_of(place)
        place.process.kill()
        wait_for(lambda: not any(worker.is_running() for worker in workers))


def test_told_to_stop_it_finishes_what_is_in_work(dsn: str, tmp_path: Path, rows: Rows) -> None:
    """A request whose transaction waits when the signal comes is committed and acknowledged."""
    body = request(1)
    with receiver(dsn, tmp_path / "state") as place:
        with psycopg.connect(dsn) as blocker, connect(place) as sender:
            blocker.execute("lock table pipeline_logs in access exclusive mode")
            sender.sendall(head("/v1/logs", len(body)) + body)
            wait_for(lambda: bool(rows("select from pg_locks where not granted")))
            place.process.send_signal(signal.SIGTERM)
            blocker.rollback()
            assert sender.recv(1000).startswith(b"HTTP/1.1 200")
        assert place.process.wait(20) == 0
    assert rows("select message from pipeline_logs") == [{"message": "line 1"}]


def test_tls_on_both_ports(dsn: str, tmp_path: Path, rows: Rows) -> None:
    """With a certificate both transports speak TLS, and nothing in the clear."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost", "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    args = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with receiver(dsn, tmp_path / "state", *args) as place:
        assert place.http.startswith("https://")
        made = urllib.request.Request(  # noqa: S310
            f"{place.http}/v1/logs", data=request(1), method="POST",
            headers={"content-type": PROTOBUF, "authorization": f"Bearer {TOKEN}"},
        )  # fmt: skip
        trusting = ssl.create_default_context(cafile=str(certificate))
        with urllib.request.urlopen(made, timeout=20, context=trusting) as response:  # noqa: S310
            assert response.status == 200
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(place.grpc, credentials) as channel:
            call: Any = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            call(request(2), metadata=[("authorization", f"Bearer {TOKEN}")], timeout=20)
        plain = Place(place.grpc, place.http.replace("https", "http"), place.process)
        with pytest.raises((urllib.error.URLError, OSError)):
            plain.post("/v1/logs", request(3))
    assert rows("select message from pipeline_logs order by message") == [
        {"message": "line 1"}, {"message": "line 2"},
    ]  # fmt: skip
