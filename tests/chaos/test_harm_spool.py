"""Whatever the disk of the spool does, the job ends as it would have, and what is lost is counted and told."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipespan.spool.writer import RING_BYTES
from tests.chaos.harm import (
    MARGIN_S,
    Ended,
    alarms,
    audit,
    can_mount,
    can_mount_files,
    count,
    deliver,
    fill,
    start_job,
    through,
)
from tests.wiring.programs import Programs

pytestmark = pytest.mark.chaos

AWAY = "postgresql://127.0.0.1:1/none"
"""No database is there."""


def whole(programs: Programs, ended: Ended) -> None:
    """Check that nothing was lost, and that nobody waited."""
    assert ended.took_s < MARGIN_S
    assert (ended.told["dropped"], ended.told["failed"]) == (0, 0)
    audit(programs.environ["PIPESPAN_DSN"])


@contextmanager
def small_disk(programs: Programs) -> Iterator[Path]:
    """Put the state folder on a disk of 1 MB."""
    programs.state_dir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", programs.state_dir], check=True)
    try:
        yield programs.state_dir
    finally:
        programs.end()
        subprocess.run(["umount", "--lazy", programs.state_dir], check=True)


@pytest.mark.skipif(
    not can_mount(), reason="nothing can be mounted here; the limit of file sizes shows the same below"
)
def test_full(harmed: Programs) -> None:
    """The disk is full; what cannot be written goes to the database from memory."""
    with small_disk(harmed) as disk:
        ended = through(harmed, lambda: fill(disk))
        whole(harmed, ended)
        assert [line for line in ended.lines if "held in memory" in line]
        assert "lost" not in ended.err


def test_files_may_grow_no_more(harmed: Programs) -> None:
    """A limit of the size of files has the same effect as a full disk."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    ended = through(harmed, bool, HARM_BEFORE=limit)
    whole(harmed, ended)
    assert "lost" not in ended.err


@pytest.mark.skipif(not can_mount_files(), reason="no file can be mounted as a file system here")
def test_read_only(harmed: Programs) -> None:
    """The file system of the spool becomes read-only in the midst, as that of a failing disk does."""
    with frozen_file_system(harmed.state_dir) as make_read_only:
        ended = through(harmed, make_read_only)
        whole(harmed, ended)
        assert "Read-only file system" in ended.err
        assert "lost" not in ended.err


@contextmanager
def frozen_file_system(folder: Path) -> Iterator[Callable[[], None]]:
    """Give an ext4 of a file at `folder`, and what aborts it: then it is read-only, whoever has files open."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(8 << 20)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, folder], check=True)
    try:
        yield lambda: (None, subprocess.run(["mount", "-o", "remount,abort", folder], check=False))[0]
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("what", ["state", "stream"])
def test_deleted_under_us(harmed: Programs, what: str) -> None:
    """The state folder, or the stream's, is removed in the midst; what waited there goes on its way all the same."""
    job = start_job(harmed)
    for folder in [harmed.state_dir] if what == "state" else (harmed.state_dir / "spool").iterdir():
        shutil.rmtree(folder)
    ended = job.go_on().until("whole").end()
    whole(harmed, ended)


def test_deleted_while_the_database_is_away(harmed: Programs, dsn: str) -> None:
    """Rows of a removed folder that no database has had are taken from the open files."""
    harmed.using(PIPESPAN_DSN=AWAY)
    job = start_job(harmed)
    shutil.rmtree(harmed.state_dir)
    ended = job.go_on().until("whole").end()
    assert (ended.told["dropped"], ended.told["failed"]) == (0, 0)
    retarget(harmed, dsn)
    deliver(harmed)
    audit(dsn)


def retarget(programs: Programs, dsn: str) -> None:
    """Have streams that wait for no database delivered to one that is there."""
    from pipespan.wiring.target import target_of

    programs.using(PIPESPAN_DSN=AWAY)
    before = target_of(programs.settings())
    programs.using(PIPESPAN_DSN=dsn)
    after = target_of(programs.settings())
    for meta in (programs.state_dir / "spool").glob("*/meta.json"):
        meta.write_text(meta.read_text().replace(before, after))


