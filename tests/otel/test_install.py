"""`logging` works for the program as if nothing were attached."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

ATTACH = """
import logging, logging.config, sys
from pipespan.otel.handler import RowLogHandler
from pipespan.otel.install import RootAttachment

class Node:
    experiment_id, job_id, node_id, is_foreign = "e", "j", "train/load", False

class Sink:
    messages = []
    def write(self, row):
        self.messages.append(row.message)
    def write_log(self, experiment_id, level, message, line):
        self.messages.append(message)

handler = RowLogHandler(lambda context: Node, Sink())
attachment = RootAttachment(handler)
"""

PROGRAMS = {
    "no configuration": """
logging.warning("root warning")
logging.getLogger("a.b").error("child error")
logging.getLogger("a.b").info("child info")
""",
    "no handlers anywhere, loggers only": """
logging.getLogger("a.b").error("child error")
print("has", logging.getLogger("a.b").hasHandlers(), logging.root.hasHandlers())
""",
    "basicConfig later": """
logging.basicConfig(level="INFO", format="%(levelname)s:%(message)s")
logging.getLogger("a.b").info("child info")
logging.basicConfig(level="DEBUG", format="again %(message)s")
logging.getLogger("a.b").debug("not shown")
""",
    "basicConfig with force": """
logging.basicConfig(format="first %(message)s")
logging.basicConfig(format="second %(message)s", force=True)
logging.warning("w")
""",
    "dictConfig": """
logging.config.dictConfig({
    "version": 1,
    "formatters": {"f": {"format": "dict %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "root": {"level": "INFO", "handlers": ["h"]},
})
logging.getLogger("a.b").info("child info")
""",
    "handlers removed": """
logging.basicConfig(format="x %(message)s")
logging.root.handlers.clear()
logging.getLogger("a.b").warning("bare")
""",
    "own handler without propagation": """
logger = logging.getLogger("own")
logger.propagate = False
logger.addHandler(logging.StreamHandler())
logger.warning("own only")
""",
    "handler on the child only": """
logger = logging.getLogger("own")
logger.addHandler(logging.StreamHandler())
logger.warning("once")
""",
    "lastResort off": """
logging.lastResort = None
logging.getLogger("a").warning("nobody")
logging.getLogger("a").warning("nobody again")
""",
    "root at NOTSET": """
logging.root.setLevel(logging.NOTSET)
print(logging.getLogger("a").getEffectiveLevel())
logging.getLogger("a").debug("quiet")
logging.getLogger("a").warning("loud")
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_prints_the_same_with_and_without_us(name: str, run_program: Run) -> None:
    """Whatever a program does with `logging`, its output does not change when we are attached."""
    source = PROGRAMS[name]
    preamble = ATTACH
    without = run_program(preamble + source)
    attached = run_program(preamble + "attachment.ensure_attached()" + source)
    assert without.returncode == 0, without.stderr
    assert (attached.stdout, attached.stderr) == (without.stdout, without.stderr)


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("no configuration", ["root warning", "child error"]),
        ("basicConfig later", ["child info"]),
        ("basicConfig with force", ["w"]),
        ("dictConfig", ["child info"]),
        ("handlers removed", ["bare"]),
        ("own handler without propagation", []),
        ("root at NOTSET", ["quiet", "loud"]),
    ],
)
def test_records_are_taken_however_logging_is_configured(
    name: str, messages: list[str], run_program: Run
) -> None:
    """Records that reach the root reach us, also after the root was configured anew."""
    done = run_program(ATTACH + "attachment.ensure_attached()" + PROGRAMS[name] + "\nprint(Sink.messages)")
    assert done.stdout.splitlines()[-1] == str(messages)


def test_detach_restores_everything(run_program: Run) -> None:
    """After the end nothing of ours is left, whichever came first of two attachments."""
    done = run_program(
        ATTACH
        + """
before = vars(logging.root).copy()
other = RootAttachment(handler)
attachment.ensure_attached(); attachment.ensure_attached(); other.ensure_attached(); attachment.ensure_attached()
logging.root.warning("twice")
attachment.detach(); logging.root.warning("once"); other.detach(); other.detach()
logging.root.warning("none")
assert vars(logging.root) == before
print(Sink.messages)
"""
    )
    assert done.stdout.strip() == "['twice', 'twice', 'once']", done.stderr
    assert done.stderr.split() == ["twice", "once", "none"]


def test_bridges_of_opentelemetry_are_found(run_program: Run) -> None:
    """A bridge that feeds an SDK provider counts; one that feeds nobody, and other handlers, do not."""
    done = run_program(
        """
import logging
from opentelemetry._logs import set_logger_provider
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from pipespan.otel.install import bridge_present, bridge_provider

root = logging.root
root.addHandler(logging.StreamHandler())
print(bridge_present(root))
early = LoggingHandler()
root.addHandler(early)
print(bridge_present(root))
provider = LoggerProvider(shutdown_on_exit=False)
set_logger_provider(provider)
print(bridge_provider(root) is provider)
"""
    )
    assert done.stdout.split() == ["False", "False", "True"], done.stderr


def test_no_sdk_is_imported_without_a_provider(run_program: Run) -> None:
    """A program without OpenTelemetry pays no import of the SDK for its log records and spans."""
    done = run_program(
        ATTACH
        + """
from opentelemetry.context import Context
from pipespan.otel.providers import join_providers
from pipespan.otel.spans import PlainSpans
attachment.ensure_attached()
logging.error("x", exc_info=ValueError("y"))
providers = join_providers({}, "program")
assert providers.tracer is providers.logger is providers.meter is None
PlainSpans().start("n", parent=Context(), start_time_unix_ns=0, attributes={}, trace_id=None)
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""
    )
    assert done.stdout.strip() == "[]", done.stderr
