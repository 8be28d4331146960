"""A birth as the agent told it: the spans of one trace, read from its OTLP JSON lines."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """One span, its attributes as plain values; those of its resource apart."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    resource: Attributes
    scope: str
    events: tuple[str, ...]
    links: tuple[str, ...]  # the ids of the traces linked to
    error: str | None  # the status message of a failed one
    steps: tuple[str, ...] = ()  # what the timeline's events say

    @property
    def level(self) -> str:
        """birth, unit, process, group, call or wait."""
        return str(self.attributes["otel_kernel.level"])


@dataclass(frozen=True, slots=True)
class Birth:
    """All spans of one trace, the root first."""

    spans: tuple[Span, ...]

    @property
    def root(self) -> Span:
        """The span without a parent. Raises ValueError when there is not exactly one."""
        (root,) = [span for span in self.spans if not span.parent_id]
        return root

    def at(self, level: str) -> list[Span]:
        """Return the spans of one level, in the order of their start."""
        return sorted((span for span in self.spans if span.level == level), key=lambda span: span.start_ns)

    def count(self, name: str) -> Any:  # noqa: ANN401 - an attribute is of any type
        """Return an attribute `otel_kernel.birth.<name>` of the root, None where it is absent."""
        return self.root.attributes.get(f"otel_kernel.birth.{name}")


def read_births(path: Path, uid: str) -> list[Birth]:
    """Return a pod's traces in an OTLP JSON-lines file, in the order of their start, without a half-written line."""
    spans: dict[str, list[Span]] = {}
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        if uid in line and line.startswith('{"resourceSpans"'):
            for span in _spans(json.loads(line)):
                spans.setdefault(span.trace_id, []).append(span)
    found = [Birth(tuple(of_trace)) for of_trace in spans.values()]
    mine = [birth for birth in found if birth.root.resource.get("k8s.pod.uid") == uid]
    return sorted(mine, key=lambda birth: birth.root.start_ns)


def _spans(request: dict[str, Any]) -> Iterator[Span]:
    for of_resource in request["resourceSpans"]:
        resource = _attributes(of_resource["resource"])
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                yield _span(span, resource, of_scope["scope"]["name"])


def _span(span: dict[str, Any], resource: Attributes, scope: str) -> Span:
    status = span.get("status", {})
    return Span(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId", ""),
        name=span["name"],
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        attributes=_attributes(span),
        resource=resource,
        scope=scope,
        events=tuple(event["name"] for event in span.get("events", ())),
        links=tuple(link["traceId"] for link in span.get("links", ())),
        error=status.get("message", "") if status.get("code") == 2 else None,  # STATUS_CODE_ERROR
        steps=tuple(str(_attributes(event).get("otel_kernel.step.action", "")) for event in span.get("events", ())),
    )


def _attributes(owner: dict[str, Any]) -> Attributes:
    return {entry["key"]: _value(entry["value"]) for entry in owner.get("attributes", ())}


def _value(value: dict[str, Any]) -> Any:  # noqa: ANN401 - an attribute is of any type
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", ())]
    return next(iter(value.values()), None)
