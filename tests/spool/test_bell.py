"""A bell wakes a thread, whoever rings it and whenever."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from pipespan.spool.bell import Bell

LONG_S = 60.0


def test_who_rings_ends_the_pause() -> None:
    """Whether it has begun or not; and only one, however often it was rung."""
    bell = Bell()
    began_s = time.monotonic()
    for _ in range(3):
        bell.ring()
    bell.pause(LONG_S)
    bell.pause(0.05)
    assert time.monotonic() - began_s >= 0.05
    other = threading.Timer(0.05, bell.ring)
    other.start()
    bell.pause(LONG_S)
    assert time.monotonic() - began_s < LONG_S / 2
    other.join()


def test_a_pause_of_no_time_ends_at_once() -> None:
    """Also where the time for it was over before it began."""
    began_s = time.monotonic()
    for longest_s in (0.0, -1.0):
        Bell().pause(longest_s)
    assert time.monotonic() - began_s < LONG_S / 2


def test_a_signal_handler_may_ring_in_the_midst_of_it() -> None:
    """One that ends a phase, while its thread ends one: neither waits for the other."""
    program = """
import signal, time
from pipespan.spool.bell import Bell

bell = Bell()
signal.signal(signal.SIGALRM, lambda *_: bell.ring())
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
until_s = time.monotonic() + 1.0
while time.monotonic() < until_s:
    bell.ring()
    bell.pause(0.0)  # or there would be nothing to do for whoever rings next
signal.setitimer(signal.ITIMER_REAL, 0.0)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
