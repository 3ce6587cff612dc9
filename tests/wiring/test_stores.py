"""Which folders and which database the settings mean."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipespan.config import Settings, load_settings
from pipespan.wiring import stores


def settings(tmp_path: Path, **values: object) -> Settings:
    return load_settings({}, tmp_path, state_dir=tmp_path / "state", **values)


def test_a_spare_folder_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make a folder in the temporary one, so its owner and mode are looked at."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = stores.spool_dirs(settings(tmp_path))
    assert len(found) == 2
    found[1].parent.mkdir()
    assert len(stores.spool_dirs(settings(tmp_path))) == 2
    found[1].parent.chmod(0o777)
    assert stores.spool_dirs(settings(tmp_path)) == found[:1]


PRELOADED = """
import sys
from pathlib import Path
from pipespan.config import load_settings
from pipespan.wiring import stores
settings = load_settings({}, Path("/"), dsn="host=nowhere.invalid")
stores.preload(settings)
known = set(sys.modules)
stores.open_sink(settings)
from pipespan.store.postgres import maintain_retain  # what is due some day
print(sorted(set(sys.modules) - known))
"""


def test_no_import_is_left_for_later() -> None:
    """A fork in the middle of an import leaves the child with half a module; so all of them come at one moment."""
    told = subprocess.run(
        [sys.executable, "-c", PRELOADED], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.strip() == "[]"
