"""pipespan joins what there is, makes what is asked for, and leaves the rest alone."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from pipespan.otel.providers import OwnedProvider, Providers, exporters_asked
from pipespan.otel.sdkconfig import HashedResource, build_provider

Run = Callable[..., subprocess.CompletedProcess[str]]

JOIN = """
import json, os, sys, warnings
from pipespan.otel.providers import join_providers
def told():
    providers = join_providers(os.environ, "nightly.py")
    return providers, {
        "traces": type(providers.tracer).__name__,
        "logs": type(providers.logger).__name__,
        "metrics": type(providers.meter).__name__,
        "owned": len(providers.owned),
    }
"""


def joined(run: Run, source: str, **environment: str) -> dict[str, object]:
    """Run `source` after the preamble; it prints one JSON object as its last line."""
    done = run(JOIN + source, **environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize(
    ("environ", "asked"),
    [
        ({}, {"traces": (), "logs": (), "metrics": ()}),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
            {"traces": ("otlp",), "logs": ("otlp",), "metrics": ("otlp",)},
        ),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_METRICS_EXPORTER": "none"},
            {"traces": ("otlp",), "logs": ("otlp",), "metrics": ()},
        ),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "x"}, {"traces": (), "logs": ("otlp",), "metrics": ()}),
        (
            {"OTEL_TRACES_EXPORTER": " console, otlp ", "OTEL_LOGS_EXPORTER": ""},
            {"traces": ("console", "otlp"), "logs": (), "metrics": ()},
        ),
    ],
)
def test_environment_asks_signal_by_signal(
    environ: dict[str, str], asked: dict[str, tuple[str, ...]]
) -> None:
    """A signal is exported when its exporter or an endpoint is named, and `none` switches it off."""
    assert {signal: exporters_asked(signal, environ) for signal in ("traces", "logs", "metrics")} == asked


def test_nothing_asked_nothing_joined(run_program: Run) -> None:
    """Without configuration there are no providers and the SDK is not imported."""
    answer = joined(
        run_program,
        "_, answer = told(); answer['sdk'] = any(n.startswith('opentelemetry.sdk') for n in sys.modules)\n"
        "print(json.dumps(answer))",
    )
    assert answer == {
        "traces": "NoneType", "logs": "NoneType", "metrics": "NoneType", "owned": 0, "sdk": False,
    }  # fmt: skip


def test_asked_signals_are_made_and_set(run_program: Run) -> None:
    """What the environment asks for is made, named after the program and set for everybody."""
    answer = joined(
        run_program,
        """
from opentelemetry import trace
from opentelemetry._logs import get_logger_provider
providers, answer = told()
answer["global"] = trace.get_tracer_provider() is providers.tracer and get_logger_provider() is providers.logger
answer["service"] = providers.tracer.resource.attributes["service.name"]
again, _ = told()
answer["again"] = len(again.owned)
assert again.tracer is providers.tracer
with trace.get_tracer("x").start_as_current_span("mine"):
    pass
