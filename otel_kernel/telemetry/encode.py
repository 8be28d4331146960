"""A trace as requests of the OpenTelemetry protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from otel_kernel import __version__
from otel_kernel.births.trace import Attributes, Span, Trace, Value
from otel_kernel.telemetry.attributes import utf8, wire_attributes

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
REQUEST_LIMIT_BYTES = 1 << 20
FRAME_BYTES = 12  # at least what the tags and lengths of the messages around a span take

SAMPLED = 0x001
RANDOM_TRACE_ID = 0x002  # W3C Trace Context level 2: the rightmost 56 bits are random
PARENT_IS_LOCAL = otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK  # it is known whether it is remote, and it is not

ResourceKey = tuple[str, str | None]  # service.name, container id


@dataclass(frozen=True, slots=True)
class Host:
    """What every resource says of the node. `resource_attributes` are the user's (`OTEL_RESOURCE_ATTRIBUTES`).

    The user's word beats ours on the host, ours beats the user's on the pod: many pods share the one environment.
    """

    name: str
    id: str | None = None
    resource_attributes: Attributes = field(default_factory=dict)

    def attributes(self) -> dict[str, Value]:
        """Return the node's part of a resource."""
        known: dict[str, Value] = {"host.name": self.name}
        if self.id:
            known["host.id"] = self.id
        return {**known, **self.resource_attributes}


def encode(trace: Trace, host: Host, *, limit_bytes: int = REQUEST_LIMIT_BYTES) -> tuple[bytes, ...]:
    """Return serialised `ExportTraceServiceRequest`s, each at most `limit_bytes` long, the root in the first.

    One ResourceSpans per service and pod or container. Nothing is left out, but for a span that is larger than a
    request by itself: it loses its last events, as many as must go, and says so in `dropped_events_count`.
    """
    resources = _Resources(trace, host)
    flags = _flags(trace.trace_id, trace)
    requests = [_Request()]
    for span in trace.spans:
        key = resources.key(span)
        group = resources.group(key)
        message = requests[-1].add(key, group)
        _say(message, span, trace, flags)
        size_bytes = _fit(message, limit_bytes - group.size_bytes)
        if requests[-1].size_bytes + size_bytes > limit_bytes and requests[-1].spans > 1:
            requests[-1].remove_last(key)
            requests.append(_Request())
            requests[-1].add(key, group).CopyFrom(message)
        requests[-1].size_bytes += size_bytes
    return tuple(request.message.SerializeToString() for request in requests)


class _Group(NamedTuple):
    """A resource and its one scope without spans, and what they take in a request."""

    message: otlp.ResourceSpans
    size_bytes: int


class _Request:
    """One request as it fills up: a span's size is known once it is encoded, and it is encoded in place."""

    def __init__(self) -> None:
        self.message = ExportTraceServiceRequest()
        self.size_bytes = 0
        self.spans = 0
        self._groups: dict[ResourceKey, otlp.ScopeSpans] = {}

    def add(self, key: ResourceKey, group: _Group) -> otlp.Span:
        """Return a new span below its resource."""
        if key not in self._groups:
            added = self.message.resource_spans.add()
            added.CopyFrom(group.message)
            self._groups[key] = added.scope_spans[0]
            self.size_bytes += group.size_bytes
        self.spans += 1
        return self._groups[key].spans.add()

    def remove_last(self, key: ResourceKey) -> None:
        """Take the span that was added last out again, and its resource when nothing else is below it."""
        del self._groups[key].spans[-1]
        if not self._groups[key].spans:
            del self.message.resource_spans[-1]


class _Resources:
    """The resources of one trace, each made once."""

    def __init__(self, trace: Trace, host: Host) -> None:
        self._trace = trace
        self._host = host.attributes()
        self._containers = _merged_by_value(trace.containers)
        self._groups: dict[ResourceKey, _Group] = {}

    def key(self, span: Span) -> ResourceKey:
        """Return under which resource a span goes."""
        return span.service, None if span.container_id is None else self._containers.get(span.container_id)

    def group(self, key: ResourceKey) -> _Group:
        """Return the resource with its one scope and no spans."""
        if key not in self._groups:
            service, container_id = key
            whose = self._trace.pod if container_id is None else self._trace.containers[container_id]
            attributes: Attributes = {**self._host, **whose, "service.name": service}
            resource = Resource.FromString(wire_attributes(Resource, attributes))
            group = otlp.ResourceSpans(resource=resource, schema_url=SCHEMA_URL)
            scope = group.scope_spans.add(schema_url=SCHEMA_URL).scope
            scope.name, scope.version = self._trace.scope, __version__
            self._groups[key] = _Group(group, group.ByteSize() + 2 * FRAME_BYTES)
        return self._groups[key]


def _merged_by_value(containers: Mapping[str, Attributes]) -> dict[str, str]:
    # Container id -> the id of the first container with the same attributes: equal resources are one resource.
    first: dict[tuple[tuple[str, Value], ...], str] = {}
    return {
        container_id: first.setdefault(tuple(sorted(attributes.items())), container_id)
        for container_id, attributes in containers.items()
    }


def _say(message: otlp.Span, span: Span, trace: Trace, flags: int) -> None:
    message.trace_id = trace.trace_id
    message.span_id = span.span_id
    message.parent_span_id = span.parent_span_id or b""
    message.flags = flags
    message.name = utf8(span.name)
    message.kind = otlp.Span.SPAN_KIND_INTERNAL
    message.start_time_unix_nano = span.start_unix_ns
    message.end_time_unix_nano = span.end_unix_ns
    message.MergeFromString(wire_attributes(otlp.Span, span.attributes))
    if span.error is not None:
        message.status.code = otlp.Status.STATUS_CODE_ERROR
        message.status.message = utf8(span.error)
    for event in span.events:
        added = message.events.add(time_unix_nano=event.unix_ns, name=utf8(event.name))
        added.MergeFromString(wire_attributes(otlp.Span.Event, event.attributes))
    for link in span.links:
        linked = message.links.add(trace_id=link.trace_id, span_id=link.span_id, flags=_flags(link.trace_id, trace))
        linked.MergeFromString(wire_attributes(otlp.Span.Link, link.attributes))


def _fit(message: otlp.Span, limit_bytes: int) -> int:
    # Drops the last events of a span that no request could hold. Returns what the span takes in a request.
    size_bytes = message.ByteSize() + FRAME_BYTES
    while size_bytes > limit_bytes and message.events:
        size_bytes -= message.events.pop().ByteSize()
        message.dropped_events_count += 1
    return size_bytes


def _flags(trace_id: bytes, trace: Trace) -> int:
    # Random is only claimed of an id that is the pod's UID, which the API server drew (version 4).
    uuid = UUID(bytes=trace_id)
    is_uid = uuid.version == 4 and str(uuid) == trace.pod.get("k8s.pod.uid")  # noqa: PLR2004 (the version's own number)
    return PARENT_IS_LOCAL | SAMPLED | (RANDOM_TRACE_ID if is_uid else 0)
