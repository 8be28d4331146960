"""What a request in OTLP's protobuf encoding tells. Raises MalformedError for what is none.

The parser refuses nesting deeper than 100 by itself (protobuf's own limit).
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_kernel.bridge.told import BIRTH_LEVEL, STEP, STEP_ACTION, Birth, Event, MalformedError, Scalar, Step

Request = TypeVar("Request", bound=Message)

SCALARS = frozenset({"string_value", "int_value", "double_value", "bool_value"})


def births(body: bytes) -> Iterator[Birth]:
    """Yield the births' roots of a request with spans."""
    request = _parsed(ExportTraceServiceRequest(), body)
    for group in request.resource_spans:
        resource = _scalars(group.resource.attributes)
        for span in (span for scope in group.scope_spans for span in scope.spans):
            attributes = _scalars(span.attributes)
            if attributes.get("otel_kernel.level") == BIRTH_LEVEL:
                yield Birth(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    resource,
                    attributes,
                    tuple(_steps(span)),
                )


def events(body: bytes) -> Iterator[Event]:
    """Yield the events of a request with log records."""
    request = _parsed(ExportLogsServiceRequest(), body)
    for group in request.resource_logs:
        resource = _scalars(group.resource.attributes)
        for record in (record for scope in group.scope_logs for record in scope.log_records):
            if record.event_name:
                yield Event(record.event_name, record.time_unix_nano, resource, _scalars(record.attributes))


def nothing(body: bytes) -> Iterator[Event]:
    """Yield nothing of a request with metrics, once it is seen to be one."""
    _parsed(ExportMetricsServiceRequest(), body)
    yield from ()


def _parsed(request: Request, body: bytes) -> Request:
    try:
        request.ParseFromString(body)
    except DecodeError:
        raise MalformedError("the body is not the OTLP message it should be, in protobuf") from None
    return request


def _scalars(attributes: Iterable[KeyValue]) -> dict[str, Scalar]:
    kinds = ((each.key, each.value, each.value.WhichOneof("value")) for each in attributes)
    return {key: getattr(value, kind) for key, value, kind in kinds if kind in SCALARS}


def _steps(span: Span) -> Iterator[Step]:
    for event in span.events:
        if event.name == STEP:
            yield Step(event.time_unix_nano, str(_scalars(event.attributes).get(STEP_ACTION, "")))
