"""OTLP/JSON, as the collector's file exporter writes it and reads it back: one request a line.

Written out by hand: `google.protobuf.json_format` writes base64 ids, which are not OTLP/JSON, and takes four times as
long. Only what our encoders say is written. Ids are hexadecimal, 64-bit integers decimal strings, enumerations numbers,
names lowerCamelCase. (Specification, protocol/otlp: JSON Protobuf Encoding.)
"""

import json
import math
from collections.abc import Iterable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

Json = dict[str, object]

dumps = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def json_line(request: bytes) -> bytes:
    """Return a serialised `ExportTraceServiceRequest` as one line of OTLP/JSON, ASCII, with its line feed."""
    message = ExportTraceServiceRequest.FromString(request)
    return line({"resourceSpans": [_resource_spans(each) for each in message.resource_spans]})


def line(request: Json) -> bytes:
    """Return one request as a line."""
    return dumps(request).encode("ascii") + b"\n"


def _resource_spans(message: ResourceSpans) -> Json:
    return {
        "resource": resource(message.resource),
        "scopeSpans": [_scope_spans(each) for each in message.scope_spans],
        "schemaUrl": message.schema_url,
    }


def _scope_spans(message: ScopeSpans) -> Json:
    return {
        "scope": scope(message.scope),
        "spans": [_span(each) for each in message.spans],
        "schemaUrl": message.schema_url,
    }


def resource(message: Resource) -> Json:
    """Return a resource."""
    return {"attributes": attributes(message.attributes)}


def scope(message: InstrumentationScope) -> Json:
    """Return an instrumentation scope."""
    return {"name": message.name, "version": message.version}


def _span(message: Span) -> Json:
    span: Json = {"traceId": message.trace_id.hex(), "spanId": message.span_id.hex()}
    if message.parent_span_id:
        span["parentSpanId"] = message.parent_span_id.hex()
    span |= {
        "flags": message.flags,
        "name": message.name,
        "kind": message.kind,
        "startTimeUnixNano": str(message.start_time_unix_nano),
        "endTimeUnixNano": str(message.end_time_unix_nano),
        "attributes": attributes(message.attributes),
    }
    if message.events:
        span["events"] = [_event(event) for event in message.events]
    if message.dropped_events_count:
        span["droppedEventsCount"] = message.dropped_events_count
    if message.links:
        span["links"] = [_link(link) for link in message.links]
    return span | {"status": _status(message.status)}


def _event(message: Span.Event) -> Json:
    return {
        "timeUnixNano": str(message.time_unix_nano),
        "name": message.name,
        "attributes": attributes(message.attributes),
    }


def _link(message: Span.Link) -> Json:
    return {
        "traceId": message.trace_id.hex(),
        "spanId": message.span_id.hex(),
        "attributes": attributes(message.attributes),
        "flags": message.flags,
    }


def _status(message: Status) -> Json:
    if message.code == Status.STATUS_CODE_UNSET:
        return {}
    return ({"message": message.message} if message.message else {}) | {"code": message.code}


def attributes(messages: Iterable[KeyValue]) -> list[Json]:
    """Return attributes in their order."""
    return [{"key": message.key, "value": _value(message.value)} for message in messages]


def _value(message: AnyValue) -> Json:
    match message.WhichOneof("value"):
        case "string_value":
            return {"stringValue": message.string_value}
        case "int_value":
            return {"intValue": str(message.int_value)}
        case "bool_value":
            return {"boolValue": message.bool_value}
        case "double_value":
            return {"doubleValue": double(message.double_value)}
        case _:
            return {"arrayValue": {"values": [_value(item) for item in message.array_value.values]}}


def double(value: float) -> float | str:
    """Return a number; JSON has none for not-a-number and the infinities, protobuf's JSON has words for them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
