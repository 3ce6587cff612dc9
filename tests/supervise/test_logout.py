"""What is said about the logout, for each kind of place that a process can be started in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipespan.supervise.logout import LoginFacts, Verdict, gather, judge

SESSION = "/user.slice/user-1000.slice/session-3.scope"
MANAGER = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte.scope"


def facts(cgroup: str, **more) -> LoginFacts:
    return LoginFacts(cgroup, "ann", **more)


@pytest.mark.parametrize(
    ("given", "survives"),
    [
        (facts(""), True),
        (facts("/"), True),
        (facts("/system.slice/cron.service"), True),
        (facts(SESSION, kills_user_processes=False), True),
        (facts(SESSION, kills_user_processes=True), False),
        (facts(SESSION, kills_user_processes=True, lingers=True), False),
        (facts(SESSION, kills_user_processes=True, is_root=True), True),
        (facts(SESSION, kills_user_processes=None), None),
        (facts(MANAGER), False),
        (facts(MANAGER, lingers=True), True),
        (facts("", slurm_job="17"), False),
    ],
)
def test_the_verdict(given, survives):
    """Who will be killed is told so, with the reason and a remedy; who is safe is told nothing."""
    verdict = judge(given)
    assert verdict.survives is survives
    assert bool(verdict.reason) == bool(verdict.remedy) == (survives is not True)


def test_the_remedy_fits_the_reason():
    """Lingering helps within the user's manager; within a session the process must leave its scope too."""
    assert judge(facts(MANAGER)).remedy == "run `loginctl enable-linger` once, before you log out"
    assert "systemd-run --user --scope" in judge(facts(SESSION, kills_user_processes=True)).remedy


def system(root: Path, cgroup: str, answer: str = "", *, lingers: bool = False) -> tuple[str, ...]:
    """Make a system's files, and the command that speaks for logind."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    if lingers:
        (root / "var/lib/systemd/linger").mkdir(parents=True)
        (root / "var/lib/systemd/linger/ann").touch()
    bus = root / "bus"
    bus.write_text(f"#!/bin/sh\n{answer}\n")
    bus.chmod(0o755)
    return (str(bus),)


@pytest.mark.parametrize(
    ("answer", "kills"),
    [("echo b true", True), ("echo b false", False), ("exit 1", None), ("echo what", None)],
)
def test_logind_is_asked_within_a_session(tmp_path, answer, kills):
    """Its answer decides; without one nobody can tell."""
    bus = system(tmp_path, f"0::{SESSION}\n", answer)
    found = gather({}, "ann", is_root=False, root=tmp_path, bus=bus)
    assert (found.cgroup, found.kills_user_processes) == (SESSION, kills)


def test_elsewhere_nobody_is_asked(tmp_path):
    """In a container or under cron no command is run for it."""
    bus = system(tmp_path, "0::/\n", f"touch {tmp_path}/asked")
    found = gather({}, "ann", is_root=False, root=tmp_path, bus=bus)
    assert judge(found) == Verdict(survives=True)
    assert not (tmp_path / "asked").exists()


def test_lingering_is_a_file(tmp_path):
    """systemd keeps one for each user who lingers."""
    bus = system(tmp_path, f"0::{MANAGER}\n", lingers=True)
    assert gather({}, "ann", is_root=False, root=tmp_path, bus=bus).lingers
    assert not gather({}, "bob", is_root=False, root=tmp_path, bus=bus).lingers


def test_the_first_version_of_control_groups_is_read_too(tmp_path):
    """There the hierarchy of systemd knows the session."""
    bus = system(tmp_path, f"12:memory:/user.slice\n1:name=systemd:{SESSION}\n0::/\n", "echo b true")
    assert gather({}, "ann", is_root=False, root=tmp_path, bus=bus).cgroup == SESSION


@pytest.mark.parametrize(
    ("environ", "cgroup"),
    [
        ({"SLURM_JOB_ID": "42"}, "0::/\n"),
        ({}, "0::/system.slice/slurmstepd.scope/job_42/step_0/user/task_0\n"),
    ],
)
def test_a_batch_job_is_noticed(tmp_path, environ, cgroup):
    """Whatever runs in a Slurm job ends with it."""
    bus = system(tmp_path, cgroup)
    assert gather(environ, "ann", is_root=False, root=tmp_path, bus=bus).slurm_job == "42"


def test_a_system_without_any_of_this_is_fine(tmp_path):
    """No files, no bus: nothing kills there."""
    found = gather({}, "ann", is_root=False, root=tmp_path, bus=("/no/such/bus",))
    assert judge(found).survives is True
