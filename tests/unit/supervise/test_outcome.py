"""What a command's end means, in words."""

from __future__ import annotations

import signal

import pytest

from pipespan.supervise.child import ChildExit
from pipespan.supervise.outcome import describe


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (ChildExit(0, None), "completed"),
        (ChildExit(0, None, received=(signal.SIGINT,)), "completed"),
        (ChildExit(3, None), "failed: exit code 3"),
        (ChildExit(None, signal.SIGTERM), "failed: SIGTERM"),
        (ChildExit(None, signal.SIGINT), "cancelled"),
        (ChildExit(1, None, received=(signal.SIGINT,)), "cancelled"),
    ],
)
def test_the_end_in_words(ended, words):
    """The words agree with the status that is recorded."""
    assert describe(ended) == words
