"""Whose telemetry it is, where the sender was told by its environment."""

from __future__ import annotations

import uuid

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from pipespan.otlp.origin import Origin


def origin(experiment_id: str) -> Origin:
    named = KeyValue(key="pipespan.experiment.id", value=AnyValue(string_value=experiment_id))
    return Origin(Resource(attributes=[named]), 1)


def test_a_resource_may_name_the_experiment() -> None:
    """Inside of somebody else's trace the trace id does not tell it; what a record says of itself comes first."""
    told, own, trace = (str(uuid.uuid4()) for _ in range(3))
    sender = origin(told)
    assert sender.place({}, uuid.UUID(trace).hex, None, 1).experiment_id == told
    assert sender.place({}, None, None, 1).experiment_id == told
    assert sender.place({"pipespan.experiment.id": own}, uuid.UUID(trace).hex, None, 1).experiment_id == own
    assert origin("no").place({}, uuid.UUID(trace).hex, None, 1).experiment_id == trace
