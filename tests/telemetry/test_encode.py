"""A trace said in OTLP, decoded again with OpenTelemetry's own messages."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from otel_kernel import __version__
from otel_kernel.births.trace import Attributes, Span, SpanEvent, SpanLink, Trace
from otel_kernel.telemetry.attributes import utf8
from otel_kernel.telemetry.encode import REQUEST_LIMIT_BYTES, SCHEMA_URL, Host, encode
from tests.telemetry.reading import attributes

HOST = Host("node-1", "abc", {"deployment.environment.name": "test"})
T0 = 1_795_347_051_812_253_676
ODD: Attributes = {
    "a": -1,
    "b": 2**63 - 1,
    "c": 2**63,
    "d": 0.0,
    "e": False,
    "f": (),
    "g": (0, -(2**63)),
    "h": "",
    "i": "é" * 200,
}


def sent(trace: Trace, host: Host = HOST, limit_bytes: int = REQUEST_LIMIT_BYTES) -> list[ExportTraceServiceRequest]:
    """Return the requests of a trace as a receiver reads them, none of them over the limit."""
    requests = encode(trace, host, limit_bytes=limit_bytes)
    assert all(len(request) <= limit_bytes for request in requests)
    return [ExportTraceServiceRequest.FromString(request) for request in requests]


def spans_of(requests: Iterable[ExportTraceServiceRequest]) -> Iterator[tuple[ResourceSpans, OtlpSpan]]:
    """Yield every span with its resource."""
    for request in requests:
        for resource_spans in request.resource_spans:
            (scope_spans,) = resource_spans.scope_spans
            for span in scope_spans.spans:
                yield resource_spans, span


def alone(**fields: object) -> Trace:
    """Return a trace of one span with these fields."""
    span = Span(b"r" * 8, None, "pod birth", T0, T0 + 1, "otel-kernel", {})
    return Trace(b"t" * 16, "otel_kernel.ebpf", (replace(span, **fields),), {})  # type: ignore[arg-type]


def test_every_field_of_every_span_arrives(birth: Trace) -> None:
    """What is decoded from the request is the trace that was encoded, field by field."""
    (request,) = sent(birth)
    by_id = {message.span_id: message for _, message in spans_of([request])}
    assert len(by_id) == len(birth.spans)
    for span in birth.spans:
        message = by_id[span.span_id]
        assert message.trace_id == birth.trace_id
        assert message.parent_span_id == (span.parent_span_id or b"")
        assert (message.name, message.kind) == (span.name, OtlpSpan.SPAN_KIND_INTERNAL)
        assert (message.start_time_unix_nano, message.end_time_unix_nano) == (span.start_unix_ns, span.end_unix_ns)
        assert attributes(message.attributes) == span.attributes
        events = [SpanEvent(e.name, e.time_unix_nano, attributes(e.attributes)) for e in message.events]  # type: ignore[arg-type]
        assert tuple(events) == span.events
        links = [(link.trace_id, link.span_id, attributes(link.attributes)) for link in message.links]
        assert links == [(link.trace_id, link.span_id, link.attributes) for link in span.links]
        assert message.status.code == (0 if span.error is None else 2)
        assert message.status.message == (span.error or "")


@pytest.mark.parametrize("limit_bytes", [REQUEST_LIMIT_BYTES, 20_000, 1_000])
def test_it_is_byte_for_byte_what_the_library_writes(birth: Trace, limit_bytes: int) -> None:
    """OpenTelemetry's own messages, read and written again, are the same bytes: the form is theirs."""
    link = SpanLink(b"l" * 16, b"s" * 8, {"k": ("a", "b")})
    odd = replace(
        birth.spans[0], span_id=b"o" * 8, name="ä\udc80", links=(link, link), error="exit code 1", attributes=ODD
    )
    for request in encode(replace(birth, spans=(*birth.spans, odd)), HOST, limit_bytes=limit_bytes):
        message = ExportTraceServiceRequest.FromString(request)
        message.DiscardUnknownFields()
        assert message.SerializeToString() == request


