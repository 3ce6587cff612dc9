from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pipespan.query.document import json_line, to_json
from tests.query.samples import log


def test_times_are_utc() -> None:
    """A time of any zone is told in UTC, with microseconds, so that texts sort as times do."""
    moment = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    assert to_json(moment) == "2026-03-01T12:00:00.000000Z"


def test_numbers() -> None:
    """Decimals become numbers, whole ones whole; what JSON has no number for becomes null."""
    assert to_json([Decimal("1E+3"), Decimal("0.5"), Decimal("NaN")]) == [1000, 0.5, None]
    assert json.dumps(to_json([Decimal(10) ** 30])) == "[1000000000000000000000000000000]"
    assert to_json([float("nan"), float("inf"), 1.5]) == [None, None, 1.5]


def test_record_becomes_an_object() -> None:
    """Keys are column names."""
    document = to_json(log(7, "hi", context={"a": (1, {2})}))
    assert document["id"] == 7
    assert document["context"] == {"a": [1, [2]]}
    assert document["timestamp"].endswith("Z")


@given(st.text(alphabet=st.characters(), max_size=50))
def test_line_is_safe_and_exact(text: str) -> None:
    """Any text comes back from its line, which has no control character and no line end in it."""
    for ascii_only in (False, True):
        line = json_line({"text": text}, ascii_only=ascii_only)
        assert json.loads(line) == {"text": text}
        assert len(line.splitlines()) == 1
        assert not any(ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F for char in line)
        assert not ascii_only or line.isascii()
        line.encode("utf-8")
