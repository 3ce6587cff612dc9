"""What a child needs to know of its parent, whether that lives in this process or in another one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from opentelemetry.context import Context

from pipespan.model.semconv import EXPERIMENT_ID
from pipespan.model.status import NodeLevel


@dataclass(frozen=True, slots=True)
class Experiment:
    """One logical run of a pipeline, as every process that works on it knows it.

    Attributes:
        id: uuid.
        name: name of the root pipeline.
        attempt: which restart, from 1.
        started_at_unix_ns: when the attempt started, as far as this process knows.
        parent_job_id: the job that this process's jobs come from, None in the process that owns the root.
        is_owner: whether this process opened the root and writes the experiment's own row.
        span_attributes: what names the experiment on spans; nothing where the trace id does.
        worker: the rank, among all that were launched, of the process that handed the parent on.
    """

    id: str
    name: str
    attempt: int
    started_at_unix_ns: int
    parent_job_id: str | None
    is_owner: bool
    span_attributes: Mapping[str, str]
    worker: str | None = None


class Parent(Protocol):
    """A node that may get children: a live one of this process, or what was carried over from another."""

    ended_child: str | None
    """Id of the child that ended last."""

    @property
    def experiment(self) -> Experiment:
        """The experiment it belongs to."""

    @property
    def experiment_id(self) -> str:
        """UUID of the experiment."""

    @property
    def job_id(self) -> str:
        """The job, of this very process, that speaks for the node."""

    @property
    def owner_job_id(self) -> str:
        """The job that opened the node, in whatever process."""

    @property
    def node_id(self) -> str:
        """Path from the root."""

    @property
    def level(self) -> NodeLevel:
        """Its level."""

    @property
    def context(self) -> Context:
        """Context in which the node and its span are the current ones."""

    @property
    def parent(self) -> Parent | None:
        """The node above, where known."""

    @property
    def is_ended(self) -> bool:
        """Whether it has its final status."""

    @property
    def is_foreign(self) -> bool:
        """Whether another process owns it: children are marked then, and its progress is not ours to tell."""

    def child_id(self, name: str, key: str | None) -> str:
        """Return the id of a new child, unique under this parent in this process."""


def span_attributes(experiment_id: str, trace_id: int) -> dict[str, str]:
    """Return what has to be said of the experiment on each span: attributes are what a span spends most time on."""
    return {} if UUID(experiment_id).int == trace_id else {EXPERIMENT_ID: experiment_id}


def joining(parent: Parent) -> Experiment:
    """Return the experiment of a parent in another process, as this process joins it."""
    if not parent.is_foreign:
        return parent.experiment
    job_id = parent.owner_job_id
    return replace(parent.experiment, parent_job_id=job_id, is_owner=False)
