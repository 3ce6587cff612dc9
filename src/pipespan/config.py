"""Settings: from arguments, the environment and TOML files, in this order of precedence.

This is the only module that reads `os.environ`.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from pipespan.errors import SettingsError

PREFIX: Final = "PIPESPAN_"
_SMALL: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}
_TUNED: Final = "PIPESPAN_TUNED"
_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})
_TAKES: Final = {
    "Path": "a folder",
    "bool": "1 or 0",
    "int": "a whole number from 1 on",
    "float": "seconds, 0 or more",
    "experiment_id": "a UUID",
}


def _setting(default: Any, doc: str, *, is_shown: bool = True) -> Any:
    """Return a field; one that may hold a password is not shown in the settings' `repr`."""
    return field(default=default, repr=is_shown, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set. Each field is `PIPESPAN_<NAME>` in the environment and `<name>` in TOML."""

    state_dir: Path = field(
        default=Path(),
        metadata={
            "doc": "Folder of the spool and the embedded database. Default: the platform's state folder."
        },
    )
    dsn: str | None = _setting(
        None,
        "Postgres to write to and read from (URL or conninfo). Default: the embedded server.",
        is_shown=False,
    )
    schema: str | None = _setting(
        None,
        "Schema of the tables; `pipespan db migrate` makes it. Default: the first one of the search path.",
    )
    disabled: bool = _setting(False, "Turn everything into no-ops.")
    experiment_id: str | None = _setting(None, "UUID of the experiment that the next pipeline belongs to.")
    parent: str | None = _setting(None, "Set for child processes: the node they belong to.")
    attempt: int = _setting(1, "Which restart of the experiment this is, from 1.")
    flush_interval_s: float = _setting(0.9, "How often the spool is shipped to the database.")
    progress_interval_s: float = _setting(0.9, "How often progress of a node is recorded at most.")
    heartbeat_interval_s: float = _setting(5.0, "How often a process records that it lives.")
    sample_interval_s: float = _setting(2.0, "How often resources are sampled for peaks and gauges.")
    metrics_interval_s: float = _setting(
        10.0, "How often a resource sample goes into the table; 0 turns it off."
    )
    exit_timeout_s: float = _setting(2.0, "How long the exit of a process waits for the database at most.")
    away_alarm_s: float = _setting(
        60.0, "After so long in which the database takes nothing, an event of type `alarm` tells it."
    )
    spool_max_bytes: int = _setting(
        2 << 30, "How large one process's spool may grow while the database is away."
    )
    segment_bytes: int = _setting(8 << 20, "Size at which a segment of the spool is closed.")
    batch_bytes: int = _setting(3 << 20, "How much is shipped in one transaction at most.")
    capture_logs: bool = _setting(True, "Record what goes through `logging` while a pipeline runs.")
    lifecycle_events: bool = _setting(
        True, "Tell of nodes and processes as log events where logs go to OpenTelemetry."
    )
    cicd_attributes: bool = _setting(
        False, "Put `cicd.*` names, ids and results on spans too, for backends that show CI/CD runs."
    )
    progress_metrics: bool = _setting(
        False, "Tell of the progress of pipelines and phases as metrics, where metrics go to OpenTelemetry."
    )
    watch: bool = _setting(
        True, "Look for stalls and for memory that runs out; off, only questions from others are answered."
    )
    expect_progress_every_s: float = _setting(
        0.0,
        "How often each node is expected to move, where its scope says nothing; 0 learns it from its pace.",
    )
    stall_floor_s: float = _setting(30.0, "What is learnt of a node's pace never expects it to move sooner.")
    hang_timer_s: float = _setting(
        20.0, "After so long without the interpreter, stacks are written by a timer in C; 0 turns it off."
    )
    memory_limit_bytes: int | None = _setting(
        None,
        "Memory that the process may use. Default: the limit of its control group, or the host's memory.",
    )
    log_level: str = _setting("INFO", "Lowest level that `pipespan.get_logger` records.")
    serve_token: str | None = _setting(
        None,
        "What senders must show to `pipespan serve`. Default: one that is made and kept in the state folder.",
    )
    otlp_nodes: str = _setting(
        "", "Which spans of other programs become nodes: scopes or attribute=value, by commas, `!` keeps out."
    )
    redact: str = _setting(
        "on",
        "Hide secrets in what is recorded: `on`, `off`, or items such as `key:pin; value:hunter2; regex:CARD-[0-9]+; "
        "keep:token_name` that add to it.",
        is_shown=False,
    )
    watcher: bool = _setting(
        True,
        "Have a small process look after the processes of this user, so that deaths are told within seconds, and ship "
        "for all of them.",
    )
    retain: bool = _setting(
        True, "Let this process remove old rows now and then, by the rules that are set for the database."
    )
    store: str = _setting(
        "postgres",
        "Where rows go: `postgres`; `otlp`, out as telemetry alone; or `none` to keep them in the spool.",
    )

    def spool_dir(self) -> Path:
        """Return the folder of the streams."""
        return self.state_dir / "spool"


def load_settings(
    environ: Mapping[str, str] | None = None, cwd: Path | None = None, **overrides: Any
) -> Settings:
    """Return the settings in force: `overrides`, else the environment, else TOML, else defaults.

    Args:
        environ: instead of the process's environment.
        cwd: where `pipespan.toml` or `pyproject.toml` is looked for, and above it; the working folder by default.
        overrides: values by field name; None means not given.

    Raises:
        SettingsError: a value cannot be understood, or a name is unknown.
    """
    environ = os.environ if environ is None else environ
    values = _from_toml(_working_folder() if cwd is None else cwd)
    known = {one.name: one for one in fields(Settings)}
    for name in known:
        text = environ.get(PREFIX + name.upper())
        if text or (
            text is not None and name != "state_dir"
        ):  # an empty folder would mean the working folder
            values[name] = text
    values.update({name: value for name, value in overrides.items() if value is not None})
    for name in values:
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}; known are {', '.join(sorted(known))}")
    if "state_dir" not in values:
        values["state_dir"] = _default_state_dir()
    return Settings(**{name: _convert(name, value, str(known[name].type)) for name, value in values.items()})


def otel_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the `OTEL_*` variables of the environment."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if name.startswith("OTEL_")}


def tuned_for_memory(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` such that a Python process started with it stays small, unless it says otherwise.

    glibc keeps memory apart for each thread, which pays where threads compete for it, and keeps what was freed: 3 MB
    in a supervisor.
    """
    added = {name: value for name, value in _SMALL.items() if name not in environ}
    return {**environ, **added, _TUNED: ",".join(added)} if added else {**environ}


def forget_tuning() -> None:
    """Take what `tuned_for_memory` added out of this process's environment, before it starts others."""
    for name in os.environ.pop(_TUNED, "").split(","):
        if name in _SMALL:
            os.environ.pop(name, None)


def process_environment() -> dict[str, str]:
    """Return a copy of the environment, for child processes."""
    return dict(os.environ)


def with_overrides(settings: Settings, **overrides: Any) -> Settings:
    """Return `settings` with some values changed, converted as `load_settings` does."""
    known = {one.name: str(one.type) for one in fields(Settings)}
    for name in overrides:
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}; known are {', '.join(sorted(known))}")
    return replace(
        settings, **{name: _convert(name, value, known[name]) for name, value in overrides.items()}
    )


