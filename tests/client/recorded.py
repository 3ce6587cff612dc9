"""A pipeline that uses what there is to record, run as a program of its own."""

from __future__ import annotations

from pathlib import Path

from tests.wiring.programs import Programs

RUNS = 2

PROGRAM = r"""
number = int(sys.argv[1])
log = pipespan.get_logger("nightly")
open("model.bin", "wb").write(b"x" * 1234)

with pipespan.pipeline("nightly", params={"number": number, "ä": [1, None, 0.5]}, tags=["real", "b c"]) as run:
    run.plan("load", "fit", "never")
    with run.phase("load") as load:
        for i in load.track(range(20), unit="files"):
            log.info("loaded 100%% of file_%s.csv", i)
            time.sleep(0.1)  # long enough for samples
    with run.phase("fit", total=2, weight=3.0) as fit:
        for epoch in range(2):
            with fit.step(f"epoch {epoch}") as step:
                step.metric(loss=1.0 / (1 + epoch), note="good")
                with step.substep("batch"):
                    log.warning("slow \\ \t batch\nsecond line")
            fit.advance()
        fit.artifact("model.bin", kind="model", digest="sha256:00", accuracy=0.97)
        fit.artifact("s3://bucket/report.html")
        fit.event("halfway", severity="WARNING", share=0.5)
        for attempt in range(3):
            try:
                with fit.step("evaluate"):
                    raise ValueError(f"cannot divide {attempt} by zero")
            except ValueError:
                pass
    assert pipespan.flush(20)
"""


def record(dsn: str, folder: Path, number: int) -> None:
    """Run the pipeline into the database of `dsn`."""
    often = {f"PIPESPAN_{what}_INTERVAL_S": "0.05" for what in ("PROGRESS", "SAMPLE", "METRICS")}
    programs = Programs(folder, {"PIPESPAN_DSN": dsn, **often})
    try:
        programs.run(PROGRAM, number)
    finally:
        programs.end()
