"""Log events as OTLP/JSON; the rules are those of `otlp_json`."""

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2 as otlp

from otel_kernel.telemetry.otlp_json import Json, attributes, line, resource, scope


def logs_line(request: bytes) -> bytes:
    """Return a serialised `ExportLogsServiceRequest` as one line of OTLP/JSON, ASCII, with its line feed."""
    message = ExportLogsServiceRequest.FromString(request)
    return line({"resourceLogs": [_resource_logs(each) for each in message.resource_logs]})


def _resource_logs(message: otlp.ResourceLogs) -> Json:
    return {
        "resource": resource(message.resource),
        "scopeLogs": [_scope_logs(each) for each in message.scope_logs],
        "schemaUrl": message.schema_url,
    }


def _scope_logs(message: otlp.ScopeLogs) -> Json:
    return {
        "scope": scope(message.scope),
        "logRecords": [_record(each) for each in message.log_records],
        "schemaUrl": message.schema_url,
    }


def _record(message: otlp.LogRecord) -> Json:
    said: Json = {
        "timeUnixNano": str(message.time_unix_nano),
        "observedTimeUnixNano": str(message.observed_time_unix_nano),
        "severityNumber": message.severity_number,
        "body": {"stringValue": message.body.string_value},
        "attributes": attributes(message.attributes),
    }
    if message.trace_id:
        said |= {"flags": message.flags, "traceId": message.trace_id.hex(), "spanId": message.span_id.hex()}
    return said | {"eventName": message.event_name}
