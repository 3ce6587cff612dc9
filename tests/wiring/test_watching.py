"""The watcher of a program is about the very database that the program means."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipespan.config import load_settings
from pipespan.wiring.courier import pass_phrase, reach, socket_path
from pipespan.wiring.watching import environment, lock_path

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dsn": "postgresql://me:secret@db/work?sslmode=require"},
    {"dsn": "host=db dbname=work password=secret"},
    {"dsn": "postgresql://db/work", "schema": "team"},
    {"retain": False},
    {"batch_bytes": 1000},
]


@pytest.mark.parametrize("given", SETTINGS)
def test_the_watcher_means_what_its_program_means(tmp_path: Path, given: dict[str, Any]) -> None:
    """Same lock, same socket, same way to the database, whatever is set."""
    program = load_settings({}, tmp_path, state_dir=tmp_path, **given)
    watcher = load_settings(environment(program), Path("/"))
    assert lock_path(watcher) == lock_path(program)
    assert socket_path(watcher) == socket_path(program)
    assert pass_phrase(watcher) == pass_phrase(program)
    assert watcher.batch_bytes == program.batch_bytes


def test_other_ways_have_other_phrases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever leads elsewhere, or there as somebody else, is another way."""
    phrases = {
        pass_phrase(load_settings({}, tmp_path, state_dir=tmp_path, **given)) for given in SETTINGS[:-1]
    }
    for name in ("PGPASSWORD", "HOME"):
        monkeypatch.setenv(name, "another")
        phrases.add(pass_phrase(load_settings({}, tmp_path, state_dir=tmp_path)))
    assert len(phrases) == len(SETTINGS) + 1


def test_another_network_is_another_way(tmp_path: Path) -> None:
    """Two containers may share a state folder and mean different databases by the same name."""
    unshare = shutil.which("unshare")
    if (
        unshare is None
        or subprocess.run([unshare, "--net", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this user may not make a network namespace")
    program = "from pipespan.config import load_settings; from pipespan.wiring.courier import pass_phrase\n"
    program += f"print(pass_phrase(load_settings({{}}, state_dir={str(tmp_path)!r})))"
    here, there = (
        subprocess.run(
            [*before, sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for before in ((), (unshare, "--net"))
    )
    assert here.strip() == pass_phrase(load_settings({}, tmp_path, state_dir=tmp_path))
    assert here != there


@pytest.mark.parametrize("given", [{"watcher": False}, {"store": "none"}, {"store": "otlp"}])
def test_no_watcher_no_courier(tmp_path: Path, given: dict[str, Any]) -> None:
    """Who wants no watcher starts none and waits for none."""
    started: list[bool] = []
    settings = load_settings({}, tmp_path, state_dir=tmp_path, **given)
    assert reach(settings, lambda: started.append(True), lambda: False) is None
    assert started == []


def test_who_is_about_to_end_does_not_wait(tmp_path: Path) -> None:
    """It takes its own way while the watcher is still starting."""
    asked: list[bool] = []

    def is_pressing() -> bool:
        asked.append(True)
        return True

    assert reach(load_settings({}, tmp_path, state_dir=tmp_path), lambda: None, is_pressing) is None
    assert asked == [True]  # one try, and no other


WATCHER = """
import gc, shutil, sys, threading, time
from pathlib import Path
from pipespan.config import load_settings
from pipespan.wiring import watcher

folder = Path(sys.argv[1])

def end():
    while gc.get_freeze_count() == 0:
        time.sleep(0.05)
    shutil.rmtree(folder)

threading.Thread(target=end).start()
# Of somebody else: an embedded one would be started here, and left behind.
watcher.watch(load_settings({}, folder, state_dir=folder, dsn="host=/nowhere dbname=none"))
print("pipespan.store.postgres.write" in sys.modules, gc.isenabled(), gc.get_freeze_count() > 10_000)
"""


def test_the_driver_is_loaded_before_it_is_needed_and_without_collections(tmp_path: Path) -> None:
    """What starts a watcher is about to ship; garbage is collected again afterwards, but for what was loaded."""
    folder = tmp_path / "state"
    folder.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", WATCHER, str(folder)], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout.split() == ["True", "True", "True"]


def test_who_starts_a_watcher_loads_no_store() -> None:
    """`pipespan demo` starts it while its pipeline loads: what takes long to load comes too late for that."""
    program = "import sys, pipespan.wiring.watching; print([one for one in sys.modules if '.store' in one])"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