FLOOD = """
    logging.getLogger().setLevel(logging.INFO)
    with pipespan.pipeline("run") as run, run.step("s") as step:
        for number in range(int(sys.argv[1])):
            logging.getLogger("flood").info("line %d %s", number, "word " * 200)
            step.advance()
        logging.error("the last one")
        time.sleep(0.5)  # the sampler tells what was dropped
    health = pipespan.health()
    print(health.accepted_rows, health.dropped_rows, health.spool_bytes, flush=True)
"""


def test_the_bound_of_the_spool_on_disk(harmed: Programs, dsn: str) -> None:
    """With the database away the spool grows to its bound; the oldest mild rows go, are counted, told and alarmed."""
    bound = 2_000_000
    harmed.using(PIPESPAN_DSN=AWAY, PIPESPAN_SPOOL_MAX_BYTES=str(bound), PIPESPAN_SAMPLE_INTERVAL_S="0.05")
    ran = harmed.run(FLOOD, 6000)
    accepted, dropped, spool_bytes = map(int, ran.out.split())
    on_disk = sum(path.stat().st_size for path in harmed.state_dir.rglob("*.seg"))
    assert on_disk <= bound
    assert spool_bytes <= bound
    assert dropped > 3000
    assert "the spool is full" in ran.err
    retarget(harmed, dsn)
    assert deliver(harmed) == accepted - dropped
    lines = count(dsn, "select count(*) from pipeline_logs where message like 'line %'")
    assert lines == count(
        dsn, "select count(distinct message) from pipeline_logs where message like 'line %'"
    )
    assert 0 <= dropped - (6000 - lines) < 100  # samples and progress are of the mild kind too
    assert count(dsn, "select count(*) from pipeline_logs where message = 'the last one'") == 1
    assert count(dsn, "select count(*) from pipeline_progress where status = 'completed'") == 2
    assert count(dsn, "select completed_units from pipeline_progress where node_id = 'run/s'") == 6000
    assert accepted > 6000
    assert alarms(dsn)["dropped"] >= 1


def test_the_bound_of_the_memory(harmed: Programs) -> None:
    """With no folder and no database, memory holds `RING_BYTES` of rows and no more; the rest is counted."""
    harmed.using(PIPESPAN_DSN=AWAY, PIPESPAN_EXIT_TIMEOUT_S="0.3")
    harmed.state_dir.write_text("a file")
    source = """
    import tempfile, psutil
    tempfile.tempdir = sys.argv[1]
    log = logging.getLogger("flood")
    log.setLevel(logging.INFO)
    with pipespan.pipeline("run") as run:
        log.info("first")
        pipespan.flush(3)  # what is loaded late is loaded then
        before = psutil.Process().memory_info().rss
        for number in range(15_000):
            log.info("line %d %s", number, "word " * 200)
        health = pipespan.health()
        grown = psutil.Process().memory_info().rss - before
        print(grown, health.waiting_bytes, health.dropped_rows, health.accepted_rows)
    """
    ran = harmed.run(source, harmed.state_dir)
    grown_bytes, held_bytes, dropped, accepted = map(int, ran.out.split())
    assert held_bytes <= RING_BYTES
    assert grown_bytes < 3 * RING_BYTES
    assert dropped > 5_000
    assert accepted >= 15_000
    assert "rows are lost" in ran.err


def test_a_job_whose_disk_is_full_from_the_start(harmed: Programs) -> None:
    """No folder can be written to at all: the database has everything all the same."""
    harmed.state_dir.write_text("a file")
    nowhere = f"import tempfile; tempfile.tempdir = {str(harmed.state_dir)!r}"
    ended = through(harmed, bool, HARM_BEFORE=textwrap.dedent(nowhere))
    whole(harmed, ended)
    assert "lost" not in ended.err
