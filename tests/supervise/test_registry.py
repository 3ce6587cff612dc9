"""The registry: private, whole or not at all, and mended by whoever reads it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipespan.errors import NotFoundError, UsageError
from pipespan.record.identity import ProcessIdentity, process_identity
from pipespan.supervise.logfile import LogPlace
from pipespan.supervise.processes import AttemptEnd, ProcessEntry, Spec
from pipespan.supervise.registry import Registry, StopRequest
from pipespan.supervise.restart import RESTART_MODES, RestartPolicy
from pipespan.supervise.standing import START_LIMIT_S, identity_of, standing_of

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
times = st.integers(0, 2**62)
identities = st.builds(
    ProcessIdentity, text, st.none() | text, st.integers(1, 2**22), st.none() | times, st.none() | text
)
specs = st.builds(
    Spec,
    argv=st.lists(text, min_size=1, max_size=3).map(tuple),
    cwd=text,
    title=text,
    params=st.dictionaries(text, st.none() | st.booleans() | st.integers() | text, max_size=3),
    tags=st.lists(text, max_size=2).map(tuple),
    policy=st.builds(
        RestartPolicy, st.sampled_from(RESTART_MODES), st.none() | st.integers(0, 9), st.floats(0, 99)
    ),
    log=st.builds(LogPlace, st.just(Path("/logs/x.jsonl")), times, st.integers(1, 9)),
)
ends = st.builds(
    AttemptEnd, st.integers(1, 99), times, times, st.none() | st.integers(0, 255), st.none() | st.integers(1, 64), text,
    st.lists(text, max_size=3).map(tuple),
)  # fmt: skip
entries = st.builds(
    ProcessEntry, name=text, spec=specs, token=text, created_at_unix_ns=times, reason=st.none() | text,
    state=st.sampled_from(["starting", "running", "waiting", "failed", "dead"]), attempt=st.integers(0, 99),
    experiment_id=text, supervisor=st.none() | identities, child=st.none() | identities,
    started_at_unix_ns=st.none() | times, next_start_at_unix_ns=st.none() | times, ended_at_unix_ns=st.none() | times,
    ends=st.lists(ends, max_size=3).map(tuple),
)  # fmt: skip


def entry(**changes) -> ProcessEntry:
    spec = Spec(("sleep", "9"), "/", "x", {}, (), RestartPolicy(), LogPlace(Path("/tmp/x.jsonl")))
    made = ProcessEntry("x", spec, "token", "running", time.time_ns(), supervisor=process_identity())
    return replace(made, **changes)


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "processes")


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


@given(entries)
def test_an_entry_survives_the_file(one):
    """What is read is what was written."""
    assert ProcessEntry.from_json(one.to_json()) == one


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
).map(str))  # fmt: skip
def test_nothing_but_an_entry_is_taken_for_one(anything):
    """Whatever else stands in a file is a ValueError, which readers expect."""
    with pytest.raises(ValueError):
        ProcessEntry.from_json(anything)


@given(entries, st.data())
def test_an_entry_with_a_piece_missing_is_refused_or_understood(one, data):
    """A document from which any one line was cut out never raises anything else."""
    lines = one.to_json().split("\n")
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    try:
        ProcessEntry.from_json("\n".join(lines))
    except ValueError:
        pass


def test_folder_and_files_are_private(registry):
    """Commands may hold what is nobody else's business."""
    registry.write(entry())
    registry.request_stop("x", StopRequest(1.0, "ann"))
    assert stat.S_IMODE(registry.folder.stat().st_mode) == 0o700
    assert {path.name for path in registry.folder.iterdir()} == {"x.json", "x.pid", "x.stop"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in registry.folder.iterdir()} == {0o600}


def test_a_running_process_stands_as_recorded(registry):
    """The pid file holds the supervisor's pid."""
    registry.write(entry())
    found, standing = registry.get("x")
    assert (standing.word, standing.has_supervisor) == ("running", True)
    assert (registry.folder / "x.pid").read_text() == f"{os.getpid()}\n"
    assert found.state == "running"


def dead_because(registry: Registry, supervisor: ProcessIdentity) -> str:
    registry.write(entry(supervisor=supervisor))
    found, standing = registry.get("x")
    assert (standing.word, found.state) == ("dead", "dead")
    assert registry.read("x") == found
    assert not (registry.folder / "x.pid").exists()
    return found.reason or ""


