# ruff: noqa: E501 - tables of samples
"""`pipespan redact-test`: shows what would be hidden without showing it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pipespan.cli.app import main

TEXT = (
    "login with password=hunter2xy\nepoch 5 done\npostgres://u:hunter2xy@h/d\x1b[2J\n"
    "-----BEGIN PRIVATE KEY-----\nMIIEabcd\n-----END PRIVATE KEY-----\n"
)


def test_a_text_is_shown_as_it_would_be_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text without its secrets goes to standard output, rules with their lines to standard error."""
    path = tmp_path / "app.log"
    path.write_text(TEXT)
    assert main(["redact-test", str(path)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:2] == ["login with password=[redacted]", "epoch 5 done"]
    assert "3 secrets hidden" in shown.err
    assert "address  (line 3)" in shown.err
    assert "private key  (line 4)" in shown.err
    for secret in ("hunter2xy", "MIIEabcd", "\x1b"):
        assert secret not in shown.out + shown.err


def test_standard_input_and_a_summary(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --summary there are counts only, of what the setting adds too."""
    monkeypatch.setenv("PIPESPAN_REDACT", "value:blue moon")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a blue moon\n\xff\n")))
    assert main(["redact-test", "-", "--summary"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "1 secret hidden" in shown.err
    assert "known value  (line 1)" in shown.err


def test_a_wrong_setting_and_a_missing_file_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no value of the setting in the message."""
    assert main(["redact-test", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err
    monkeypatch.setenv("PIPESPAN_REDACT", "hunter2xy")
    assert main(["redact-test", str(tmp_path / "none")]) == 2
    shown = capsys.readouterr().err
    assert "PIPESPAN_REDACT" in shown
    assert "hunter2xy" not in shown
