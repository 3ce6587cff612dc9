"""Builds the Collector of this folder, and runs it as an agent or as a gateway. Needs Go, and Python alone.

    python collector/collector.py build            prints where the program is; builds it when that is needed
    python collector/collector.py run agent        runs it with agent.yaml; what can be set stands in there
    python collector/collector.py run gateway      runs it with gateway.yaml
    python collector/collector.py build all        builds all that tests need too: a load generator, a sender in Go

What is built is kept in $XDG_CACHE_HOME/pipespan/collector (~/.cache by default), by a digest of all that it is made
of. The first build takes some minutes on two cores and 1.2 GB of memory.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
MANIFEST: Final = HERE / "builder.yaml"
GOSENDER: Final = HERE.parent / "tests" / "collector" / "gosender"
BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder@v0.161.0"
TELEMETRYGEN: Final = "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v0.161.0"
ROLES: Final = ("agent", "gateway")
PARALLEL: Final = str(max(1, min(os.cpu_count() or 1, 4)))
"""How many packages are compiled at once: each takes some hundred megabytes."""


class BuildError(Exception):
    """Something cannot be built; the message says what to do."""


def main(arguments: list[str]) -> int:
    """Do what `arguments` say."""
    parser = argparse.ArgumentParser(description="Build and run the Collector of this folder.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build a program and print where it is")
    build.add_argument("program", nargs="?", choices=[*PROGRAMS, "all"], default="collector")
    run = commands.add_parser("run", help="build the Collector if need be, and become it")
    run.add_argument("role", choices=ROLES)
    given = parser.parse_args(arguments)
    wanted = given.program if given.command == "build" else "collector"
    try:
        programs = [built(name) for name in (PROGRAMS if wanted == "all" else [wanted])]
    except BuildError as error:
        print(f"collector: {error}", file=sys.stderr)
        return 1
    if given.command == "build":
        print(*programs, sep="\n")
        return 0
    if "COLLECTOR_STATE_DIR" not in os.environ:
        print("collector: set COLLECTOR_STATE_DIR to the folder of its queue", file=sys.stderr)
        return 2
    os.execv(programs[0], [str(programs[0]), "--config", str(HERE / f"{given.role}.yaml")])
    return 0


def built(name: str) -> Path:
    """Return where the program `name` is, which is built now unless it was before.

    Raises:
        BuildError: Go is missing, or one of its steps failed.
    """
    recipe, make = PROGRAMS[name]
    go = shutil.which("go")
    if go is None:
        raise BuildError("there is no `go` on the PATH; install Go 1.26 or later")
    version = _output([go, "env", "GOVERSION", "GOOS", "GOARCH"])
    digest = hashlib.sha256("\n".join([version, *recipe()]).encode()).hexdigest()[:16]
    folder = _cache() / f"{name}-{digest}"
    program = folder / name
    with _alone(_cache() / f"{name}.lock"):  # who comes second finds it built
        if not program.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="building-", dir=_cache()) as work:
                make(go, Path(work)).replace(program)
    return program


def _collector_recipe() -> list[str]:
    return [BUILDER, MANIFEST.read_text(encoding="utf-8")]


def _make_collector(go: str, work: Path) -> Path:
    """Have the builder write the Collector's program, and compile that."""
    # The same flags as below, so that what both need is compiled once.
    _step([go, "install", "-p", PARALLEL, "-trimpath", BUILDER], work, GOBIN=str(work))
    source = work / "source"
    manifest = work / "manifest.yaml"
    # The builder takes the place of its output from the manifest alone.
    text = MANIFEST.read_text(encoding="utf-8")
    manifest.write_text(
        text.replace("dist:\n", f"dist:\n  output_path: {json.dumps(str(source))}\n", 1), encoding="utf-8"
    )
    _step([str(work / "builder"), "--config", str(manifest), "--skip-compilation"], work)
    line = [
        go,
        "build",
        "-p",
        PARALLEL,
        "-trimpath",
        "-buildvcs=false",
        "-ldflags",
        "-s -w",
        "-o",
        str(work / "made"),
    ]
    _step([*line, "."], source)
    return work / "made"


def _make_telemetrygen(go: str, work: Path) -> Path:
    _step([go, "install", "-p", PARALLEL, "-trimpath", TELEMETRYGEN], work, GOBIN=str(work))
    return work / "telemetrygen"


def _gosender_recipe() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(GOSENDER.iterdir())]


def _make_gosender(go: str, work: Path) -> Path:
    _step(
        [go, "build", "-p", PARALLEL, "-trimpath", "-buildvcs=false", "-o", str(work / "gosender"), "."],
        GOSENDER,
    )
    return work / "gosender"


def _step(line: list[str], folder: Path, **environ: str) -> None:
    print(f"collector: {' '.join(line)}", file=sys.stderr)
    # Neither the caller's module nor his flags have a say in what is built.
    own = {"GOFLAGS": "", "GOWORK": "off", **environ}
    done = subprocess.run(
        line,
        cwd=folder,
        env={**os.environ, **own},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode != 0:
        raise BuildError(f"{line[0]} failed:\n{done.stdout.decode(errors='replace')[-4000:]}")


def _output(line: list[str]) -> str:
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def _cache() -> Path:
    """Return the folder of what was built; none of it is in the checkout."""
    given = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(given) if given else Path.home() / ".cache") / "pipespan" / "collector"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


PROGRAMS: Final[dict[str, tuple[Callable[[], list[str]], Callable[[str, Path], Path]]]] = {
    "collector": (_collector_recipe, _make_collector),
    "telemetrygen": (lambda: [TELEMETRYGEN], _make_telemetrygen),
    "gosender": (_gosender_recipe, _make_gosender),
}
"""For each program what it is made of, and how."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
