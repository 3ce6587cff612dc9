from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime, timezone

import psutil
import pytest

from pipespan.query.liveness import Host, gather_evidence, process_finding, this_host
from tests.query.samples import job

HERE = Host("here", "b-1", "pid:[1]")
ABSENT_PID = 2**22 + 12345  # above the kernel's limit, so never a process
OWN_START = psutil.Process().create_time()


def started(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def test_own_process_is_running() -> None:
    """The very process is recognised, also when its start is told a second off."""
    assert process_finding(os.getpid(), OWN_START) == "running"
    assert process_finding(os.getpid(), OWN_START + 1.0) == "running"


def test_other_start_time_is_another_process() -> None:
    """A pid that was used again does not pass for its earlier owner."""
    assert process_finding(os.getpid(), OWN_START - 60) == "replaced"


def test_absent_process_is_gone() -> None:
    """No process of that pid: gone."""
    assert process_finding(ABSENT_PID, OWN_START) == "gone"


def test_without_start_time_an_existing_pid_proves_nothing() -> None:
    """It may be anybody's."""
    assert process_finding(os.getpid(), None) == "unknown"


@pytest.mark.parametrize("pid", [0, -1])
def test_impossible_pids_prove_nothing(pid: int) -> None:
    """Signalling pid 0 or -1 would address groups, so they are not looked at."""
    assert process_finding(pid, OWN_START) == "unknown"


def test_zombie_is_gone() -> None:
    """A process that ended but was not waited for does not live."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        start = psutil.Process(child.pid).create_time()
        deadline = time.monotonic() + 10
        while process_finding(child.pid, start) != "gone":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_evidence_is_for_open_jobs_of_this_host_only() -> None:
    """Other hosts' pids mean nothing here, and ended jobs need no evidence."""
    jobs = [
        job(id="here", host="here", boot_id="b-1", pid=ABSENT_PID),
        job(id="elsewhere", host="there", boot_id="b-1", pid=ABSENT_PID),
        job(id="ended", host="here", pid=ABSENT_PID, status="completed"),
    ]
    assert gather_evidence(jobs, HERE) == {"here": "gone"}


def test_other_boot_is_a_restart() -> None:
    """A process of an earlier boot cannot live, whoever has its pid now."""
    one = job(host="here", boot_id="b-0", pid=os.getpid(), process_started_at=started(OWN_START))
    assert gather_evidence([one], HERE) == {one.id: "rebooted"}


def test_unknown_boot_proves_nothing() -> None:
    """Without a boot id on one side a pid is no evidence."""
    one = job(host="here", boot_id=None, pid=ABSENT_PID)
    assert gather_evidence([one], HERE) == {one.id: "unknown"}


def test_time_of_boot_cannot_prove_a_restart() -> None:
    """Where a boot is known by its time only, a step of the clock must not look like a restart."""
    one = job(host="here", boot_id="boot-1000", pid=ABSENT_PID)
    assert gather_evidence([one], Host("here", "boot-1001", None)) == {one.id: "unknown"}
    assert gather_evidence([one], Host("here", "boot-1000", None)) == {one.id: "gone"}


def test_pid_of_another_namespace_proves_nothing() -> None:
    """A container may share the host's name, but not its pids."""
    one = job(host="here", boot_id="b-1", pid=ABSENT_PID, evidence={"pid_namespace": "pid:[2]"})
    assert gather_evidence([one], HERE) == {one.id: "unknown"}


def test_this_process_by_its_own_identity() -> None:
    """What a process records of itself is found again by a reader on the host."""
    here = this_host()
    one = job(host=here.name, boot_id=here.boot_id, pid=os.getpid(), process_started_at=started(OWN_START))
    assert gather_evidence([one]) == {one.id: "running"}
