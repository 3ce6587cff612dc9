from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

from pipespan.record.cgroup import Group, Limits, own_groups
from pipespan.record.dump import MAX_DUMP_BYTES, bounded, process_dump
from pipespan.record.memorywatch import python_facts
from pipespan.record.stacks import MAX_FRAMES, MAX_STACKS, cut, grouped
from pipespan.record.tasks import task_stacks


def test_a_deep_stack_loses_its_middle_with_a_word() -> None:
    """Where it stands and whence it came both stay."""
    lines = [f"line {number}" for number in range(5000)]
    kept = cut(lines)
    assert len(kept) == MAX_FRAMES + 1
    assert (kept[0], kept[-1]) == ("line 0", "line 4999")
    assert f"... {5000 - MAX_FRAMES} frames left out ..." in kept


def test_threads_at_one_place_share_an_entry_and_many_places_are_cut() -> None:
    """A pool of a thousand idle threads is one entry; a thousand places are a bounded number of them."""
    same = grouped({"name": f"t{number}", "stack": ["a", "b"]} for number in range(1000))
    assert [(one["count"], len(one["names"])) for one in same] == [(1000, 12)]
    many = grouped({"name": f"t{number}", "stack": [str(number)]} for number in range(1000))
    assert len(many) == MAX_STACKS + 1
    assert many[-1]["name"] == f"... {1000 - MAX_STACKS} more left out ..."


def test_a_dump_is_bounded_whatever_runs() -> None:
    """A thousand long lines become a document of a bounded size that says that it was cut."""
    entries = [{"name": f"t{number}", "stack": ["x" * 290] * 50} for number in range(60)]
    dump = bounded({"pid": 1, "threads": entries, "tasks": list(entries)})
    assert len(json.dumps(dump)) <= MAX_DUMP_BYTES + 200
    assert "cut" in dump


def test_many_threads_are_dumped_in_short_time() -> None:
    """A hundred threads that wait at one place are one entry, found within the time of a tick."""
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, name=f"waiting-{number}") for number in range(100)]
    for thread in threads:
        thread.start()
    try:
        dump = process_dump()
    finally:
        release.set()
        for thread in threads:
            thread.join()
    assert [one["count"] for one in dump["threads"] if "count" in one and one["count"] >= 100] == [100]
    assert dump["threads"][0]["is_main"]
    assert dump["took_ms"] < 2000


def test_tasks_of_a_loop_in_another_thread_are_seen() -> None:
    """All loops of the process count, whoever asks."""
    ready, release = threading.Event(), threading.Event()

    async def main() -> None:
        task = asyncio.create_task(asyncio.sleep(3600), name="sleeper")
        await asyncio.sleep(0)
        ready.set()
        await asyncio.to_thread(release.wait)
        task.cancel()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(10)
        names = [name for one in task_stacks() for name in one.get("names", [one["name"]])]
    finally:
        release.set()
        thread.join()
    assert "sleeper" in names


def _group(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")
    return folder


def test_limits_of_version_2_count_up_to_the_top(tmp_path: Path) -> None:
    """The tightest of the group's own and of those above it, without the cache that the kernel gives back."""
    top = _group(tmp_path / "fs", memory__current=900, memory__max=1000, memory__stat="inactive_file 100")
    own = _group(top / "a" / "b", memory__current=300, memory__max="max", memory__high=5000)
    _group(top / "a", memory__current=400, memory__max="max")
    proc = _group(
        tmp_path / "proc", cgroup="0::/a/b", mountinfo=f"30 1 0:26 / {top} rw - cgroup2 cgroup2 rw,nsdelegate"
    )
    groups = own_groups(proc)
    assert [group.folder for group in groups] == [own, own.parent, top]
    room = Limits(groups=groups).room(0)
    assert room is not None
    assert (room.limit_bytes, room.used_bytes, room.left_bytes) == (1000, 800, 200)


def test_limits_of_version_1_and_of_a_container_are_found(tmp_path: Path) -> None:
    """The path of the host that a container sees leads nowhere there; the top of the mount is meant."""
    top = _group(
        tmp_path / "memory", memory__usage_in_bytes=700, memory__limit_in_bytes=1000,
        memory__stat="cache 1\ntotal_inactive_file 50",
    )  # fmt: skip
    proc = _group(
        tmp_path / "proc",
        cgroup="5:cpu:/x\n4:memory:/docker/abc\n0::/",
        mountinfo=f"31 1 0:27 /docker/other {top} rw - cgroup cgroup rw,memory",
    )
    (group,) = own_groups(proc)
    assert (group.limit_bytes(), group.used_bytes()) == (1000, 650)
    (top / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert group.limit_bytes() is None


def test_a_given_limit_is_kept_to(tmp_path: Path) -> None:
    """It counts this process's own memory; without any limit the host's memory is the room."""
    room = Limits(1000).room(900)
    assert room is not None
    assert room.share == 0.9
    host = Limits(groups=[Group(tmp_path, ("none",), "none", "none")]).room(0)
    assert host is not None
    assert "host" in host.what


def test_objects_are_counted_by_type() -> None:
    """Names of types and counts, no values."""
    facts = python_facts()
    assert all(isinstance(count, int) for count in facts["objects"].values())
    assert len(facts["objects"]) <= 20
