"""Senders that are slow, many, deaf, too large or not allowed: all others are served meanwhile."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from pipespan.receiver.guarded import HEAD_TIMEOUT_S, REST_TIMEOUT_S
from tests.otlp.test_decode import NOW, any_value, logs
from tests.receiver.support import PROTOBUF, TOKEN, Place, Rows, connect, export, head, receiver

MB = 1 << 20


@pytest.fixture
def place(dsn: str, tmp_path: Path) -> Iterator[Place]:
    with receiver(dsn, tmp_path / "state") as found:
        yield found


def request(number: int = 1) -> bytes:
    return logs({"body": any_value(f"line {number}"), "time_unix_nano": NOW + number})


def check_served(place: Place) -> None:
    assert place.post("/v1/logs", request())[0] == 200
    assert export(place, "logs", request(2)) == b""


def test_slow_senders_hold_nobody_up(place: Place) -> None:
    """Half of a head, half of a body, an RPC without its message: hundreds of them, and others are served at once."""
    with ExitStack() as stack:
        for number in range(300):
            slow = stack.enter_context(connect(place))
            slow.sendall(b"POST /v1/logs HT" if number % 2 else head("/v1/logs", 1000) + b"\x0a")
        channel = stack.enter_context(grpc.insecure_channel(place.grpc))
        calls: list[Any] = []
        never = threading.Event()
        stack.callback(never.set)

        def nothing() -> Iterator[bytes]:
            never.wait(60)
            yield b""

        export_stream: Any = channel.stream_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        for _ in range(100):
            calls.append(export_stream.future(nothing(), metadata=[("authorization", f"Bearer {TOKEN}")]))
        # 250 requests have begun; what is beyond the bound is asked to come again.
        statuses = {place.post("/v1/logs", request(number))[0] for number in range(3)}
        assert statuses <= {200, 503}
        for call in calls:
            call.cancel()
        never.set()
        for _ in range(50):
            if place.post("/v1/logs", request())[0] == 200:
                break
        check_served(place)


def test_a_head_that_does_not_come_ends_the_connection(place: Place) -> None:
    """A connection that sends half of a head is cut after a while; one that says nothing too."""
    with connect(place) as half, connect(place) as silent:
        half.sendall(b"POST /v1/logs HTTP/1.1\r\nhost:")
        for slow in (half, silent):
            slow.settimeout(HEAD_TIMEOUT_S + 10)
            try:
                assert slow.recv(10) == b""
            except ConnectionResetError:
                pass


def test_a_head_without_end_ends_the_connection(place: Place) -> None:
    """The parser knows no bound, so there is one of ours."""
    with connect(place) as endless:
        endless.settimeout(HEAD_TIMEOUT_S / 2)
        with pytest.raises(OSError, match="reset|pipe"):
            endless.sendall(b"POST /v1/logs HTTP/1.1\r\n" + b"x-more: and more of it\r\n" * 1_000_000)
            endless.recv(10)
            endless.sendall(b"x")
    check_served(place)


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_the_rest_of_a_refused_body_does_not_hold_the_connection(place: Place) -> None:
    """Who is refused before his body is read cannot go on sending it for ever, byte by byte."""
    with connect(place) as slow:
        slow.sendall(head("/v1/logs", 1000, token="wrong"))
        slow.settimeout(1)
        assert slow.recv(1000).startswith(b"HTTP/1.1 401")
        until_s = time.monotonic() + REST_TIMEOUT_S + 10
        with pytest.raises(ConnectionError):
            while time.monotonic() < until_s:
                slow.sendall(b"x")
                time.sleep(0.2)


def test_a_sender_that_would_rather_speak_http_2(place: Place) -> None:
    """Java's client asks on its first request for another protocol; it is answered in this one, and the next too."""
    with connect(place) as sender:
        sender.settimeout(10)
        wish = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
        for extra in (wish, b""):
            body = request()
            first, rest = head("/v1/logs", len(body)).split(b"\r\n", 1)
            sender.sendall(first + b"\r\n" + extra + rest + body)
            assert sender.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_thousand_connections(place: Place) -> None:
    """They are open at once and each of them is answered."""
    with ExitStack() as stack:
        many = [stack.enter_context(connect(place)) for _ in range(1000)]
        check_served(place)
        body = request()
        for one in many:
            one.sendall(head("/v1/logs", len(body)) + body)
        for one in many:
            assert one.recv(300).startswith((b"HTTP/1.1 200", b"HTTP/1.1 503"))
        check_served(place)


def test_who_never_reads_the_answers(place: Place) -> None:
    """Senders that send on and on and take no answer cost others nothing, and the process no memory."""
    process = psutil.Process(place.process.pid)
    before = process.memory_info().rss
    body = request()
    with ExitStack() as stack:
        for _ in range(5):
            deaf = stack.enter_context(connect(place))
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            deaf.settimeout(0.2)
            try:
                for _ in range(400):
                    deaf.sendall(head("/v1/logs", len(body)) + body)
            except TimeoutError:
                pass
        check_served(place)
    assert process.memory_info().rss - before < 60 * MB


@pytest.mark.parametrize("keeps_alive", [True, False])
def test_sixty_five_megabytes_are_too_much(place: Place, *, keeps_alive: bool) -> None:
    """413 and RESOURCE_EXHAUSTED, whatever the sender says of its length; the same packed; and then it goes on."""
    large = bytes(65 * MB)
    headers = {"content-type": PROTOBUF, "authorization": f"Bearer {TOKEN}"}
    if not keeps_alive:
        headers["connection"] = "close"
    host = place.http.removeprefix("http://")
    for extra, body in (({}, large), ({"content-encoding": "gzip"}, gzip.compress(large, 1))):
        sender = http.client.HTTPConnection(host, timeout=30)
        sender.request("POST", "/v1/traces", body, headers | extra)
        assert sender.getresponse().status == 413
        sender.close()
    if keeps_alive:
        sender = http.client.HTTPConnection(host, timeout=30)
        chunks = (large[:MB] for _ in range(65))
        sender.request("POST", "/v1/traces", chunks, headers, encode_chunked=True)
        assert sender.getresponse().status == 413
        sender.close()
        with pytest.raises(grpc.RpcError) as failure:
            export(place, "traces", large)
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    check_served(place)


@pytest.mark.parametrize("token", [None, "wrong"])
def test_who_shows_no_token_is_told_before_the_body_is_read(place: Place, token: str | None) -> None:
    """The answer comes while the body is still on its way, over both transports."""
    with connect(place) as sender:
        sender.sendall(head("/v1/logs", 10 * MB, token))
        assert sender.recv(300).startswith(b"HTTP/1.1 401")
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(20)
        yield b""

    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(place.grpc) as channel:
        call: Any = channel.stream_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        with pytest.raises(grpc.RpcError) as failure:
            call(nothing(), metadata=metadata, timeout=15)
        never.set()
    assert failure.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_bombs_do_not_fill_the_memory(place: Place, rows: Rows) -> None:
    """Small bodies that unpack to gigabytes are refused, and leave nothing behind."""
    process = psutil.Process(place.process.pid)
    bomb = gzip.compress(bytes(60 * MB), 9) * 40
    for _ in range(3):
        assert place.post("/v1/logs", bomb, content_encoding="gzip")[0] == 413
    check_served(place)
    assert process.memory_info().rss < 350 * MB
    assert len(rows("select from pipeline_logs")) == 2
