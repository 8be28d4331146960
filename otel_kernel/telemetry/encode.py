"""A trace as requests of the OpenTelemetry protocol.

The spans are written by hand (wire.py): most of what a birth costs was made of calls to build their messages. Field
numbers are those of opentelemetry/proto/trace/v1/trace.proto; the tests read them with OpenTelemetry's own messages.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from uuid import UUID

from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

from otel_kernel import __version__
from otel_kernel.births.trace import Attributes, Span, SpanEvent, SpanLink, Trace, Value
from otel_kernel.telemetry.attributes import utf8, wire_attributes
from otel_kernel.telemetry.wire import FIXED32, FIXED64, LENGTH_DELIMITED, VARINT, fixed32, sized, tag, varint

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
REQUEST_LIMIT_BYTES = 1 << 20
FRAME_BYTES = 12  # at least what the tags and lengths of the messages around a span take

SAMPLED = 0x001
RANDOM_TRACE_ID = 0x002  # W3C Trace Context level 2: the rightmost 56 bits are random
PARENT_IS_LOCAL = otlp.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK  # it is known whether it is remote, and it is not

# Of a span and of a link: ids are of 16 and of 8 bytes.
_TRACE_ID, _SPAN_ID = tag(1, LENGTH_DELIMITED) + varint(16), tag(2, LENGTH_DELIMITED) + varint(8)
_PARENT, _NAME, _KIND = tag(4, LENGTH_DELIMITED) + varint(8), tag(5, LENGTH_DELIMITED), tag(6, VARINT)
_TIMES = struct.Struct("<cQcQ")
_START, _END = tag(7, FIXED64), tag(8, FIXED64)
_EVENT, _DROPPED_EVENTS = tag(11, LENGTH_DELIMITED), tag(12, VARINT)
_LINK, _STATUS, _FLAGS = tag(13, LENGTH_DELIMITED), tag(15, LENGTH_DELIMITED), tag(16, FIXED32)
_EVENT_TIME, _EVENT_NAME = struct.Struct("<cQ"), tag(2, LENGTH_DELIMITED)
_TIME = tag(1, FIXED64)
_LINK_FLAGS = tag(6, FIXED32)
_MESSAGE, _CODE = tag(2, LENGTH_DELIMITED), tag(3, VARINT)  # of a status
# Of a request its resources; of these each its scope's spans; of these each span.
_RESOURCE_SPANS, _SCOPE_SPANS, _SPAN = tag(1, LENGTH_DELIMITED), tag(2, LENGTH_DELIMITED), tag(2, LENGTH_DELIMITED)
_RESOURCE, _SCOPE, _SCHEMA_URL = tag(1, LENGTH_DELIMITED), tag(1, LENGTH_DELIMITED), tag(3, LENGTH_DELIMITED)
_SCOPE_NAME, _SCOPE_VERSION = tag(1, LENGTH_DELIMITED), tag(2, LENGTH_DELIMITED)
_SAID_SCHEMA_URL = _SCHEMA_URL + sized(SCHEMA_URL.encode())

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
    writer = _SpanWriter(trace)
    requests = [_Request()]
    for span in trace.spans:
        group = resources.group(span)
        said = writer.said(span, limit_bytes - group.size_bytes)
        if not requests[-1].has_room(group, said, limit_bytes):
            requests.append(_Request())
        requests[-1].add(group, said)
    return tuple(request.said() for request in requests)


class _Group:
    """A resource with its one scope."""

    def __init__(self, key: ResourceKey, resource: bytes, scope: bytes) -> None:
        self.key = key
        self._resource = _RESOURCE + sized(resource)
        self._scope = _SCOPE + sized(scope)
        self.size_bytes = len(self.said(())) + 2 * FRAME_BYTES  # what it takes in a request without spans

    def said(self, spans: Iterable[bytes]) -> bytes:
        """Return a ResourceSpans with these spans."""
        scope_spans = b"".join((self._scope, *(_SPAN + sized(span) for span in spans), _SAID_SCHEMA_URL))
        return self._resource + _SCOPE_SPANS + sized(scope_spans) + _SAID_SCHEMA_URL


class _Request:
    """One request as it fills up."""

    def __init__(self) -> None:
        self._size_bytes = 0
        self._spans: dict[ResourceKey, list[bytes]] = {}
        self._groups: list[_Group] = []

    def has_room(self, group: _Group, span: bytes, limit_bytes: int) -> bool:
        """Whether a span may come in below its resource. The first one may, whatever its size."""
        more_bytes = len(span) + FRAME_BYTES + (0 if group.key in self._spans else group.size_bytes)
        return not self._groups or self._size_bytes + more_bytes <= limit_bytes

    def add(self, group: _Group, span: bytes) -> None:
        """Put a span below its resource."""
        spans = self._spans.get(group.key)
        if spans is None:
            spans = self._spans[group.key] = []
            self._groups.append(group)
            self._size_bytes += group.size_bytes
        spans.append(span)
        self._size_bytes += len(span) + FRAME_BYTES

    def said(self) -> bytes:
        """Return it serialised."""
        return b"".join([_RESOURCE_SPANS + sized(group.said(self._spans[group.key])) for group in self._groups])


class _Resources:
    """The resources of one trace, each made once."""

    def __init__(self, trace: Trace, host: Host) -> None:
        self._trace = trace
        self._host = host.attributes()
        self._scope = _SCOPE_NAME + sized(trace.scope.encode()) + _SCOPE_VERSION + sized(__version__.encode())
        self._containers = _merged_by_value(trace.containers)
        self._groups: dict[ResourceKey, _Group] = {}

    def group(self, span: Span) -> _Group:
        """Return under which resource a span goes."""
        key = span.service, None if span.container_id is None else self._containers.get(span.container_id)
        return self._groups.get(key) or self._make(key)

    def _make(self, key: ResourceKey) -> _Group:
        service, container_id = key
        whose = self._trace.pod if container_id is None else self._trace.containers[container_id]
        attributes: Attributes = {**self._host, **whose, "service.name": service}
        resource = wire_attributes(Resource, attributes)
        group = self._groups[key] = _Group(key, resource, self._scope)
        return group


def _merged_by_value(containers: Mapping[str, Attributes]) -> dict[str, str]:
    # Container id -> the id of the first container with the same attributes: equal resources are one resource.
    first: dict[tuple[tuple[str, Value], ...], str] = {}
    return {
        container_id: first.setdefault(tuple(sorted(attributes.items())), container_id)
        for container_id, attributes in containers.items()
    }


class _SpanWriter:
    """Writes the spans of one trace."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._trace_id = _TRACE_ID + trace.trace_id
        self._flags = _FLAGS + fixed32(_flags(trace.trace_id, trace))

    def said(self, span: Span, limit_bytes: int) -> bytes:
        """Return a span; one that no request could hold lacks its last events."""
        events = [_event(event) for event in span.events]
        message = self._message(span, events)
        size_bytes = len(message) + FRAME_BYTES
        if size_bytes <= limit_bytes or not events:
            return message
        kept = len(events)
        while size_bytes > limit_bytes and kept:
            kept -= 1
            size_bytes -= len(events[kept])
        return self._message(span, events[:kept], dropped=len(events) - kept)

    def _message(self, span: Span, events: list[bytes], dropped: int = 0) -> bytes:
        parts = [self._trace_id, _SPAN_ID, span.span_id]
        if span.parent_span_id is not None:
            parts += (_PARENT, span.parent_span_id)
        times = _TIMES.pack(_START, span.start_unix_ns, _END, span.end_unix_ns)
        parts += (_name_and_kind(span.name), times, wire_attributes(otlp.Span, span.attributes))
        for event in events:
            parts += (_EVENT, sized(event))
        if dropped:
            parts += (_DROPPED_EVENTS, varint(dropped))
        for link in span.links:
            parts += (_LINK, sized(self._link(link)))
        if span.error is not None:
            parts += (_STATUS, sized(_error(span.error)))
        parts.append(self._flags)
        return b"".join(parts)

    def _link(self, link: SpanLink) -> bytes:
        ids = _TRACE_ID + link.trace_id + _SPAN_ID + link.span_id
        flags = _LINK_FLAGS + fixed32(_flags(link.trace_id, self._trace))
        return ids + wire_attributes(otlp.Span.Link, link.attributes) + flags


@lru_cache(maxsize=256)
def _name_and_kind(name: str) -> bytes:
    return _NAME + sized(utf8(name).encode()) + _KIND + varint(otlp.Span.SPAN_KIND_INTERNAL)


def _event(event: SpanEvent) -> bytes:
    name = _EVENT_NAME + sized(utf8(event.name).encode())
    return _EVENT_TIME.pack(_TIME, event.unix_ns) + name + wire_attributes(otlp.Span.Event, event.attributes)


def _error(description: str) -> bytes:
    return _MESSAGE + sized(utf8(description).encode()) + _CODE + varint(otlp.Status.STATUS_CODE_ERROR)


def _flags(trace_id: bytes, trace: Trace) -> int:
    # Random is only claimed of an id that is the pod's UID, which the API server drew (version 4).
    uuid = UUID(bytes=trace_id)
    is_uid = uuid.version == 4 and str(uuid) == trace.pod.get("k8s.pod.uid")  # noqa: PLR2004 (the version's own number)
    return PARENT_IS_LOCAL | SAMPLED | (RANDOM_TRACE_ID if is_uid else 0)
