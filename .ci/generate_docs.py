"""Write the reference pages that are made from the code: docs/reference/cli.md and settings.md.

    python .ci/generate_docs.py [--check]

With `--check` nothing is written; the exit status is 1 when a page is not what it would be.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
_NOTICE = "<!-- Made by .ci/generate_docs.py; change the code, then run it again. -->"
_SETTINGS_INTRO = """\
Every setting has one name, spelled in three ways: as a keyword of `pipespan.configure(...)`, as an
environment variable, and as a key of a TOML file. A value given in the program wins over the environment, the
environment wins over the file, and the file over the default. The file is `pipespan.toml`, or the table
`[tool.pipespan]` of `pyproject.toml`: the first of them that is found in the working folder or above it.

Booleans are written as `1`, `true`, `yes`, `on` or `0`, `false`, `no`, `off`. Names that end in `_s` are
seconds, names that end in `_bytes` are bytes.
"""
_SETTINGS_END = """\
## OpenTelemetry's own variables

pipespan adds no second name for what OpenTelemetry already names. `OTEL_EXPORTER_OTLP_ENDPOINT` (and its
relatives per signal) switches the OTLP export on, `OTEL_EXPORTER_OTLP_PROTOCOL` and
`OTEL_EXPORTER_OTLP_HEADERS` shape it, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` describe the
program, `OTEL_TRACES_SAMPLER` decides what is exported over OTLP (never what reaches Postgres), and
`OTEL_SDK_DISABLED` leaves the tables as the only receiver. See
[Send to an OTLP backend](../howto/otlp-backend.md).
"""


def pages() -> Iterator[tuple[str, str]]:
    """Give the generated pages, by file name."""
    yield "settings.md", "".join(_settings_page())
    yield "cli.md", "".join(_cli_page())


def _cli_page() -> Iterator[str]:
    from pipespan.cli.app import cli as root

    yield f"# Command line\n\n{_NOTICE}\n\n"
    yield (
        "Commands that read take a reference to an experiment: its name (the newest of that name), its\n"
        "id, the beginning of its id, or `last`. A reference that fits nothing, or more than one thing,\n"
        "gives one line on standard error and exit status 2.\n\n"
        "The options of `pipespan` itself may stand before or after the command's name.\n\n"
    )
    context = click.Context(root, info_name="pipespan")
    yield from _command("pipespan", root, context)


def _command(path: str, command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {path}\n\n"
    yield f"```text\n{' '.join([path, *command.collect_usage_pieces(context)])}\n```\n\n"
    if command.help:
        yield f"{_paragraphs(command.help)}\n\n"
    shared = context.find_root().command.params if context.parent is not None else []
    hidden = {name for option in shared for name in option.opts}
    rows = [
        _option(one, context)
        for one in command.params
        if isinstance(one, click.Option) and not one.hidden and hidden.isdisjoint(one.opts)
    ]
    if rows:
        yield "| option | meaning |\n|---|---|\n"
        yield from (f"| {name} | {meaning} |\n" for name, meaning in rows)
        yield "\n"
    if isinstance(command, click.Group):
        children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        for name, child in children:
            if child is not None and not child.hidden:
                yield from _command(
                    f"{path} {name}", child, click.Context(child, info_name=name, parent=context)
                )


def _paragraphs(text: str) -> str:
    return inspect.cleandoc(text).replace("\b\n", "").split("\f")[0].strip()


def _option(option: click.Option, context: click.Context) -> tuple[str, str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if not option.is_flag and not option.count:
        names += f" `{option.make_metavar(context)}`"
    meaning = [_one_line(option.help or "")]
    variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    if variables:
        meaning.append(f"From the environment: {', '.join(f'`{name}`' for name in variables)}.")
    if option.show_default and option.default is not None:
        meaning.append(f"Default: `{option.default}`.")
    return _cell(names), _cell(" ".join(meaning))


def _settings_page() -> Iterator[str]:
    from pipespan.config import PREFIX, Settings

    yield f"# Settings\n\n{_NOTICE}\n\n{_SETTINGS_INTRO}\n"
    yield "| setting | environment | type | default | meaning |\n|---|---|---|---|---|\n"
    for field in dataclasses.fields(Settings):
        meaning = _one_line(field.metadata["doc"])
        default = "" if "Default:" in meaning else _default(field.default)
        kind = str(field.type).replace(" | None", "")
        yield f"| `{field.name}` | `{PREFIX}{field.name.upper()}` | {kind} | {default} | {_cell(meaning)} |\n"
    yield f"\n{_SETTINGS_END}"


def _default(value: Any) -> str:
    return "" if value is None or value is dataclasses.MISSING else f"`{value}`"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write or check the pages; return the exit status."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = []
    for name, text in pages():
        path = REFERENCE / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not arguments:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"wrote docs/reference/{name}")
    if arguments and stale:
        print(f"not current: {', '.join(stale)}; run: python .ci/generate_docs.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
