"""A long run of many processes with kills, outages and load, and the tables held against what each process knows.

    python tests/chaos/soak.py --minutes 10 [--seed 1] [--workers 4]

Prints what was done to whom and what the audit found; ends with 1 unless nothing was lost, nothing is there twice, and
no status is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Read the command line, soak, and print."""
    from tests.chaos.soaking import soak_for  # noqa: PLC0415 - found by the path that is set below

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} min, {options.workers} processes at a time", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="pspan-soak-", dir="/tmp"))
    verdict, table = soak_for(folder, options.minutes * 60, options.seed, options.workers)
    print(table)
    if verdict.is_clean:
        shutil.rmtree(folder)
        return 0
    print(f"journals and state are in {folder}")
    return 1


if __name__ == "__main__":
    sys.path[:] = [str(_ROOT), str(_ROOT / "src"), *sys.path[1:]]
    sys.exit(main())
