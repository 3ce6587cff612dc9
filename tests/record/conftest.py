from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry import context

from tests.record.support import Recorded


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Give a recorder, and check that the test leaves the context as it was."""
    before = context.get_current()
    yield Recorded()
    left = context.get_current()
    context.attach(before)
    assert left is before, "a scope left its context behind"


@pytest.fixture
def untidy(recorded: Recorded) -> Iterator[Recorded]:
    """Give a recorder to a test that leaves scopes open on purpose."""
    before = context.get_current()
    yield recorded
    context.attach(before)
