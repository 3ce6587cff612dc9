"""A receiver as a process of its own, and requests to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "let-me-in"
PROTOBUF = "application/x-protobuf"
Rows = Callable[[str], list[dict[str, Any]]]


@dataclass(frozen=True)
class Place:
    """Where a receiver listens."""

    grpc: str
    http: str
    process: subprocess.Popen[str]

    def post(
        self, path: str, body: bytes, media: str = PROTOBUF, token: str | None = TOKEN, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """POST and return status, headers and body."""
        named = {"content-type": media, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if token is not None:
            named["authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self.http}{path}", data=body, headers=named, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                return response.status, dict(response.headers), response.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()


@contextmanager
def receiver(dsn: str, folder: Path, *args: str) -> Iterator[Place]:
    """Run `pipespan serve` on free ports."""
    environ = {
        **os.environ, "PIPESPAN_DSN": dsn, "PIPESPAN_STATE_DIR": str(folder), "PIPESPAN_SERVE_TOKEN": TOKEN,
        "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    line = [sys.executable, "-m", "pipespan", "serve", "--grpc-port", "0", "--http-port", "0", *args]
    with subprocess.Popen(
        line, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"gRPC on (\S+), .*HTTP on (http\S+);", said)
        assert found is not None, said + process.stdout.read()
        try:
            yield Place(found[1], found[2], process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
