"""Log events said in OTLP, decoded again with OpenTelemetry's own messages."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1 import logs_pb2 as otlp

from otel_kernel import __version__
from otel_kernel.metrics.points import Attributes, LogEvent
from otel_kernel.telemetry.encode import SCHEMA_URL, Host
from otel_kernel.telemetry.encode_logs import LogsEncoder
from otel_kernel.telemetry.otlp_json_logs import logs_line
from tests.telemetry.reading import attributes, read_back

T0 = 1_795_347_051_812_253_676
OBSERVED = T0 + 9
LIMIT_BYTES = 1 << 20
CONTAINER: Attributes = {"k8s.pod.name": "web-0", "k8s.container.name": "app", "service.instance.id": "u1/app"}
THROTTLED = LogEvent(
    name="otel_kernel.cpu.throttled",
    time_unix_ns=T0,
    resource=CONTAINER,
    scope="otel_kernel.cgroupfs",
    attributes={"otel_kernel.cpu.throttled.percentage": 86.0, "otel_kernel.cpu.periods": 50, "sure": True},
    body="throttled in 43 of 50 periods",
    severity="warn",
    trace_id=b"t" * 16,
    span_id=b"s" * 8,
)


def sent(*events: LogEvent, limit_bytes: int = LIMIT_BYTES) -> list[ExportLogsServiceRequest]:
    """Return the requests as a receiver reads them, none of them over the limit and each the same as a line of JSON."""
    requests = LogsEncoder(Host("node-1", "abc"), "otel-kernel").encode(events, OBSERVED, limit_bytes=limit_bytes)
    assert all(len(request) <= limit_bytes for request in requests)
    read = [ExportLogsServiceRequest.FromString(request) for request in requests]
    assert [read_back(logs_line(request), ExportLogsServiceRequest) for request in requests] == read
    return read


def records_of(requests: Iterable[ExportLogsServiceRequest]) -> Iterator[otlp.LogRecord]:
    """Yield every record."""
    for request in requests:
        for resource in request.resource_logs:
            for scope in resource.scope_logs:
                yield from scope.log_records


def test_every_field_arrives() -> None:
    """The record has the event's name, times, words, attributes, and the trace it belongs to."""
    (request,) = sent(THROTTLED)
    (record,) = records_of([request])
    assert (record.event_name, record.body.string_value) == (THROTTLED.name, THROTTLED.body)
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (T0, OBSERVED)
    assert (record.trace_id, record.span_id, record.flags) == (b"t" * 16, b"s" * 8, 1)
    found = attributes(record.attributes)
    assert found == THROTTLED.attributes
    assert [type(value) for value in found.values()] == [float, int, bool]
    (resource,) = request.resource_logs
    node = {"host.name": "node-1", "host.id": "abc", "service.name": "otel-kernel"}
    assert attributes(resource.resource.attributes) == {**node, **CONTAINER}
    (scope,) = resource.scope_logs
    assert (scope.scope.name, scope.scope.version) == ("otel_kernel.cgroupfs", __version__)
    assert resource.schema_url == scope.schema_url == SCHEMA_URL


@pytest.mark.parametrize(("severity", "number"), [("info", 9), ("warn", 13), ("error", 17)])
def test_severities(severity: Literal["info", "warn", "error"], number: int) -> None:
    """Severities are the numbers of the specification, without texts of ours."""
    (record,) = records_of(sent(replace(THROTTLED, severity=severity)))
    assert (record.severity_number, record.severity_text) == (number, "")


def test_an_event_of_no_known_birth() -> None:
    """Without a trace there are no ids and no flags."""
    (record,) = records_of(sent(replace(THROTTLED, trace_id=None, span_id=None)))
    assert (record.trace_id, record.span_id, record.flags) == (b"", b"", 0)


def test_words_of_others_are_harmless() -> None:
    """Text that is no UTF-8, or without end, is said as far as OTLP can."""
    (record,) = records_of(sent(replace(THROTTLED, body="x\udcff" * 300, attributes={"k\udcff": "v\udcff"})))
    assert record.body.string_value == "x\ufffd" * 64
    assert attributes(record.attributes) == {"k\ufffd": "v\ufffd"}


def test_one_resource_each_with_its_scopes() -> None:
    """Events of one container stand together, by scope, and each arrives once."""
    oom = replace(THROTTLED, name="otel_kernel.oom_kill", scope="otel_kernel.ebpf")
    other = replace(THROTTLED, resource={**CONTAINER, "k8s.container.name": "db"})
    (request,) = sent(THROTTLED, other, oom, replace(THROTTLED, resource=dict(reversed(list(CONTAINER.items())))))
    assert [len(each.scope_logs) for each in request.resource_logs] == [2, 1]
    assert [len(scope.log_records) for each in request.resource_logs for scope in each.scope_logs] == [2, 1, 1]


def test_many_events_make_requests_within_the_limit() -> None:
    """No request is too large, none has a resource twice, and every event arrives once."""
    events = [replace(THROTTLED, time_unix_ns=T0 + each, resource={"n": str(each % 3)}) for each in range(300)]
    requests = sent(*events, limit_bytes=5_000)
    assert len(requests) > 3
    for request in requests:
        resources = [each.resource.SerializeToString() for each in request.resource_logs]
        assert len(set(resources)) == len(resources)
    assert sorted(record.time_unix_nano - T0 for record in records_of(requests)) == [*range(300)]


def test_no_event_is_no_request() -> None:
    """Nothing is sent when nothing happened."""
    assert sent() == []
