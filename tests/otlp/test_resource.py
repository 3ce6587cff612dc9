"""Whose telemetry it is, where the sender was told by its environment."""

from __future__ import annotations

import uuid

from pipespan.otlp.origin import Origin


def test_a_resource_may_name_the_experiment() -> None:
    """Inside of somebody else's trace the trace id does not tell it; what a record says of itself comes first."""
    told, own, trace = (str(uuid.uuid4()) for _ in range(3))
    origin = Origin({"service.name": "s", "pipespan.experiment.id": told}, 1)
    assert origin.place({}, uuid.UUID(trace).hex, None, 1).experiment_id == told
    assert origin.place({}, None, None, 1).experiment_id == told
    assert origin.place({"pipespan.experiment.id": own}, uuid.UUID(trace).hex, None, 1).experiment_id == own
    damaged = Origin({"pipespan.experiment.id": "no"}, 1)
    assert damaged.place({}, uuid.UUID(trace).hex, None, 1).experiment_id == trace
