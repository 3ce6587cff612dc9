from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipespan.wiring.hangs import tell_hangs_quietly
from tests.chaos.watched import Watched, watched_programs


@pytest.fixture
def watched(tmp_path: Path, dsn: str) -> Iterator[Watched]:
    with watched_programs(tmp_path, dsn) as made:
        yield made


def _stack(details: Any, name: str) -> list[str]:
    (entry,) = [one for one in details["threads"] if one["name"] == name]
    return entry["stack"]


def test_a_loop_that_stops_is_a_stall_and_its_going_on_is_told(watched: Watched) -> None:
    """The event has the place, the wait and what was used since; status says stalled, and alive again afterwards."""
    child = watched.start("""
        def read_forever():
            sys.stdin.readline()

        secret = "value-of-a-local"
        with pipespan.pipeline("run") as run, run.step("fit", expect_progress_every=1) as fit:
            for number in fit.track(range(6)):
                time.sleep(0.05)
                if number == 4:
                    read_forever()
            pipespan.flush(10)
            sys.stdin.readline()
    """)
    event = watched.event("stalled")
    details: Any = event.details
    assert (event.node_id, event.severity) == ("run/fit", "WARNING")
    assert "'run/fit' has not moved" in event.title
    assert (details["completed"], details["promise_s"], details["is_learnt"]) == (4, 1.0, False)
    stack = _stack(details, "MainThread")
    assert "in read_forever" in stack[0]
    assert "read_forever" in details["where"]
    assert details["threads"][0]["wait"]["system_call"] == "read"
    assert "value-of-a-local" not in str(details)
    assert "pipespan-" not in str([thread["name"] for thread in details["threads"]])
    watched.until(lambda: watched.view().health.word == "stalled")
    view = watched.view()
    assert "run/fit" in view.health.reason
    assert "read_forever" in view.health.reason
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()
    moving = watched.event("moving")
    assert (moving.node_id, moving.severity) == ("run/fit", "INFO")
    assert "moves again" in moving.title
    child.communicate("\n", timeout=20)
    assert child.returncode == 0
    assert len(watched.events("stalled")) == 1
    assert watched.view().experiment.status == "completed"


def test_a_deadlock_of_threads_shows_both(watched: Watched) -> None:
    """Each thread's stack ends where it waits, under its own name, and no CPU was used."""
    watched.start("""
        one, two = threading.Lock(), threading.Lock()
        met = threading.Barrier(2)

        def take(first, second):
            with first:
                met.wait()
                second.acquire()

        with pipespan.pipeline("run", expect_progress_every=1) as run:
            threads = [
                threading.Thread(target=take, args=args, name=name, daemon=True)
                for args, name in (((one, two), "left"), ((two, one), "right"))
            ]
            for thread in threads:
                thread.start()
            threads[0].join()
    """)
    details: Any = watched.event("stalled").details
    entries = [one for one in details["threads"] if {"left", "right"} & {one["name"], *one.get("names", ())}]
    assert {name for one in entries for name in one.get("names", [one["name"]])} == {"left", "right"}
    assert all("in take" in one["stack"][0] for one in entries)
    assert all(one["wait"]["system_call"] == "futex" for one in entries)
    assert details["since_progress"].get("cores", 0) < 0.5


def test_an_asyncio_hang_shows_the_tasks_and_what_they_await(watched: Watched) -> None:
    """The chain of awaits is there, of all tasks, with the task or future that each waits for."""
    watched.start("""
        import asyncio

        async def never(event):
            await event.wait()

        async def middle(event):
            await never(event)

        async def main():
            event = asyncio.Event()
            async with pipespan.pipeline("run", expect_progress_every=1) as run:
                task = asyncio.create_task(middle(event), name="worker")
                others = [asyncio.create_task(never(event), name=f"same-{n}") for n in range(3)]
                await task

        asyncio.run(main())
    """)
    details: Any = watched.event("stalled").details
    tasks = {one["name"]: one for one in details["tasks"]}
    assert [line.rpartition(" in ")[2].split(".")[-1] for line in tasks["worker"]["stack"]] == [
        "wait", "never", "middle",
    ]  # fmt: skip
    assert tasks["worker"]["waits_for"].endswith("Future")
    (main,) = [one for one in details["tasks"] if one.get("waits_for") == "task worker"]
    assert "main" in main["stack"][0]
    (same,) = [one for one in details["tasks"] if one.get("count") == 3]
    assert set(same["names"]) == {"same-0", "same-1", "same-2"}


