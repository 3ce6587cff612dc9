"""A real pipeline, as a user of pipespan would write it: it measures the Python sources of this machine.

Run by `pipespan demo`, or by itself: python -m pipespan.cli.demo.pipeline --seconds 30 --workers 2 --out report
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pipespan
from pipespan.cli.demo.measures import by_package, measure_package, resolve_imports
from pipespan.cli.demo.report import Broken, Findings, most_complex, write_report
from pipespan.cli.demo.sources import Module, Root, Source, find_roots, look_at, parse_source, walk_sources

CHUNK_BYTES: Final = 3_000_000
"""Work for a second or so, which is worth a process's while; a chunk that has as much ends with that file."""

MIN_CHUNK_BYTES: Final = 250_000
"""Work for a tenth of it; none but the last is less."""

PARSE_SHARE = 0.85
"""Of the whole time; the rest is for measuring and for the report."""

CANCELLED: Final = "cancelled by Ctrl-C"

Parsed = tuple[list[Module], list[Broken], int]

log = pipespan.get_logger("demo")


def discover(findings: Findings, deadline: float) -> list[Source]:
    """Find the sources: sizes, encodings, packages."""
    sources: list[Source] = []
    with pipespan.phase("discover", unit="files") as phase:
        for root in find_roots():
            with phase.step(root.name) as step:
                for path in step.track(walk_sources(root), unit="files"):
                    if time.time() > deadline:
                        findings.skipped["discover"] = 1
                        step.message("stopped: the time is up")
                        break
                    source = look_at_one(path, root, findings)
                    if source is not None:
                        sources.append(source)
                log.info("found %d files in %s", step.completed, root.path)
            phase.advance(step.completed)
        size_mb = sum(source.size_bytes for source in sources) / 1e6
        phase.message(f"{size_mb:.0f} MB")
        phase.metric(files=len(sources), size_mb=size_mb)
    return sources


def look_at_one(path: str, root: Root, findings: Findings) -> Source | None:
    """Look at a file from the outside; one that cannot be read is logged and left out."""
    try:
        return look_at(path, root)
    except (SyntaxError, OSError) as error:
        log.exception("cannot read %s", path)
        findings.broken.append(Broken(path, f"{type(error).__name__}: {error}"))
        return None


def parse_chunk(number: int, sources: Sequence[Source], deadline: float, stop: Path) -> Parsed:
    """Parse some files, in a worker process; cancelled as soon as the file `stop` exists."""
    modules: list[Module] = []
    broken: list[Broken] = []
    if stop.exists():
        return modules, broken, len(sources)
    with pipespan.step(f"chunk {number}") as step:
        started = time.perf_counter()
        for source in step.track(sources, unit="files"):
            if stop.exists():
                raise KeyboardInterrupt
            if time.time() > deadline:
                step.message("stopped: the time is up")
                break
            try:
                modules.append(parse_source(source))
            except (SyntaxError, ValueError, RecursionError, OSError) as error:
                log.exception("cannot parse %s", source.path)
                broken.append(Broken(source.path, f"{type(error).__name__}: {error}"))
        size_mb = sum(module.source.size_bytes for module in modules) / 1e6
        log.performance("parse", time.perf_counter() - started, files=len(modules), size_mb=size_mb)
    return modules, broken, len(sources) - len(modules) - len(broken)


def parse(sources: Sequence[Source], findings: Findings, workers: int, deadline: float) -> None:
    """Parse all sources in a pool of processes, each of which is a job of its own in this experiment."""
    with pipespan.phase("parse", total=len(sources), unit="files") as phase:
        skipped = 0
        with TemporaryDirectory(prefix="pipespan-demo-") as folder, new_pool(workers) as pool:
            stop = Path(folder) / "stop"
            try:
                for modules, broken, left_out in parse_in(pool, 2 * workers, sources, deadline, stop):
                    findings.modules += modules
                    findings.broken += broken
                    skipped += left_out
                    phase.advance(len(modules) + len(broken))
            except KeyboardInterrupt:
                stop.touch()
                # Waited for, or their steps would end behind the end of this phase.
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if skipped:
            findings.skipped["parse"] = skipped
            phase.message(f"{skipped} files skipped: the time is up")
            phase.event(f"{skipped} files were not parsed", severity="WARNING", reason="the time is up")
            log.warning("%d files were not parsed: the time is up", skipped)


