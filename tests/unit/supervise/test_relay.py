"""Passing on of bytes where descriptors cannot be polled."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipespan.supervise.outlet import open_outlet, write_all
from pipespan.supervise.relay import Relay


@pytest.mark.parametrize("is_pollable", [True, False])
@pytest.mark.parametrize("is_held_open", [True, False])
def test_relays_everything_in_order(tmp_path: Path, is_pollable, is_held_open):
    """Both ways of reading pass on all there is, and stop when told although somebody could still write."""
    target = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    outlet = open_outlet(target)
    os.set_blocking(outlet.read_end, not is_pollable)
    seen: list[bytes] = []

    async def relay() -> None:
        relay = Relay(outlet, seen.append, executor)
        running = asyncio.ensure_future(relay.run(is_pollable=is_pollable))
        await asyncio.to_thread(write_all, outlet.write_end, b"a" * 150_000)
        await asyncio.to_thread(write_all, outlet.write_end, b"b" * 150_000)
        if not is_held_open:
            outlet.close_write_end()
        else:
            relay.stop()
        await asyncio.wait_for(running, 5)

    with ThreadPoolExecutor(2) as executor:
        asyncio.run(relay())
    if is_held_open:
        outlet.close_write_end()
    os.close(target)
    assert b"".join(seen) == (tmp_path / "out").read_bytes() == b"a" * 150_000 + b"b" * 150_000


def test_the_listener_goes_on_when_our_stream_fails(tmp_path: Path):
    """A full disk costs the copy on it, not the record, and is reported."""
    outlet = open_outlet(os.open("/dev/full", os.O_WRONLY))
    seen: list[bytes] = []
    with ThreadPoolExecutor(2) as executor:
        relay = Relay(outlet, seen.append, executor)
        os.write(outlet.write_end, b"hello")
        outlet.close_write_end()
        asyncio.run(relay.run())
    os.close(outlet.target)
    assert seen == [b"hello"]
    assert relay.error is not None
