"""Broken requests at a real server with a real database: an answer each time, and afterwards all is well."""

from __future__ import annotations

import http.client
import random
from pathlib import Path

import psutil
import pytest

from pipespan.otlp.decode import SIGNALS, Signal
from tests.otlp.messages import broken, rich_request
from tests.receiver.support import PROTOBUF, TOKEN, Rows, receiver

MB = 1 << 20
MESSAGES = 250


@pytest.mark.parametrize("signal", SIGNALS)
def test_broken_requests_are_answered(dsn: str, tmp_path: Path, rows: Rows, signal: Signal) -> None:
    """200 or 400 for each, never anything else; the server's memory stays, and a good request is taken."""
    payload = rich_request(signal).SerializeToString()
    chance = random.Random(f"server {signal}")
    headers = {"content-type": PROTOBUF, "authorization": f"Bearer {TOKEN}"}
    with receiver(dsn, tmp_path / "state") as place:
        process = psutil.Process(place.process.pid)
        sender = http.client.HTTPConnection(place.http.removeprefix("http://"), timeout=30)
        statuses: dict[int, int] = {}
        memory = 0
        for number in range(MESSAGES):
            if number == 50:
                memory = process.memory_info().rss
            sender.request("POST", f"/v1/{signal}", broken(payload, chance), headers)
            answer = sender.getresponse()
            answer.read()
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert set(statuses) <= {200, 400}
        assert statuses[200] > 10
        assert process.memory_info().rss - memory < 30 * MB
        assert place.post(f"/v1/{signal}", payload)[0] == 200
        sender.close()
    assert rows("select from experiments")
