"""Every attribute, event, scope, instrument and environment name that pipespan writes or reads.

Names outside `pipespan.*` are those of the OpenTelemetry semantic conventions 1.44.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "pipespan"
"""Name of pipespan's own tracer, meter and event logger."""

# Identity of what a span or a log record belongs to.
EXPERIMENT_ID: Final = "pipespan.experiment.id"
JOB_ID: Final = "pipespan.job.id"
STAGE: Final = "pipespan.stage"
ATTEMPT: Final = "pipespan.attempt"
PIPELINE_NAME: Final = "pipespan.pipeline.name"
EXPERIMENT_PARAMS: Final = "pipespan.experiment.params"
EXPERIMENT_TAGS: Final = "pipespan.experiment.tags"

# A node of the tree.
NODE_PREFIX: Final = "pipespan.node."
NODE_ID: Final = "pipespan.node.id"
NODE_PARENT_ID: Final = "pipespan.node.parent_id"
NODE_LEVEL: Final = "pipespan.node.level"
NODE_NAME: Final = "pipespan.node.name"
NODE_STATUS: Final = "pipespan.node.status"
NODE_OUTCOME: Final = "pipespan.node.outcome"
NODE_WEIGHT: Final = "pipespan.node.weight"
NODE_METADATA: Final = "pipespan.node.metadata"

PROGRESS_COMPLETED: Final = "pipespan.progress.completed"
PROGRESS_TOTAL: Final = "pipespan.progress.total"
PROGRESS_UNIT: Final = "pipespan.progress.unit"
PROGRESS_MESSAGE: Final = "pipespan.progress.message"

# Log records.
LOG_STACK_INFO: Final = "pipespan.log.stack_info"
PERFORMANCE: Final = "pipespan.performance"

# Lifecycle of nodes and processes as log events.
EVENT_NODE_START: Final = "pipespan.node.start"
EVENT_NODE_PROGRESS: Final = "pipespan.node.progress"
EVENT_NODE_END: Final = "pipespan.node.end"
EVENT_NODE_EXCEPTION: Final = "pipespan.node.exception"
EVENT_PROCESS_START: Final = "pipespan.process.start"
EVENT_PROCESS_HEARTBEAT: Final = "pipespan.process.heartbeat"
EVENT_PROCESS_END: Final = "pipespan.process.end"
EVENT_EXPERIMENT_START: Final = "pipespan.experiment.start"
EVENT_EXPERIMENT_END: Final = "pipespan.experiment.end"
EVENT_METRIC: Final = "pipespan.metric"
EVENT_SOURCE: Final = "pipespan.event.source"
EVENT_SEQ: Final = "pipespan.event.seq"
HEARTBEAT_INTERVAL: Final = "pipespan.heartbeat.interval"

# OpenTelemetry attributes.
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
CODE_FUNCTION_NAME: Final = "code.function.name"
CODE_FILE_PATH: Final = "code.file.path"
CODE_LINE_NUMBER: Final = "code.line.number"
THREAD_ID: Final = "thread.id"
THREAD_NAME: Final = "thread.name"
PROCESS_PID: Final = "process.pid"
SERVICE_NAME: Final = "service.name"
CPU_MODE: Final = "cpu.mode"
DISK_IO_DIRECTION: Final = "disk.io.direction"

# OpenTelemetry instruments.
METRIC_CPU_TIME: Final = "process.cpu.time"
METRIC_CPU_UTILIZATION: Final = "process.cpu.utilization"
METRIC_MEMORY_USAGE: Final = "process.memory.usage"
METRIC_MEMORY_VIRTUAL: Final = "process.memory.virtual"
METRIC_THREAD_COUNT: Final = "process.thread.count"
METRIC_FD_COUNT: Final = "process.unix.file_descriptor.count"
METRIC_DISK_IO: Final = "process.disk.io"

# Spans in the words of CI/CD, where that is asked for.
CICD_PIPELINE_NAME: Final = "cicd.pipeline.name"
CICD_PIPELINE_RUN_ID: Final = "cicd.pipeline.run.id"
CICD_PIPELINE_RESULT: Final = "cicd.pipeline.result"
CICD_TASK_NAME: Final = "cicd.pipeline.task.name"
CICD_TASK_RUN_ID: Final = "cicd.pipeline.task.run.id"
CICD_TASK_RESULT: Final = "cicd.pipeline.task.run.result"

# Progress, where it is told as metrics.
METRIC_PROGRESS_COMPLETED: Final = "pipespan.progress.completed"
METRIC_PROGRESS_TOTAL: Final = "pipespan.progress.total"
METRIC_RUNNING_NODES: Final = "pipespan.node.running"
METRIC_OVERFLOW: Final = "otel.metric.overflow"

# OpenTelemetry environment variables that pipespan looks at itself.
ENV_SDK_DISABLED: Final = "OTEL_SDK_DISABLED"
ENV_CONFIG_FILE: Final = "OTEL_CONFIG_FILE"
ENV_SERVICE_NAME: Final = "OTEL_SERVICE_NAME"
ENV_RESOURCE_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
ENV_TRACES_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
ENV_LOGS_EXPORTER: Final = "OTEL_LOGS_EXPORTER"
ENV_METRICS_EXPORTER: Final = "OTEL_METRICS_EXPORTER"
ENV_TRACER_PROVIDER: Final = "OTEL_PYTHON_TRACER_PROVIDER"
ENV_LOGGER_PROVIDER: Final = "OTEL_PYTHON_LOGGER_PROVIDER"
ENV_METER_PROVIDER: Final = "OTEL_PYTHON_METER_PROVIDER"
ENV_TRACES_SAMPLER: Final = "OTEL_TRACES_SAMPLER"
ENV_TRACES_SAMPLER_ARG: Final = "OTEL_TRACES_SAMPLER_ARG"
ENV_BSP_MAX_QUEUE_SIZE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"
ENV_BLRP_MAX_QUEUE_SIZE: Final = "OTEL_BLRP_MAX_QUEUE_SIZE"
ENV_ID_GENERATOR: Final = "OTEL_PYTHON_ID_GENERATOR"
ENV_OTLP_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
ENV_OTLP_TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ENV_OTLP_LOGS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
ENV_OTLP_METRICS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
ENV_OTLP_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
ENV_OTLP_TRACES_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
ENV_OTLP_LOGS_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
ENV_OTLP_METRICS_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"

# Environment variables that a process hands to its children.
ENV_EXPERIMENT_ID: Final = "PIPESPAN_EXPERIMENT_ID"
ENV_PARENT: Final = "PIPESPAN_PARENT"
ENV_ATTEMPT: Final = "PIPESPAN_ATTEMPT"
ENV_STATE_DIR: Final = "PIPESPAN_STATE_DIR"
ENV_DSN: Final = "PIPESPAN_DSN"
ENV_TRACEPARENT: Final = "TRACEPARENT"
ENV_TRACESTATE: Final = "TRACESTATE"
ENV_BAGGAGE: Final = "BAGGAGE"

# Process-wide conventions.
OWN_THREAD_PREFIX: Final = "pipespan-"
"""Every thread that pipespan starts has a name that starts so."""

INTERNAL_LOGGER: Final = "pipespan.internal"
"""Loggers of this name and below speak of pipespan itself; their records are never shipped."""

ENV_SERVE_TOKEN: Final = "PIPESPAN_SERVE_TOKEN"  # noqa: S105 - a name
SERVE_TOKEN_FILE: Final = "serve-token"  # noqa: S105 - a name
"""File of the state folder with the token that a receiver has made."""