def test_the_root_comes_first(birth: Trace) -> None:
    """The first span of the first request is the root."""
    (_, first), *_ = spans_of(sent(birth))
    assert first.span_id == birth.spans[0].span_id


def test_one_resource_per_service_and_container(birth: Trace) -> None:
    """Each span stands under its service and its pod or container, and each such resource comes once."""
    (request,) = sent(birth)
    resources = [attributes(each.resource.attributes) for each in request.resource_spans]
    everywhere = {
        "host.name": "node-1",
        "host.id": "abc",
        "deployment.environment.name": "test",
        "k8s.pod.uid": "4645395f-96ab-4c85-8645-395f96ab1c85",
        "k8s.pod.name": "web-0",
        "k8s.namespace.name": "shop",
    }
    container = {**everywhere, "k8s.container.name": "app", "container.id": "c" * 64}
    assert resources == [
        {**everywhere, "service.name": "otel-kernel"},
        {**container, "service.name": "otel-kernel"},
        {**container, "service.name": "runc"},
    ]
    assert [len(each.scope_spans[0].spans) for each in request.resource_spans] == [1, 1, 2]


def test_scope_and_schema_are_named(birth: Trace) -> None:
    """The scope says which source and which version, the schema which conventions, on resource and scope alike."""
    for resource_spans, _ in spans_of(sent(birth)):
        scope_spans = resource_spans.scope_spans[0]
        assert (scope_spans.scope.name, scope_spans.scope.version) == ("otel_kernel.ebpf", __version__)
        assert resource_spans.schema_url == scope_spans.schema_url == SCHEMA_URL


def test_only_a_uid_of_the_api_server_is_called_random(birth: Trace) -> None:
    """The random flag is set for a trace id that is the pod's version 4 UID, and not for hashed or foreign ids."""
    hashed = replace(birth, trace_id=b"t" * 16)
    static = replace(birth, trace_id=uuid.UUID(int=5).bytes, pod={"k8s.pod.uid": str(uuid.UUID(int=5))})
    assert {span.flags for _, span in spans_of(sent(birth))} == {0x103}
    assert {span.flags for _, span in spans_of(sent(hashed))} == {0x101}
    assert {span.flags for _, span in spans_of(sent(static))} == {0x101}
    assert {link.flags for _, span in spans_of(sent(birth)) for link in span.links} == {0x101}


def test_the_users_attributes_do_not_rename_the_pod(birth: Trace) -> None:
    """OTEL_RESOURCE_ATTRIBUTES add to every resource and win on the host, but not on the pod or the service."""
    users = {"host.name": "mine", "k8s.pod.name": "agent", "service.name": "agent", "k8s.cluster.name": "c1"}
    (request,) = sent(birth, Host("node-1", None, users))
    found = attributes(request.resource_spans[0].resource.attributes)
    assert (found["host.name"], found["k8s.cluster.name"]) == ("mine", "c1")
    assert (found["k8s.pod.name"], found["service.name"]) == ("web-0", "otel-kernel")
    assert "host.id" not in found


def test_containers_that_read_the_same_are_one_resource(birth: Trace) -> None:
    """Two containers of which nothing is known but the pod give one resource, merged by value."""
    spans = tuple(replace(birth.spans[1], span_id=bytes([n]) * 8, container_id=str(n)) for n in range(3))
    (request,) = sent(replace(birth, spans=spans, containers={"0": birth.pod, "1": birth.pod}))
    assert [len(each.scope_spans[0].spans) for each in request.resource_spans] == [2, 1]


