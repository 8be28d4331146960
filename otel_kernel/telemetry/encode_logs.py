"""Log events as requests of the OpenTelemetry protocol."""

from collections.abc import Iterable, Sequence

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_kernel import __version__
from otel_kernel.metrics.points import Attributes, LogEvent
from otel_kernel.telemetry.attributes import utf8, wire_attributes
from otel_kernel.telemetry.encode import REQUEST_LIMIT_BYTES, SAMPLED, SCHEMA_URL, Host
from otel_kernel.telemetry.packing import packed, parts

SEVERITIES = {
    "info": otlp.SEVERITY_NUMBER_INFO,
    "warn": otlp.SEVERITY_NUMBER_WARN,
    "error": otlp.SEVERITY_NUMBER_ERROR,
}


class LogsEncoder:
    """Says log events of one node."""

    def __init__(self, host: Host, service: str) -> None:
        """Make one. `service` is every resource's service.name."""
        self._host = host.attributes()
        self._service = service

    def encode(
        self, events: Iterable[LogEvent], observed_unix_ns: int, *, limit_bytes: int = REQUEST_LIMIT_BYTES
    ) -> tuple[bytes, ...]:
        """Return serialised `ExportLogsServiceRequest`s of at most `limit_bytes` each; an event is not cut.

        One ResourceLogs for each resource; `observed_unix_ns` is when the agent came to know of the events.
        """

        def say(some: Sequence[LogEvent]) -> bytes:
            return self._say(some, observed_unix_ns)

        by_resource: dict[bytes, list[LogEvent]] = {}
        for event in events:
            by_resource.setdefault(self._resource(event.resource), []).append(event)
        return packed((parts(some, say, limit_bytes) for some in by_resource.values()), limit_bytes)

    def _say(self, events: Sequence[LogEvent], observed_unix_ns: int) -> bytes:
        request = ExportLogsServiceRequest()
        resource = request.resource_logs.add(schema_url=SCHEMA_URL)
        resource.resource.ParseFromString(self._resource(events[0].resource))
        scopes: dict[str, otlp.ScopeLogs] = {}
        for event in events:
            if event.scope not in scopes:
                scopes[event.scope] = resource.scope_logs.add(schema_url=SCHEMA_URL)
                scopes[event.scope].scope.name, scopes[event.scope].scope.version = event.scope, __version__
            _say_event(scopes[event.scope].log_records.add(observed_time_unix_nano=observed_unix_ns), event)
        return request.SerializeToString()

    def _resource(self, attributes: Attributes) -> bytes:
        said = {**self._host, **dict(sorted(attributes.items())), "service.name": self._service}
        return wire_attributes(Resource, said)


def _say_event(message: otlp.LogRecord, event: LogEvent) -> None:
    message.MergeFromString(wire_attributes(otlp.LogRecord, event.attributes))
    message.time_unix_nano = event.time_unix_ns
    message.event_name = utf8(event.name)
    message.body.string_value = utf8(event.body)
    message.severity_number = SEVERITIES[event.severity]
    if event.trace_id is not None:
        message.trace_id = event.trace_id
        message.span_id = event.span_id or b""
        message.flags = SAMPLED  # what the event belongs to is a birth, and every birth is exported
