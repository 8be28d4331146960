"""OTLP JSON lines read back as traces: what the agent or a collector's file exporter wrote."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from otel_kernel.births.trace import Attributes, Span, SpanEvent, SpanLink, Trace, Value

OTHER_SIGNALS = frozenset({"resourceMetrics", "resourceLogs", "resourceProfiles"})
ERROR = (2, "2", "STATUS_CODE_ERROR")
OF_THE_EXPORTER = ("service.", "host.")
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8


@dataclass(slots=True)
class Lines:
    """The traces of a file's lines; one may be spread over many. `unreadable` counts the lines that are no OTLP."""

    unreadable: int = 0
    _spans: dict[bytes, list[Span]] = field(default_factory=dict)
    _resources: dict[tuple[bytes, bytes], Attributes] = field(default_factory=dict)  # by trace and span
    _scopes: dict[bytes, str] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes]) -> None:
        """Take lines in. Empty lines, metrics and logs are passed over."""
        for line in lines:
            if not line.strip():
                continue
            try:
                self._take(json.loads(line))
            # Whatever stands where a list, a number or an id should be ends in one of these.
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                self.unreadable += 1

    def births(self) -> Iterator[Trace]:
        """Yield the traces in which the agent's levels occur, in the order of their first line."""
        for trace_id, spans in self._spans.items():
            if any("otel_kernel.level" in span.attributes for span in spans):
                yield self._trace(trace_id, spans)

    def _take(self, request: Mapping[str, Any]) -> None:
        if not isinstance(request, dict) or not (request.keys() & {"resourceSpans", *OTHER_SIGNALS} or request == {}):
            raise ValueError("not OTLP")
        taken = [*_spans(request)]  # the whole line or nothing of it
        for trace_id, scope, resource, span in taken:
            self._spans.setdefault(trace_id, []).append(span)
            self._resources[trace_id, span.span_id] = resource
            self._scopes.setdefault(trace_id, scope)

    def _trace(self, trace_id: bytes, spans: list[Span]) -> Trace:
        root_first = sorted(spans, key=lambda span: (span.parent_span_id is not None, span.start_unix_ns))
        root = root_first[0]
        containers = {
            span.container_id: self._resources[trace_id, span.span_id]
            for span in spans
            if span.container_id is not None
        }
        pod = self._resources[trace_id, root.span_id]
        return Trace(trace_id, self._scopes[trace_id], tuple(root_first), pod, containers)


def _spans(request: Mapping[str, Any]) -> Iterator[tuple[bytes, str, Attributes, Span]]:
    for resource_spans in request.get("resourceSpans") or ():
        resource = _attributes((resource_spans.get("resource") or {}).get("attributes"))
        service = str(resource.get("service.name", ""))
        container_id = resource.get("container.id")
        whose = {key: value for key, value in resource.items() if not key.startswith(OF_THE_EXPORTER)}
        for scope_spans in resource_spans.get("scopeSpans") or ():
            scope = str((scope_spans.get("scope") or {}).get("name", ""))
            for span in scope_spans.get("spans") or ():
                told = _span(span, service, str(container_id) if container_id is not None else None)
                yield _id(span["traceId"], TRACE_ID_BYTES), scope, whose, told


def _span(span: Mapping[str, Any], service: str, container_id: str | None) -> Span:
    parent = span.get("parentSpanId")
    status = span.get("status") or {}
    return Span(
        span_id=_id(span["spanId"], SPAN_ID_BYTES),
        parent_span_id=_id(parent, SPAN_ID_BYTES) if parent else None,
        name=str(span.get("name", "")),
        start_unix_ns=_ns(span["startTimeUnixNano"]),
        end_unix_ns=_ns(span["endTimeUnixNano"]),
        service=service,
        attributes=_attributes(span.get("attributes")),
        container_id=container_id,
        events=tuple(_event(event) for event in span.get("events") or ()),
        links=tuple(_link(link) for link in span.get("links") or ()),
        error=str(status.get("message", "")) if status.get("code") in ERROR else None,
    )


def _event(event: Mapping[str, Any]) -> SpanEvent:
    return SpanEvent(str(event.get("name", "")), _ns(event["timeUnixNano"]), _attributes(event.get("attributes")))


def _link(link: Mapping[str, Any]) -> SpanLink:
    trace_id, span_id = _id(link["traceId"], TRACE_ID_BYTES), _id(link["spanId"], SPAN_ID_BYTES)
    return SpanLink(trace_id, span_id, _attributes(link.get("attributes")))


def _id(text: str, length: int) -> bytes:
    value = bytes.fromhex(text)
    if len(value) != length:
        raise ValueError(f"an id has {length} bytes")
    return value


def _ns(value: str | int) -> int:
    ns = int(value)
    if not 0 <= ns < 1 << 64:
        raise ValueError("a time has 64 bits")
    return ns


def _attributes(pairs: Iterable[Mapping[str, Any]] | None) -> dict[str, Value]:
    return {str(pair["key"]): _value(pair["value"]) for pair in pairs or ()}


def _value(value: Mapping[str, Any]) -> Value:
    if "stringValue" in value:
        return str(value["stringValue"])
    if "intValue" in value:
        return int(value["intValue"])
    if "boolValue" in value:
        return bool(value["boolValue"])
    if "doubleValue" in value:
        return float(value["doubleValue"])
    items = [_value(item) for item in (value.get("arrayValue") or {}).get("values") or ()]
    numbers = tuple(item for item in items if type(item) is int)
    return numbers if len(numbers) == len(items) else tuple(str(item) for item in items)
