"""Whose telemetry it is, where the sender was told by its environment."""

from __future__ import annotations

import uuid

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from pipespan.otlp.origin import Origin


def origin_of(**attributes: str) -> Origin:
    """Return the origin of a resource that says so."""
    values = [
        KeyValue(key=name.replace("_", "."), value=AnyValue(string_value=value))
        for name, value in attributes.items()
    ]
    return Origin(Resource(attributes=values), 1)


def test_a_resource_may_name_the_experiment() -> None:
    """Inside of somebody else's trace the trace id does not tell it; what a record says of itself comes first."""
    told, own, trace = (str(uuid.uuid4()) for _ in range(3))
    origin = origin_of(service_name="s", pipespan_experiment_id=told)
    assert origin.place({}, uuid.UUID(trace).hex, None, 1).experiment_id == told
    assert origin.place({}, None, None, 1).experiment_id == told
    assert origin.place({"pipespan.experiment.id": own}, uuid.UUID(trace).hex, None, 1).experiment_id == own
    damaged = origin_of(pipespan_experiment_id="no")
    assert damaged.place({}, uuid.UUID(trace).hex, None, 1).experiment_id == trace
