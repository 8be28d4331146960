"""The signals of OTLP as we send them: where each goes, how long it is worth sending, and what counts its losses."""

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_kernel.health import Counter

Answer = ExportTraceServiceResponse | ExportMetricsServiceResponse | ExportLogsServiceResponse


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted of one signal's way to the collector."""

    retries: Counter
    refused: Counter
    dropped: Counter
    expired: Counter
    rejected: Counter


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal. `grpc_method` and `http_path` are those of the specification (protocol/otlp)."""

    subject: str  # what it holds, for people
    items: str  # what a partial success counts, for people
    grpc_method: str
    http_path: str
    read_answer: Callable[[bytes], Answer]
    rejected_field: str
    counters: Counters
    bound_bytes: int  # what may wait for the collector; the bounds are apart so that no signal pushes out another
    lifetime_s: float | None = None  # what waited longer is not sent any more; None: it is sent in the end


TRACES = Signal(
    subject="births",
    items="spans",
    grpc_method="/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    http_path="/v1/traces",
    read_answer=ExportTraceServiceResponse.FromString,
    rejected_field="rejected_spans",
    counters=Counters(
        Counter.EXPORT_RETRIES,
        Counter.EXPORT_REFUSED,
        Counter.EXPORT_DROPPED,
        Counter.EXPORT_DROPPED,
        Counter.SPANS_REJECTED,
    ),
    bound_bytes=16 << 20,  # some hundred births; what the memory of the agent allows for
)
METRICS = Signal(
    subject="metrics",
    items="points",
    grpc_method="/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    http_path="/v1/metrics",
    read_answer=ExportMetricsServiceResponse.FromString,
    rejected_field="rejected_data_points",
    counters=Counters(
        Counter.METRICS_RETRIES,
        Counter.METRICS_REFUSED,
        Counter.METRICS_DROPPED,
        Counter.METRICS_EXPIRED,
        Counter.POINTS_REJECTED,
    ),
    bound_bytes=4 << 20,
    # Prometheus refuses a whole request, other pods' points too, for one point older than its out-of-order window.
    lifetime_s=15 * 60.0,
)
LOGS = Signal(
    subject="events",
    items="events",
    grpc_method="/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    http_path="/v1/logs",
    read_answer=ExportLogsServiceResponse.FromString,
    rejected_field="rejected_log_records",
    counters=Counters(
        Counter.LOGS_RETRIES,
        Counter.LOGS_REFUSED,
        Counter.LOGS_DROPPED,
        Counter.LOGS_DROPPED,
        Counter.RECORDS_REJECTED,
    ),
    bound_bytes=1 << 20,
)