def test_a_large_trace_is_cut_and_loses_nothing(birth: Trace) -> None:
    """A trace over the limit becomes several requests in order, with every span once and the root in the first."""
    calls = tuple(
        replace(birth.spans[3], span_id=number.to_bytes(8, "big"), attributes={"n": number, "path": f"/{number}" * 20})
        for number in range(1000, 3000)
    )
    large = replace(birth, spans=birth.spans + calls)
    requests = sent(large, limit_bytes=50_000)
    assert len(requests) > 2
    assert sum(request.ByteSize() for request in requests) > 0.9 * 50_000 * (len(requests) - 1)
    spans = [span for _, span in spans_of(requests)]
    assert spans[0].span_id == birth.spans[0].span_id
    assert [span.span_id for span in spans[4:]] == [span.span_id for span in calls]
    for resource_spans, _ in spans_of(requests):
        assert attributes(resource_spans.resource.attributes)["k8s.pod.name"] == "web-0"


def test_a_span_larger_than_a_request_says_what_it_dropped() -> None:
    """A span that no request could hold keeps its first events and counts the others, and the trace stays whole."""
    events = tuple(SpanEvent("mount", T0 + n, {"path": f"/{n:>200}"}) for n in range(1000))
    trace = alone(events=events)
    after = replace(trace.spans[0], span_id=b"a" * 8, events=())
    requests = sent(replace(trace, spans=(*trace.spans, after)), limit_bytes=20_000)
    (_, first), (_, second) = spans_of(requests)
    assert first.dropped_events_count > 0
    assert len(first.events) + first.dropped_events_count == len(events)
    assert [event.time_unix_nano for event in first.events] == [T0 + n for n in range(len(first.events))]
    assert second.span_id == b"a" * 8


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("caf\udce9", "caf\ufffd"),
        ("\ud83d", "\ufffd"),
        ("x" * 300, "x" * 256),
        ("é" * 200, "é" * 128),
        ("a" + "é" * 200, "a" + "é" * 127),
        ("nul\0nul", "nul\0nul"),
        (2**63 - 1, 2**63 - 1),
        (2**64 - 1, "18446744073709551615"),
        (-(2**63) - 1, "-9223372036854775809"),
        (True, True),
        (1, 1),
        (1.0, 1.0),
        ((), ()),
        (("a\udcff", "b"), ("a\ufffd", "b")),
    ],
)
def test_every_value_can_be_said(value: object, expected: object) -> None:
    """What protobuf would refuse is replaced, cut or said as a string; no value changes its type otherwise."""
    ((_, span),) = spans_of(sent(alone(attributes={"key": value})))
    found = attributes(span.attributes)["key"]
    assert found == expected
    assert type(found) is type(expected)


def test_equal_numbers_of_different_types_stay_apart() -> None:
    """1, 1.0 and True come out as they went in although they are equal."""
    ((_, span),) = spans_of(sent(alone(attributes={"a": 1, "b": True, "c": 1.0})))
    assert [value.value.WhichOneof("value") for value in span.attributes] == ["int_value", "bool_value", "double_value"]
    for value in (True, 1, 1.0):
        ((_, span),) = spans_of(sent(alone(attributes={"same": value})))
        assert type(attributes(span.attributes)["same"]) is type(value)


def test_bytes_that_are_no_utf8_are_harmless_everywhere() -> None:
    """Names, errors, event names and keys with invalid UTF-8 are encoded too."""
    event = SpanEvent("e\udcff", T0, {"k\udcff": "v\udcff"})
    ((_, span),) = spans_of(sent(alone(name="n\udcff", error="x\udcff", events=(event,))))
    assert (span.name, span.status.message, span.events[0].name) == ("n\ufffd", "x\ufffd", "e\ufffd")
    assert attributes(span.events[0].attributes) == {"k\ufffd": "v\ufffd"}


@given(st.text(st.characters(exclude_categories=()), max_size=400))
def test_text_is_always_short_valid_utf8(text: str) -> None:
    """Whatever characters come, the text can be encoded, is at most 256 bytes long and begins as it did."""
    said = utf8(text)
    assert len(said.encode()) <= 256
    assert said == "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)[: len(said)]
