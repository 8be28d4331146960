"""A birth as the spans of one trace: the vocabulary between births and what says or shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | tuple[str, ...] | tuple[int, ...]
Attributes = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """A point in time on a span."""

    name: str
    unix_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class SpanLink:
    """Another span that this one follows from."""

    trace_id: bytes
    span_id: bytes
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Span:
    """One span, finished. `error` is the status description of a failed one; None leaves the status unset."""

    span_id: bytes
    parent_span_id: bytes | None
    name: str
    start_unix_ns: int
    end_unix_ns: int
    service: str  # service.name
    attributes: Attributes
    container_id: str | None = None  # on which container's resource; None: the pod's
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace, exported in one go: spans[0] is its root. The exporter adds service.* and host.*."""

    trace_id: bytes
    scope: str  # `otel_kernel.ebpf` or `otel_kernel.cgroupfs`
    spans: tuple[Span, ...]
    pod: Attributes  # resource attributes
    containers: Mapping[str, Attributes] = field(
        default_factory=dict
    )  # container id -> resource attributes, the pod's included
