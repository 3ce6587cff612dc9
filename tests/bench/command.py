"""The command line: which benchmarks, and how their results are printed.

A goal that is missed prints `no`; it is no failure, since timings depend on the machine. The exit code tells
only whether all could be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from tests.bench.child import MeasureError, measure
from tests.bench.registry import BENCHMARKS, Benchmark, find_benchmarks
from tests.bench.result import Options, Result, judge, to_json

_TITLES = ("name", "ours", "peer", "unit", "ratio", "goal", "met", "min", "max", "pairs", "note")
_WIDTHS = (15, 9, 9, 8, 7, 18, 4, 8, 8, 6, 0)


def main(arguments: Sequence[str]) -> int:
    """Run what `arguments` name, and print each result as soon as it is there."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        chosen = find_benchmarks(given.names)
    except LookupError as error:
        parser.error(str(error))
    if not given.json:
        print(_line(_TITLES), flush=True)
    failures = 0
    for found in _results(chosen, Options(is_quick=given.quick, minutes=given.minutes)):
        if isinstance(found, MeasureError):
            failures += 1
            print(found, file=sys.stderr, flush=True)
        else:
            print(json.dumps(to_json(found)) if given.json else _line(_cells(found)), flush=True)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {one.name:15} {one.about}" for one in BENCHMARKS)
    parser = argparse.ArgumentParser(
        prog="tests/bench/run.py",
        description=f"Compare pipespan with its peers.\n\nbenchmarks (ours; the peer):\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run, all by default")
    parser.add_argument("--json", action="store_true", help="print one object a line instead of a table")
    parser.add_argument("--quick", action="store_true", help="measure less; the figures are coarse")
    parser.add_argument(
        "--minutes", type=float, default=0.0, help="how long the benchmarks of long runs take"
    )
    return parser


def _results(chosen: Sequence[Benchmark], options: Options) -> Iterator[Result | MeasureError]:
    for source in dict.fromkeys(benchmark.source for benchmark in chosen):
        try:
            samples = measure(source, options)
        except MeasureError as error:
            yield error
            continue
        for one in chosen:
            if one.source == source:
                yield judge(one.name, one.unit, one.goal, samples[one.name])


def _cells(result: Result) -> tuple[str, ...]:
    return (
        result.name,
        _number(result.ours),
        _number(result.peer),
        result.unit,
        _number(result.ratio),
        result.goal_text or "-",
        {True: "yes", False: "no", None: "-"}[result.met],
        _number(result.min),
        _number(result.max),
        str(result.pairs),
        result.note,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _line(cells: Iterable[str]) -> str:
    return "  ".join(
        f"{cell:{width}}" if width else cell for cell, width in zip(cells, _WIDTHS, strict=True)
    ).rstrip()
