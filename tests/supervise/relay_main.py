"""Runs the command given as arguments under `run_child` and tells on a file what was seen.

usage: relay_main.py REPORT CMD ARGS...
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from pipespan.supervise.child import run_child


def main() -> int:
    report, *argv = sys.argv[1:]
    seen: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    ended = asyncio.run(
        run_child(
            argv,
            env=os.environ,
            targets=(1, 2),
            on_stdout=seen["stdout"].append,
            on_stderr=seen["stderr"].append,
        )
    )
    told: dict[str, object] = {name: b"".join(pieces).decode("latin-1") for name, pieces in seen.items()}
    told |= {"exit_code": ended.exit_code, "signal": ended.signal, "received": list(ended.received)}
    told |= {"problem": ended.problem}
    Path(report).write_text(json.dumps(told), encoding="utf-8")
    return ended.return_code


if __name__ == "__main__":
    sys.exit(main())
