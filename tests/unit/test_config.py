from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipespan.config import Settings, load_settings, otel_environment, process_environment, with_overrides
from pipespan.errors import SettingsError

ID = "11111111-2222-4333-8444-555555555555"


def load(folder: Path, environ: dict[str, str] | None = None, **overrides: Any) -> Settings:
    return load_settings(environ or {}, folder, **overrides)


def test_defaults_need_nothing(tmp_path: Path) -> None:
    """Without environment and files there is a state folder, and no DSN: the embedded server."""
    settings = load(tmp_path)
    assert settings.dsn is None
    assert not settings.disabled
    assert settings.state_dir.is_absolute()
    assert settings.spool_dir() == settings.state_dir / "spool"


def test_arguments_go_before_environment_before_files_before_defaults(tmp_path: Path) -> None:
    """The nearest word counts."""
    (tmp_path / "pipespan.toml").write_text("exit_timeout_s = 1.5\nsegment_bytes = 10\nbatch_bytes = 20\n")
    environ = {"PIPESPAN_SEGMENT_BYTES": "11", "PIPESPAN_BATCH_BYTES": "21"}
    settings = load(tmp_path, environ, batch_bytes=22, segment_bytes=None)
    assert (settings.exit_timeout_s, settings.segment_bytes, settings.batch_bytes) == (1.5, 11, 22)


def test_files_are_found_above_the_working_folder(tmp_path: Path) -> None:
    """The nearest file that speaks of pipespan counts; a pyproject of something else is passed over."""
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.pipespan]\ndsn = "postgresql://far"\n')
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert load(below).dsn == "postgresql://far"
    (tmp_path / "a" / "pipespan.toml").write_text('dsn = "postgresql://near"\n')
    assert load(below).dsn == "postgresql://near"
    (below / "pyproject.toml").write_text("tool = 5\n")
    assert load(below).dsn == "postgresql://near"


def test_a_broken_file_of_ours_is_refused_and_one_of_others_is_not(tmp_path: Path) -> None:
    """`pipespan.toml` that cannot be read is told with its path; a broken pyproject is its owner's business."""
    (tmp_path / "pyproject.toml").write_text("[[[")
    assert load(tmp_path).dsn is None
    (tmp_path / "pipespan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"pipespan\.toml.*mend"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("disabled", "1", True), ("disabled", "TRUE", True), ("disabled", " yes ", True), ("disabled", "0", False),
        ("disabled", "", False), ("disabled", "off", False), ("flush_interval_s", "0", 0.0),
        ("flush_interval_s", "1e-1", 0.1), ("segment_bytes", "7", 7), ("dsn", "", None), ("experiment_id", "", None),
        ("experiment_id", ID.upper(), ID), ("parent", "", None), ("attempt", "2", 2), ("log_level", "DEBUG", "DEBUG"),
    ],
)  # fmt: skip
def test_values_of_the_environment_are_understood(
    tmp_path: Path, name: str, text: str, value: object
) -> None:
    """Each kind in its usual spellings."""
    assert getattr(load(tmp_path, {f"PIPESPAN_{name.upper()}": text}), name) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("disabled", "maybe"), ("flush_interval_s", "-1"), ("flush_interval_s", "nan"), ("flush_interval_s", "inf"),
        ("flush_interval_s", "soon"), ("flush_interval_s", ""), ("segment_bytes", "1.5"), ("segment_bytes", "0"),
        ("batch_bytes", "-5"), ("spool_max_bytes", "0"), ("attempt", "0"), ("experiment_id", "last"),
        ("state_dir", "~nobody-of-this-name/x"),
    ],
)  # fmt: skip
def test_values_that_can_never_work_are_refused_at_once(tmp_path: Path, name: str, text: str) -> None:
    """The message has the variable, the value and what it takes."""
    variable = f"PIPESPAN_{name.upper()}"
    with pytest.raises(SettingsError, match=rf"{variable} = '.*'; it takes ") as caught:
        load(tmp_path, {variable: text})
    assert repr(text) in str(caught.value)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """A misspelt setting in a file or an argument is found at once; foreign variables are nobody's."""
    with pytest.raises(SettingsError, match=r"'dns'.*dsn"):
        load(tmp_path, dns="x")
    (tmp_path / "pipespan.toml").write_text("dns = 1\n")
    with pytest.raises(SettingsError, match="'dns'"):
        load(tmp_path)
    (tmp_path / "pipespan.toml").unlink()
    assert load(tmp_path, {"PIPESPAN_UNKNOWN": "1"}).dsn is None


def test_the_state_folder_does_not_move_with_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder is where the program started, wherever it goes; an empty one is none."""
    monkeypatch.chdir(tmp_path)
    settings = load(tmp_path, {"PIPESPAN_STATE_DIR": "state"})
    assert settings.state_dir == tmp_path / "state"
    assert load(tmp_path, {"PIPESPAN_STATE_DIR": ""}).state_dir == load(tmp_path).state_dir


def test_a_removed_working_folder_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no file to find then."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_settings({"PIPESPAN_STATE_DIR": str(tmp_path)}).state_dir == tmp_path


def test_overrides_are_converted_and_checked(tmp_path: Path) -> None:
    """As values from elsewhere."""
    settings = load(tmp_path)
    assert with_overrides(settings, state_dir=str(tmp_path), disabled="1").state_dir == tmp_path
    with pytest.raises(SettingsError, match="it takes"):
        with_overrides(settings, batch_bytes="x")
    with pytest.raises(SettingsError, match="unknown"):
        with_overrides(settings, bytes=1)


def test_parts_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_*` alone for the providers; a copy of all for children."""
    assert otel_environment({"OTEL_A": "1", "PIPESPAN_B": "2"}) == {"OTEL_A": "1"}
    monkeypatch.setenv("PIPESPAN_TEST_ONLY", "1")
    copy = process_environment()
    copy["PIPESPAN_TEST_ONLY"] = "2"
    assert process_environment()["PIPESPAN_TEST_ONLY"] == "1"


def test_every_setting_says_what_it_is() -> None:
    """The reference page is made of it."""
    from dataclasses import fields

    assert all(one.metadata["doc"].endswith(".") for one in fields(Settings))
