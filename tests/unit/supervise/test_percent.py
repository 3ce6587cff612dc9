"""Percentages of progress bars."""

from __future__ import annotations

import pytest

from pipespan.supervise.percent import is_redrawn, percent_of


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        (" 45%|####5     | 45/100 [00:01<00:01, 40.00it/s]", 45),
        ("Epoch 3: 100%|##########| 9/9", 100),
        ("Working... ━━━━━━━━╸━━━━━━━━  51% 0:00:05", 51),
        ("######                  37.9%", 37),
        ("    1,238,099  12%    1.18MB/s    0:00:10", 12),
        ("  0%|          |", 0),
        ("[ 7 %] building", 7),
        ("", None),
        ("no bar", None),
        ("growth of 250%", None),
        ("-5%", None),
        ("cpu 30%, done 40%", None),
        ("%d of 5", None),
        ("50%off", None),
        ("a50%", None),
    ],
)
def test_the_percentage_of_a_line(text, percent):
    """What tqdm, rich, curl and rsync show is found; in doubt there is none."""
    assert percent_of(text) == percent


@pytest.mark.parametrize(
    ("data", "is_bar"),
    [
        (b"\r 4%", True),
        (b" 4%\r", True),
        (b"\r\x1b[2K 4%", True),
        (b"full 4%\n", False),
        (b"full 4%\r\n", False),
    ],
)
def test_only_lines_that_are_redrawn_are_bars(data, is_bar):
    """A carriage return that does not belong to a line end tells a bar from talk."""
    assert is_redrawn(data) is is_bar