def _working_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # the folder was removed under the process
        return None


def _default_state_dir() -> Path:
    import platformdirs  # noqa: PLC0415 - not needed when the folder is given, as in tests and services

    return Path(platformdirs.user_state_dir("pipespan", appauthor=False))


def _from_toml(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    for place in (folder, *folder.parents):
        for name, section in (("pipespan.toml", ()), ("pyproject.toml", ("tool", "pipespan"))):
            found = _read_toml(place / name, section)
            if found is not None:
                return found
    return {}


def _read_toml(path: Path, section: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        content: Any = _parse_toml(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        if section:
            return None  # somebody else's file; they will hear of it from its owner
        raise SettingsError(f"cannot read {str(path)!r}: {error}; mend or remove it") from error
    for key in section:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else None


def _parse_toml(text: str) -> dict[str, Any]:
    # Imported here: most programs have no such file, and the parser takes 2 MB.
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 - see above
    else:
        import tomli as tomllib  # noqa: PLC0415 - see above
    return tomllib.loads(text)


def _convert(name: str, value: Any, kind: str) -> Any:
    kind = kind.removesuffix(" | None")
    if name == "redact":
        return _to_items(value)
    try:
        if kind == "Path":
            # Absolute: the program may change its working folder while rows are on their way.
            return Path(value).expanduser().absolute()
        if kind == "bool":
            return _to_bool(value)
        if kind == "int":
            return _to_count(value)
        if kind == "float":
            return _to_seconds(value)
        if name == "experiment_id" and value:
            return str(uuid.UUID(str(value)))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SettingsError(
            f"cannot understand {PREFIX}{name.upper()} = {value!r}; it takes {_TAKES.get(name) or _TAKES[kind]}"
        ) from error
    text = str(value)
    return text or None if name in {"dsn", "schema", "experiment_id", "parent"} else text


def _to_items(value: Any) -> str:
    """Return the items of `redact` as one text: in TOML they may be a list, or a bool."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return "\n".join(str(item).replace(";", "\\;") for item in value)
    return str(value)


def _to_count(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError(value)
    return number


def _to_seconds(value: Any) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError(value)
    return number


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(value)
