"""Whether pipespan did its work while it was measured: rows that fail are cheap."""

from __future__ import annotations

from dataclasses import replace

import pipespan
from tests.bench.result import Samples


def with_health(samples: Samples) -> Samples:
    """Return `samples` with a fault if rows were lost or anything of pipespan failed."""
    health = pipespan.health()
    lost = health.dropped_rows + health.failed_rows
    if not lost and not health.troubles and health.accepted_rows:
        return samples
    fault = f"{lost} rows lost of {health.accepted_rows}, troubles {health.troubles!r}"
    return replace(samples, fault=fault)
