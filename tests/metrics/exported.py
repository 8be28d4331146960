"""What an agent wrote of metrics and log events, read from its OTLP JSON lines by JSON alone."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Attributes = Mapping[str, Any]
NO_RECORDED_VALUE = 1


class Key(NamedTuple):
    """What tells a series from others where only that is kept: as Prometheus does."""

    instance: str
    metric: str
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Point:
    """One point. `value` is None where none was recorded: the series has ended; a histogram's is its count."""

    key: Key
    resource: Attributes
    scope: str
    monotonic: bool
    start_ns: int
    time_ns: int
    value: float | None
    raw: Mapping[str, Any]

    @property
    def raw_attributes(self) -> Attributes:
        """The attributes as they were said, lists among them."""
        return _attributes(self.raw)


@dataclass(frozen=True)
class Event:
    """One log event."""

    name: str
    time_ns: int
    resource: Attributes
    attributes: Attributes
    trace_id: str
    raw: Mapping[str, Any]


class Exported:
    """A file that an agent writes, read from where the last reading ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self.points: list[Point] = []
        self.events: list[Event] = []
        self.births: list[str] = []  # trace ids of births that were over

    def read(self) -> "Exported":
        """Take in what is new, without a half-written line; return itself."""
        if not self._path.exists():
            return self
        with self._path.open("rb") as file:
            file.seek(self._at)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(newline)
        for line in whole.splitlines():
            request = json.loads(line)
            self.points += _points(request)
            self.events += _events(request)
            self.births += _births(request)
        return self

    def so_far(self) -> "Exported":
        """Return what has been read so far, and no more."""
        told = Exported(self._path)
        told.points, told.events = [*self.points], [*self.events]
        return told

    def series(self, instance: str, metric: str, **attributes: str) -> list[Point]:
        """Return the points of one series, or of several that have these attributes, in the order of their telling."""
        wanted = {(name.replace("_", "."), value) for name, value in attributes.items()}
        return [
            point
            for point in self.points
            if point.key[:2] == (instance, metric) and wanted <= set(_last_words(point.key.attributes))
        ]

    def last(self, instance: str, metric: str, **attributes: str) -> float:
        """Return the value of the last point of one series. Raises LookupError when it has none."""
        points = self.series(instance, metric, **attributes)
        if not points or points[-1].value is None:
            raise LookupError(f"no value of {metric} of {instance}")
        return points[-1].value

    def metrics_of(self, instance: str) -> set[str]:
        """Return the names of the metrics of a pod, a container or the node."""
        return {point.key.metric for point in self.points if point.key.instance == instance}

    def lost(self, kind: str) -> float:
        """Return how often the agents, one after the other, counted a loss of this kind."""
        points = [point for point in self.points if point.key.metric == "otel_kernel.agent.events.lost"]
        totals = {
            point.start_ns: point.value or 0 for point in points if ("kind", kind) in _last_words(point.key.attributes)
        }
        return sum(totals.values())

    def collections(self) -> list[int]:
        """Return when collections ended, Unix nanoseconds: the node's own points are told last."""
        return sorted({point.time_ns for point in self.points if point.key.metric == "otel_kernel.agent.pods"})

    def wait_for_collection(self, limit_s: float = 30) -> "Exported":
        """Return once a collection that began after this call is there. Raises TimeoutError."""
        now_ns, deadline = time.time_ns(), time.monotonic() + limit_s
        while not any(at > now_ns for at in self.read().collections()[-1:]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no collection within {limit_s} s")
            time.sleep(0.05)
        # The one that was under way may have read what is of interest before.
        known = len(self.collections())
        while len(self.read().collections()) == known:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no further collection within {limit_s} s")
            time.sleep(0.05)
        return self

    def instances(self) -> set[str]:
        """Return whose points there are."""
        return {point.key.instance for point in self.points}


def _points(request: Mapping[str, Any]) -> Iterator[Point]:
    for of_resource in request.get("resourceMetrics", ()):
        resource = _attributes(of_resource["resource"])
        for scope in of_resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                data = metric.get("sum") or metric["histogram"]
                assert data["aggregationTemporality"] == 2  # cumulative
                for raw in data["dataPoints"]:
                    attributes = tuple(sorted((key, str(value)) for key, value in _attributes(raw).items()))
                    yield Point(
                        Key(resource["service.instance.id"], metric["name"], attributes),
                        resource,
                        scope["scope"]["name"],
                        data.get("isMonotonic", True),
                        int(raw["startTimeUnixNano"]),
                        int(raw["timeUnixNano"]),
                        None if raw.get("flags", 0) & NO_RECORDED_VALUE else _number(raw),
                        raw,
                    )


def _events(request: Mapping[str, Any]) -> Iterator[Event]:
    for of_resource in request.get("resourceLogs", ()):
        resource = _attributes(of_resource["resource"])
        for scope in of_resource["scopeLogs"]:
            for raw in scope["logRecords"]:
                yield Event(
                    raw["eventName"],
                    int(raw["timeUnixNano"]),
                    resource,
                    _attributes(raw),
                    raw.get("traceId", ""),
                    raw,
                )


def _births(request: Mapping[str, Any]) -> Iterator[str]:
    for of_resource in request.get("resourceSpans", ()):
        for scope in of_resource["scopeSpans"]:
            for span in scope["spans"]:
                attributes = _attributes(span)
                is_birth = attributes.get("otel_kernel.level") == "birth"
                if is_birth and attributes["otel_kernel.birth.completion"] == "quiet":
                    yield span["traceId"]


def _number(raw: Mapping[str, Any]) -> float:
    if "asInt" in raw:
        return int(raw["asInt"])
    return float(raw["asDouble"]) if "asDouble" in raw else int(raw["count"])


def _attributes(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {entry["key"]: _value(entry["value"]) for entry in owner.get("attributes", ())}


def _value(value: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an attribute is of any type
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_value(item) for item in value["arrayValue"].get("values", ())]
    return next(iter(value.values()), None)


def _last_words(attributes: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    for key, value in attributes:
        yield key.rpartition(".")[2], value


def broken(points: list[Point], restarts_ns: tuple[int, ...] = ()) -> Iterator[str]:
    """Yield in words what a store of series would stumble over; `restarts_ns`: when an agent was started anew.

    Series are told apart by instance, metric and attributes alone. In each, time rises by a millisecond or more; within
    one start counts never fall; a start changes, and another container comes under one name, only after the series has
    ended, or with another agent.
    """
    last: dict[Key, Point] = {}
    for point in points:
        before, last[point.key] = last.get(point.key), point
        if point.start_ns > point.time_ns:
            yield f"{point.key} starts after its point"
        if before is None or before.raw == point.raw:
            continue
        if point.time_ns // 1_000_000 <= before.time_ns // 1_000_000:
            yield f"{point.key} goes back in time by {before.time_ns - point.time_ns} ns"
        if before.value is None or any(before.time_ns < at <= point.time_ns for at in restarts_ns):
            if point.value is None:
                yield f"{point.key} ends twice"
            continue
        if point.resource.get("container.id") != before.resource.get("container.id"):
            yield f"{point.key} meets another container"
        if point.value is not None and point.start_ns != before.start_ns:
            yield f"{point.key} moves its start by {point.start_ns - before.start_ns} ns"
        if point.monotonic and point.value is not None and point.value < before.value:
            yield f"{point.key} falls from {before.value} to {point.value}"
