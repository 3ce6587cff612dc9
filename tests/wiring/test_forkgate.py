"""A fork never finds an import of ours half done."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = textwrap.dedent(
    """
    import os, sys, threading
    sys.path.insert(0, sys.argv[1])
    from pipespan.wiring.forkgate import ForkGate

    gate = ForkGate()
    begun = threading.Event()

    def load():
        with gate:
            begun.set()
            import slow_module

    if sys.argv[2] == "gated":
        threading.Thread(target=load, daemon=True).start()
    begun.wait(5) if sys.argv[2] == "gated" else None
    pid = os.fork()
    if pid == 0:
        import slow_module
        os._exit(slow_module.ANSWER)
    _, status = os.waitpid(pid, 0)
    with gate:
        print(os.waitstatus_to_exitcode(status))
    """
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("way", ["gated", "alone"])
def test_a_fork_waits_for_an_import_and_the_child_can_import_the_same(tmp_path: Path, way: str) -> None:
    """A child forked while a thread imports a module can import it too, and the parent's gate opens again."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.3)\nANSWER = 42\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path), way],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("42", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_fork_goes_on_waiting_when_it_is_interrupted(tmp_path: Path) -> None:
    """Ctrl-C does not let a fork into the middle of an import, and is told to the program afterwards."""
    (tmp_path / "slow_module.py").write_text("import time\ntime.sleep(0.6)\nANSWER = 42\n")
    interrupt = """
        import signal, time
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            exec(rest)
            time.sleep(2)
        except KeyboardInterrupt:
            print("interrupted")
    """
    begin, _, rest = PROGRAM.partition("pid = ")
    program = begin + f"rest = {'pid = ' + rest!r}\n" + textwrap.dedent(interrupt)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(tmp_path), "gated"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (["42", "interrupted"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_fork_waits_for_the_start_of_the_watcher(tmp_path: Path) -> None:
    """Whoever is forked holds no end of the pipe by which our thread learns that it has started."""
    program = f"""
        import os, threading, time
        from pathlib import Path
        from pipespan.config import load_settings
        from pipespan.wiring import watching

        begun, ended = threading.Event(), threading.Event()
        def start(settings):
            begun.set()
            time.sleep(0.3)
            ended.set()
        watching.start_watcher = start
        keeper = watching.WatcherKeeper(load_settings({{}}, state_dir=Path({str(tmp_path)!r})))
        threading.Thread(target=keeper.ensure, daemon=True).start()
        begun.wait(5)
        pid = os.fork()
        if pid == 0:
            keeper.ensure()  # does not wait for a thread that is not there
            os._exit(0 if ended.is_set() else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("0", "")