def test_a_reboot_is_a_death_that_is_written_down(registry):
    """Another boot id: whatever has the pid now is not it."""
    assert (
        dead_because(registry, replace(process_identity(), boot_id="of-yesterday"))
        == "the host was restarted"
    )


def test_a_reused_pid_is_a_death_that_is_written_down(registry):
    """The same pid with another start time is another process, which nobody may stop for it."""
    mine = process_identity()
    assert mine.started_at_unix_ns is not None
    reason = dead_because(registry, replace(mine, started_at_unix_ns=mine.started_at_unix_ns - 60 * 10**9))
    assert reason == f"its supervisor is gone without a word, and pid {mine.pid} is another process now"


def test_a_vanished_supervisor_is_a_death_that_is_written_down(registry, sleeper):
    """Nobody has the pid any more."""
    identity = identity_of(sleeper.pid)
    assert identity is not None
    sleeper.kill()
    sleeper.wait()
    assert dead_because(registry, identity).endswith("is gone without a word")


def test_a_command_without_supervisor_is_an_orphan(registry, sleeper):
    """It is neither dead nor in good hands."""
    registry.write(
        entry(supervisor=replace(process_identity(), boot_id="of-yesterday"), child=identity_of(sleeper.pid))
    )
    found, standing = registry.get("x")
    assert (standing.word, standing.has_child, found.state) == ("orphaned", True, "running")


def test_another_host_is_not_judged(registry):
    """A state folder may be shared between machines."""
    registry.write(entry(supervisor=replace(process_identity(), host="elsewhere")))
    found, standing = registry.get("x")
    assert (standing.word, found.state) == ("unknown", "running")
    assert (registry.folder / "x.pid").exists()


def test_a_supervisor_that_never_began_is_dead_after_a_while():
    """A start that was itself killed does not stay for ever."""
    started = entry(state="starting", supervisor=None)
    later = started.created_at_unix_ns + int(START_LIMIT_S * 1e9)
    assert standing_of(started, lambda _: "gone", later - 1).word == "starting"
    assert standing_of(started, lambda _: "gone", later).word == "dead"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'{"format": 1}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_corrupt_file_is_put_aside(registry, content):
    """It blocks neither the others nor its name, and can still be looked at."""
    registry.write(entry())
    registry.write(entry(name="y"))
    (registry.folder / "x.json").write_bytes(content)
    assert [one.name for one, _ in registry.all()] == ["y"]
    assert (registry.folder / "x.corrupt").read_bytes() == content
    assert not (registry.folder / "x.pid").exists()
    with pytest.raises(NotFoundError, match="no process 'x'; known are: y"):
        registry.get("x")


def test_the_end_of_an_entry_is_not_rewritten(registry):
    """What a supervisor wrote last stays, whatever has its pid now."""
    ended = entry(state="completed", ended_at_unix_ns=time.time_ns())
    registry.write(ended)
    assert registry.get("x")[0] == ended
    assert registry.get("x")[1].word == "completed"


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "a/b", "../x", "a b", "x" * 65, "x\n"])
def test_names_are_file_names(registry, name):
    """A name that could leave the folder or be an option is refused."""
    with pytest.raises(UsageError):
        registry.check_name(name)
    with pytest.raises(NotFoundError):
        registry.get(name)


def test_a_command_gets_a_name_that_is_free(registry):
    """Two of a kind are told apart by a number."""
    assert registry.free_name("my job/é") == "my-job-"
    assert registry.free_name("...") == "process"
    registry.write(entry())
    registry.write(entry(name="x-2"))
    assert registry.free_name("x") == "x-3"


def test_a_name_is_claimed_once(registry):
    """While a supervisor holds the lock of a name nobody else can start it."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom pipespan.supervise.registry import Registry\n"
        "lock = Registry(Path(sys.argv[1])).take_lock('x')\nprint(lock is not None, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(registry.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"True\n"
        with registry.claimed("x") as is_ours:
            assert not is_ours
        holder.stdin.close()
        holder.wait()
    with registry.claimed("x") as is_ours:
        assert is_ours


def test_a_word_to_the_supervisor_is_read_or_ignored(registry):
    """Nonsense in the file is no word."""
    assert registry.stop_request("x") is None
    registry.request_stop("x", StopRequest(2.5, "ann"))
    assert registry.stop_request("x") == StopRequest(2.5, "ann")
    (registry.folder / "x.stop").write_text('{"timeout_s": null}')
    assert registry.stop_request("x") is None
    registry.clear_stop("x")
    registry.clear_stop("x")
