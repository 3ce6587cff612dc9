"""All benchmarks, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.result import Goal


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One figure.

    Attributes:
        name: by which it is asked for.
        unit: of ours and of the peer's figure.
        goal: None for what only informs.
        source: `module:function` in this folder that measures it, run in a fresh interpreter: it takes `Options`
            and returns `Samples` by name. Benchmarks with the same source are measured together.
        about: what is compared with what.
    """

    name: str
    unit: str
    goal: Goal | None
    source: str
    about: str


BENCHMARKS: Final[tuple[Benchmark, ...]] = (
    Benchmark("track", "ns", Goal(0.6), "iterate:against_tqdm", "an iteration of step.track; tqdm"),
    Benchmark(
        "step", "us", Goal(1.4), "steps:against_sdk",
        "a step, span and rows in the spool; a bare SDK span, batch processor, no-op exporter",
    ),
    Benchmark("step_logfire", "us", Goal(0.4), "steps:against_logfire", "a step, span and rows; logfire.span"),
    Benchmark(
        "step_otlp", "us", Goal(1.4), "exporting:beside_postgres",
        "a step of a burst, rows in Postgres, whose telemetry is exported over OTLP/HTTP too; without the export",
    ),
    Benchmark("step_plain", "us", None, "steps:without_sdk", "a step where no SDK is joined; a bare SDK span"),
    Benchmark(
        "log", "us", Goal(0.8), "logs:against_bridge",
        "a record through the Logs API into the spool; OTel's bridge, batch processor, no-op exporter",
    ),
    Benchmark(
        "log_batch", "us", None, "logs:batched_against_bridge",
        "the same with a batch processor and a no-op exporter beside it",
    ),
    Benchmark(
        "log_otlp", "us", Goal(1.4), "logs:exported_against_bridge",
        "a record of a burst that is exported over OTLP/HTTP meanwhile; OTel's bridge with a no-op exporter",
    ),
    Benchmark(
        "log_otlp_all", "us", None, "logs:exported_against_exported",
        "a record until it has arrived over OTLP/HTTP; the same by OTel's bridge",
    ),
    Benchmark("log_plain", "us", None, "logs:without_sdk", "a record where no SDK is joined; OTel's bridge"),
    Benchmark(
        "ship", "krow/s", Goal(0.85, at_least=True), "shipping:against_psql",
        "log rows from the spool into Postgres; psql \\copy of the same lines into the same table",
    ),
    Benchmark("ship_cpu", "share", Goal(0.15, of="ours"), "shipping:against_psql", "client CPU of that; psql's"),
    *(
        Benchmark(f"query_{name}", "ms", Goal(2.0), "queries:among_many_rows", f"{about}; among 100,000")
        for name, about in (
            ("last", "the last 100 of an experiment's logs among ten million rows"),
            ("errors", "its errors"),
            ("histogram", "its records by level and minute"),
            ("search", "a text in them"),
            ("summary", "the summary of its errors"),
            ("tree", "the top two levels of a tree of 100,000 nodes"),
        )
    ),
    Benchmark(
        "ingest_growth", "us", Goal(1.3), "queries:among_many_rows",
        "a log row into a database of ten million rows; into one of ten thousand",
    ),
    Benchmark(
        "prune_drop", "s", Goal(1.0, of="ours"), "prune:dropping",
        "dropping 30 days of logs as `pipespan db prune` does, while a writer goes on",
    ),
    Benchmark(
        "prune_drop_block", "ms", Goal(100, of="ours"), "prune:dropping",
        "longest transaction of the writer meanwhile; in as much time without it",
    ),
    Benchmark(
        "prune_function", "s", None, "prune:by_function",
        "the same by cleanup_old_logs, which is one transaction",
    ),
    Benchmark(
        "prune_function_block", "ms", None, "prune:by_function",
        "longest transaction of the writer meanwhile; in as much time without it",
    ),
    Benchmark(
        "prune_thin", "s", None, "prune:thinning",
        "30 days made into partitions with their errors only, 1 of 100 rows, while a writer goes on",
    ),
    Benchmark(
        "prune_thin_block", "ms", Goal(100, of="ours"), "prune:thinning",
        "longest transaction of the writer meanwhile; in as much time without it",
    ),
    Benchmark(
        "aggregate", "krow/s", Goal(20, of="ours", at_least=True), "aggregate:against_row_level",
        "leaf updates by four writers whose parents follow, batches of 100, a tree of 100,000 nodes",
    ),
    Benchmark(
        "aggregate_ratio", "krow/s", Goal(20, at_least=True), "aggregate:against_row_level",
        "the same; a row-level trigger that recomputes",
    ),
    Benchmark(
        "aggregate_ship", "krow/s", None, "aggregate:against_row_level", "the same through the writer, ledger and all"
    ),
    Benchmark(
        "receive_span", "us", Goal(25), "receiving:against_parse",
        "receiver CPU for a span from the wire into the table; protobuf's for parsing it",
    ),
    Benchmark(
        "receive_log", "us", Goal(25), "receiving:against_parse",
        "receiver CPU for a log record from the wire into the table; protobuf's for parsing it",
    ),
    Benchmark(
        "receive_core", "k/s", None, "collecting:against_collector",
        "spans for each second of CPU, from the wire into the table; a Collector's, from OTLP to OTLP",
    ),
    Benchmark(
        "receive_workers", "kspan/s", Goal(1.7, at_least=True), "receiving:by_workers",
        "two workers of the receiver, where the database is not the limit; one",
    ),
    Benchmark(
        "receive_memory", "MB", Goal(200, of="ours"), "receiving:under_load",
        "resident memory of the receiver under load (--minutes)",
    ),
    Benchmark(
        "receive_flat", "us", Goal(1.2), "receiving:under_load",
        "receiver CPU of a span in the second half of that load; in the first half",
    ),
    Benchmark("visible", "s", Goal(1.0, of="ours"), "visibility:from_another_process", "step start to row, p95"),
    Benchmark("demo_wall", "s", Goal(1.02), "demo:against_disabled", "wall time of the demo; with PIPESPAN_DISABLED=1"),
    Benchmark(
        "demo_wall_30s", "s", Goal(1.02), "demo:of_half_a_minute",
        "the same over four times as many files, as long as the demo takes at most",
    ),
    Benchmark(
        "demo_memory", "MB", Goal(40, of="difference"), "demo:against_disabled",
        "most resident memory of the demo's main process; with PIPESPAN_DISABLED=1",
    ),
    *(
        Benchmark(name, "s", Goal(1.02), "harm:against_healthy", f"work of a job {about}; while all is well")
        for name, about in (
            ("harm_frozen", "whose database is frozen"),
            ("harm_absent", "whose database is away"),
            ("harm_collector", "whose collector takes all and never answers"),
        )
    ),
    Benchmark("million", "MB", Goal(30, of="ours"), "million:growth", "memory growth while logging a million records"),
    Benchmark(
        "import_version", "ms", Goal(1.5), "starting:version_against_trace",
        "pipespan --version; python -c 'import opentelemetry.trace'",
    ),
    Benchmark(
        "import_light", "modules", Goal(0, of="ours"), "starting:heavy_modules",
        "heavy modules that `import pipespan` loads",
    ),
)  # fmt: skip


def find_benchmarks(names: list[str]) -> list[Benchmark]:
    """Return the benchmarks of these names, all when there are none.

    Raises:
        LookupError: a name is unknown.
    """
    known = [benchmark.name for benchmark in BENCHMARKS]
    for name in names:
        if name not in known:
            raise LookupError(f"unknown benchmark {name!r}; known are {', '.join(known)}")
    return [benchmark for benchmark in BENCHMARKS if not names or benchmark.name in names]