answer["done"] = providers.shutdown().wait(5.0)
print()
print(json.dumps(answer))
""",
        OTEL_TRACES_EXPORTER="console",
        OTEL_LOGS_EXPORTER="console",
    )
    assert answer == {
        "traces": "TracerProvider", "logs": "LoggerProvider", "metrics": "NoneType", "owned": 2,
        "global": True, "service": "nightly.py", "again": 0, "done": True,
    }  # fmt: skip


def test_name_of_the_service_is_the_environments(run_program: Run) -> None:
    """A service name that is set is not replaced by the program's."""
    source = """
providers, answer = told()
print(json.dumps({"service": providers.tracer.resource.attributes["service.name"]}))
"""
    for environment in ({"OTEL_SERVICE_NAME": "etl"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=etl"}):
        answer = joined(run_program, source, OTEL_TRACES_EXPORTER="console", **environment)
        assert answer == {"service": "etl"}


def test_providers_of_the_program_are_joined(run_program: Run) -> None:
    """An SDK provider that the program has set is used, not owned; the other signals follow the environment."""
    answer = joined(
        run_program,
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
mine = TracerProvider(shutdown_on_exit=False)
trace.set_tracer_provider(mine)
providers, answer = told()
answer["mine"] = providers.tracer is mine
print(json.dumps(answer))
""",
        OTEL_LOGS_EXPORTER="console",
    )
    assert answer == {
        "traces": "TracerProvider", "logs": "LoggerProvider", "metrics": "NoneType", "owned": 1, "mine": True,
    }  # fmt: skip


def test_foreign_provider_is_left_alone(run_program: Run) -> None:
    """A provider that is not the SDK's stays the program's own; what the environment asks for is ours alone."""
    answer = joined(
        run_program,
        """
from opentelemetry import trace
class Foreign(trace.NoOpTracerProvider): pass
trace.set_tracer_provider(Foreign())
_, answer = told()
answer["global"] = type(trace.get_tracer_provider()).__name__
print(json.dumps(answer))
""",
        OTEL_TRACES_EXPORTER="console",
    )
    assert answer == {
        "traces": "TracerProvider", "logs": "NoneType", "metrics": "NoneType", "owned": 1, "global": "Foreign",
    }  # fmt: skip


def test_foreign_provider_and_nothing_asked_is_nothing(run_program: Run) -> None:
    """Without configuration nothing is made beside it."""
    answer = joined(
        run_program,
        """
from opentelemetry import trace
class Foreign(trace.NoOpTracerProvider): pass
trace.set_tracer_provider(Foreign())
print(json.dumps(told()[1]))
""",
    )
    assert (answer["traces"], answer["owned"]) == ("NoneType", 0)


def test_provider_behind_another_ones_is_joined(run_program: Run) -> None:
    """Who hands on to a provider of the SDK by `provider`, as Logfire does, is joined there, whatever its name."""
    answer = joined(
        run_program,
        """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
class ProxyTracerProvider(trace.TracerProvider):
    provider = TracerProvider(shutdown_on_exit=False)
    def get_tracer(self, *args, **kwargs): return self.provider.get_tracer(*args, **kwargs)
trace.set_tracer_provider(ProxyTracerProvider())
providers, answer = told()
answer["behind"] = providers.tracer is ProxyTracerProvider.provider
print(json.dumps(answer))
""",
        OTEL_TRACES_EXPORTER="console",
    )
    assert (answer["traces"], answer["owned"], answer["behind"]) == ("TracerProvider", 0, True)


def test_disabled_sdk_is_not_joined(run_program: Run) -> None:
    """OTEL_SDK_DISABLED switches all signals off."""
    answer = joined(
        run_program, "print(json.dumps(told()[1]))", OTEL_TRACES_EXPORTER="console", OTEL_SDK_DISABLED="true"
    )
    assert answer["traces"] == "NoneType"


@pytest.mark.parametrize(
    "environment",
    [
        {"OTEL_TRACES_EXPORTER": "nowhere"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "smoke"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_TRACES_SAMPLER": "dice"},
        {"OTEL_CONFIG_FILE": "missing.yaml"},
    ],
)
def test_wrong_configuration_is_told_and_does_no_harm(environment: dict[str, str], run_program: Run) -> None:
    """An exporter, protocol, sampler or file that is not there costs one warning and that signal."""
    done = run_program(JOIN + "print(json.dumps(told()[1]))", **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["traces"] == "NoneType"
    assert "OpenTelemetry" in done.stderr


def test_exit_with_a_dead_collector_is_bounded(run_program: Run) -> None:
    """Shutting down waits no longer than told, although nobody answers at the endpoint."""
    answer = joined(
        run_program,
        """
import logging, time
from opentelemetry import trace
logging.disable()
providers, answer = told()
with trace.get_tracer("x").start_as_current_span("lost"):
    pass
began = time.monotonic()
in_time = providers.shutdown().wait(0.3)
print(json.dumps({"in_time": in_time, "quick": time.monotonic() - began < 2.0}))
""",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:9/v1/traces",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
    )
    assert answer == {"in_time": False, "quick": True}


class Recording:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def force_flush(self) -> None:
        self.asked.append("flush")
        raise RuntimeError("exporter")

    def shutdown(self) -> None:
        self.asked.append("shutdown")


def test_the_resource_is_one_of_the_sdk() -> None:
    """Equal to it and with its hash, which is asked for with each record, so that it is remembered."""
    attributes: dict[str, Any] = {"service.name": "nightly.py", "list": ("a", "b"), "number": 1}
    own, theirs = HashedResource(attributes, "https://schema"), Resource(attributes, "https://schema")
    assert own == theirs
    assert hash(own) == hash(theirs)
    assert own != HashedResource({**attributes, "number": 2}, "https://schema")
    assert own.merge(Resource({"more": 1})).attributes["more"] == 1


def test_the_hash_of_a_resource_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers that are made here have such a resource: no JSON is written for each record."""
    provider = build_provider("logs", (), {}, "nightly.py")
    expected = hash(provider.resource)
    monkeypatch.setattr("opentelemetry.sdk.resources.dumps", None)
    assert hash(provider.resource) == expected
    provider.shutdown()


def test_a_provider_that_the_environment_names_is_joined(run_program: Run) -> None:
    """The API makes it when it is first asked for one, so nobody has loaded the SDK before."""
    named = {
        f"OTEL_PYTHON_{kind.upper()}_PROVIDER": f"sdk_{kind}_provider"
        for kind in ("tracer", "logger", "meter")
    }
    found = joined(run_program, "print(json.dumps(told()[1]))", **named)
    assert found == {
        "traces": "TracerProvider",
        "logs": "LoggerProvider",
        "metrics": "MeterProvider",
        "owned": 0,
    }


def test_owned_provider_survives_its_exporters() -> None:
    """A flush that raises is over, and the shutdown afterwards still happens."""
    provider = Recording()
    providers = Providers(owned=(OwnedProvider(provider),))
    began = time.monotonic()
    assert providers.flush().wait(5.0)
    assert providers.shutdown().wait(5.0)
    assert time.monotonic() - began < 4.0
    assert provider.asked == ["flush", "shutdown"]


def test_forked_child_flushes_by_a_thread_of_its_own(run_program: Run) -> None:
    """A child process that inherits a provider can still flush and close it."""
    done = run_program(
        """
import os, sys, warnings
warnings.simplefilter("ignore")
from opentelemetry.sdk.resources import Resource

from pipespan.otel.sdkconfig import HashedResource
from pipespan.otel.providers import OwnedProvider
class Provider:
    def shutdown(self): sys.stdout.write("down\\n"); sys.stdout.flush()
owned = OwnedProvider(Provider())
pid = os.fork()
if pid == 0:
    os._exit(0 if owned.begin_shutdown().wait(10) else 1)
print("child", os.waitpid(pid, 0)[1])
"""
    )
    assert done.stdout.split() == ["down", "child", "0"], done.stderr
