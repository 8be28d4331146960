"""Measurements as points of series: the vocabulary between metrics and what says them. Times are Unix nanoseconds.

NamedTuples where there are tens of thousands in each collection of a full node.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Value = str | int | float | bool | tuple[str, ...]
Attributes = Mapping[str, Value]
Level = Literal["pod", "container", "node"]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One measurement that led to a histogram's count, and the trace it came from."""

    time_unix_ns: int
    value: float
    trace_id: bytes
    span_id: bytes
    attributes: Attributes  # those that are not the series' own: the pod


class Number(NamedTuple):
    """A point of a sum or an updowncounter. `value` None: no recorded value, the series has ended."""

    attributes: Attributes
    start_unix_ns: int
    time_unix_ns: int
    value: int | float | None


class Histogram(NamedTuple):
    """A point of an explicit-bucket histogram, cumulative. `counts` is one longer than `bounds`; None: no value."""

    attributes: Attributes
    start_unix_ns: int
    time_unix_ns: int
    bounds: tuple[float, ...]
    counts: tuple[int, ...] | None
    sum: float | None
    exemplars: tuple[Exemplar, ...] = ()


class Measurement(NamedTuple):
    """All points of one metric on one resource. The metric's kind, unit and description are the catalogue's."""

    metric: str
    points: tuple[Number | Histogram, ...]


@dataclass(frozen=True, slots=True)
class ResourceMeasurements:
    """What one collection tells of a pod, a container or the node, by instrumentation scope (`otel_kernel.ebpf`, ...).

    `resource` has its attributes, with `service.instance.id`; the exporter adds service.name and host.*.
    """

    level: Level
    resource: Attributes
    scopes: Mapping[str, tuple[Measurement, ...]]


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An OTLP log record with an event name, in a birth's trace context when that is known."""

    name: str
    time_unix_ns: int
    resource: Attributes
    scope: str
    attributes: Attributes
    body: str  # for people
    severity: Literal["info", "warn", "error"] = "info"
    trace_id: bytes | None = None
    span_id: bytes | None = None