def new_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool whose processes leave Ctrl-C to this one, which tells them by a file."""
    return ProcessPoolExecutor(workers, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))


def parse_in(
    pool: ProcessPoolExecutor, at_once: int, sources: Sequence[Source], deadline: float, stop: Path
) -> Iterator[Parsed]:
    """Yield what the pool's processes parsed, with at most `at_once` chunks on their way, so as to stop in time."""
    parse_here = pipespan.wrap(parse_chunk)
    waiting: set[Future[Parsed]] = set()
    for number, chunk in enumerate(chunks_of(sources, at_once), start=1):
        if time.time() > deadline:
            yield [], [], len(chunk)
            continue
        waiting.add(pool.submit(parse_here, number, chunk, deadline, stop))
        if len(waiting) >= at_once:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    for future in as_completed(waiting):
        yield future.result()


def chunks_of(sources: Sequence[Source], parts: int) -> Iterator[list[Source]]:
    """Yield the sources in chunks, each one of `parts` of the bytes that are left: so all workers end together.

    That is guided self-scheduling (Polychronopoulos and Kuck, 1987), with a bound on both sides.
    """
    left_bytes = sum(source.size_bytes for source in sources)
    chunk: list[Source] = []
    size_bytes = 0
    for source in sources:
        chunk.append(source)
        size_bytes += source.size_bytes
        if size_bytes >= min(max(left_bytes / parts, MIN_CHUNK_BYTES), CHUNK_BYTES):
            yield chunk
            left_bytes -= size_bytes
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def measure(findings: Findings, deadline: float) -> None:
    """Measure each package: functions, complexity, imports."""
    packages = by_package(findings.modules)
    with pipespan.phase("measure", total=len(packages), unit="packages") as phase:
        with phase.step("resolve imports"):
            findings.graph = resolve_imports(findings.modules)
        for name, modules in packages.items():
            if time.time() > deadline:
                left = sum(len(packages[other]) for other in list(packages)[len(findings.packages) :])
                findings.skipped["measure"] = left
                phase.message(f"{left} files skipped: the time is up")
                break
            with phase.step(name, total=len(modules), unit="modules") as step:
                figures = measure_package(name, modules, findings.graph)
                findings.packages.append(figures)
                step.progress(len(modules))
                step.metric(functions=figures.functions, mean_complexity=figures.mean_complexity)
                log.info("%s: %d modules, %d functions", name, figures.modules, figures.functions)
            phase.advance()


def report(findings: Findings, out: Path) -> None:
    """Write the report and record both files as artifacts."""
    with pipespan.phase("report", total=2, unit="files") as phase:
        for path in write_report(findings, out):
            phase.artifact(path, kind="report")
            phase.advance()
        worst = most_complex(findings.modules)
        if worst is not None:
            phase.event(
                f"most complex: {worst.name}", complexity=worst.complexity, place=f"{worst.path}:{worst.line}"
            )
        log.info("report written to %s", out)


def run(seconds: float, workers: int, out: Path, experiment_id: str | None = None) -> Findings:
    """Run all phases within `seconds`; what there was no time for is said in the report."""
    started = time.time()
    findings = Findings()
    params = {"seconds": seconds, "workers": workers, "out": str(out), "python": sys.version.split()[0]}
    with pipespan.pipeline("demo", params=params, tags=["demo"], experiment_id=experiment_id) as pipeline:
        pipeline.plan("discover", "parse", "measure", "report")
        sources = discover(findings, started + seconds * PARSE_SHARE)
        parse(sources, findings, workers, started + seconds * PARSE_SHARE)
        measure(findings, started + seconds)
        report(findings, out)
        pipeline.metric(files=len(findings.modules), unparsable=len(findings.broken))
        pipeline.message(f"{len(findings.modules)} files, {len(findings.broken)} do not parse")
    return findings


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline from the command line."""
    parser = argparse.ArgumentParser(description="Measure the Python sources of this machine.")
    parser.add_argument("--seconds", type=float, default=30.0, help="stop after this time")
    parser.add_argument(
        "--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes that parse"
    )
    parser.add_argument("--out", type=Path, default=Path("pipespan-demo"), help="folder of the report")
    parser.add_argument("--experiment-id", help="UUID of the experiment")
    given = parser.parse_args(argv)
    try:
        findings = run(given.seconds, given.workers, given.out, given.experiment_id)
    except KeyboardInterrupt:
        print(CANCELLED)  # noqa: T201 - a program of its own
        return 128 + signal.SIGINT
    print(f"{given.out / 'report.md'}: {len(findings.modules)} files, {len(findings.broken)} do not parse")  # noqa: T201 - a program of its own
    return 0


if __name__ == "__main__":
    sys.exit(main())