def test_child_processes_that_hang_are_shown(watched: Watched) -> None:
    """One that uses pipespan tells its stacks; of another one the command line and the state are told."""
    watched.start("""
        import subprocess

        def hang_in_child():
            with pipespan.step("part"):
                time.sleep(600)

        if __name__ == "__main__":
            with pipespan.pipeline("run") as run, run.step("wait", expect_progress_every=2):
                program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                worker = multiprocessing.get_context("fork").Process(
                    target=pipespan.wrap(hang_in_child), daemon=True
                )
                worker.start()
                worker.join()
    """)
    details: Any = watched.event("stalled").details
    for one in details["children"]:
        os.kill(one["pid"], signal.SIGKILL)
    children = {bool(one.get("stacks")): one for one in details["children"]}
    assert "hang_in_child" in str(children[True]["stacks"]["threads"])
    assert "time.sleep(600)" in children[False]["command"]
    assert children[False]["state"] == "sleeping"


def test_c_code_that_holds_the_interpreter_is_told_afterwards(watched: Watched) -> None:
    """The timer in C writes the stacks while nothing else can run; the ticker makes an event of them."""
    watched.start(
        """
        import ctypes

        def hold():
            ctypes.PyDLL(None).sleep(6)

        with pipespan.pipeline("run"):
            time.sleep(2)  # the first look, which sets the timer, comes within 0.9 s
            hold()
            time.sleep(30)
        """,
        PIPESPAN_HANG_TIMER_S="3",
    )
    event = watched.event("stalled")
    assert "interpreter was held" in event.title
    assert "in hold" in str(event.details["stacks"])
    held_s: Any = event.details["held_s"]
    assert held_s > 3


def test_who_looks_sees_an_interpreter_that_is_held(watched: Watched) -> None:
    """A reader on the host writes the event that the process cannot write, once."""
    watched.start(
        """
        import ctypes
        with pipespan.pipeline("run"):
            time.sleep(1)
            pipespan.flush(10)
            ctypes.PyDLL(None).sleep(600)
        """,
        PIPESPAN_HANG_TIMER_S="3",
    )

    def look() -> bool:
        tell_hangs_quietly(watched.settings())
        tell_hangs_quietly(watched.settings())
        return bool(watched.events("stalled"))

    watched.until(look)
    (event,) = watched.events("stalled")
    assert "interpreter is held" in event.title
    assert "program0.py" in str(event.details["stacks"])


@pytest.mark.parametrize("when", ["before", "enabled before", "after"])
def test_the_programs_own_timer_is_left_to_it(watched: Watched, when: str) -> None:
    """Who uses faulthandler's timer gets what it asked for, started before or after the first pipeline."""
    ran = watched.run(
        """
        import faulthandler
        own = open("own", "w")
        if sys.argv[1] == "enabled before":
            faulthandler.enable(own)
        if "before" in sys.argv[1]:
            faulthandler.dump_traceback_later(4, file=own)
        with pipespan.pipeline("run"):
            time.sleep(1)
            if sys.argv[1] == "after":
                faulthandler.dump_traceback_later(3, file=own)
            time.sleep(4.5)
        print(open("own").read().count("Timeout"))
        """,
        when,
        PIPESPAN_HANG_TIMER_S="30",
    )
    assert ran.out == "1\n"


@pytest.mark.parametrize("way", ["fork", "subprocess", "pool"])
def test_a_fork_beside_the_timer_ends(watched: Watched, way: str) -> None:
    """Children of a process with an armed timer exit as ever."""
    ran = watched.run(
        """
        import subprocess
        if __name__ == "__main__":
            with pipespan.pipeline("run"):
                for _ in range(3):
                    time.sleep(0.7)
                    if sys.argv[1] == "fork":
                        pid = os.fork()
                        if pid == 0:
                            sys.exit(0)
                        print(os.waitpid(pid, 0)[1], flush=True)
                    elif sys.argv[1] == "subprocess":
                        print(subprocess.run(["true"], preexec_fn=lambda: None).returncode)
                    else:
                        with multiprocessing.get_context("fork").Pool(2) as pool:
                            print(sum(pool.map(abs, [0, 0])))
        """,
        way,
        PIPESPAN_HANG_TIMER_S="30",
    )
    assert ran.out == "0\n0\n0\n"
    assert ran.seconds < 25
