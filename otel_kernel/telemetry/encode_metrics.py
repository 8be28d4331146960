"""Measurements as requests of the OpenTelemetry protocol."""

from collections.abc import Iterable, Iterator, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_kernel import __version__
from otel_kernel.metrics.catalogue import METRICS, Metric
from otel_kernel.metrics.points import Attributes, Exemplar, Histogram, Measurement, Number, ResourceMeasurements, Value
from otel_kernel.telemetry.attributes import INT64, wire_attributes
from otel_kernel.telemetry.encode import REQUEST_LIMIT_BYTES, SCHEMA_URL, Host
from otel_kernel.telemetry.packing import parts

NO_VALUE = otlp.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
CUMULATIVE = otlp.AGGREGATION_TEMPORALITY_CUMULATIVE

Key = frozenset[tuple[str, Value]]  # a resource by its value
Scoped = tuple[str, Measurement]  # by instrumentation scope


class _Filling:
    """A request that is not full yet."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._resources: dict[Key, tuple[list[Scoped], bytes]] = {}
        self._size_bytes = 0

    def take(self, key: Key) -> list[Scoped]:
        """Return what is in it of a resource, which is to be said anew."""
        items, said = self._resources.get(key, ([], b""))
        if said:
            self._resources[key] = [], b""  # its place is kept
            self._size_bytes -= len(said)
        return items

    def add(self, key: Key, items: list[Scoped], said: Sequence[bytes]) -> Iterator[bytes | None]:
        """Take one more resource in; yields requests that are full. What comes in parts has a request for each."""
        if len(said) > 1:  # one of them might be lost
            yield from said
            return
        yield self.request() if self._size_bytes + len(said[0]) > self._limit_bytes else None
        self._resources[key] = items, said[0]
        self._size_bytes += len(said[0])

    def request(self) -> bytes | None:
        """Return it, and begin the next one; None when it is empty."""
        request = b"".join(said for _, said in self._resources.values())
        self._resources, self._size_bytes = {}, 0
        return request or None


class MetricsEncoder:
    """Says one collection after the other; remembers how the resources of the last one are said."""

    def __init__(self, host: Host, service: str, catalogue: Iterable[Metric] = METRICS) -> None:
        """Make one for the metrics of a catalogue. `service` is every resource's service.name."""
        self._host = host.attributes()
        self._service = service
        self._metrics = {metric.name: _metric(metric) for metric in catalogue}
        self._resources: dict[int, tuple[Attributes, bytes]] = {}
        self._remembered: dict[int, tuple[Attributes, bytes]] = {}

    def encode(
        self, collected: Iterable[ResourceMeasurements], *, limit_bytes: int = REQUEST_LIMIT_BYTES
    ) -> tuple[bytes, ...]:
        """Return all that `encoding` yields."""
        return tuple(said for said in self.encoding(collected, limit_bytes=limit_bytes) if said is not None)

    def encoding(
        self, collected: Iterable[ResourceMeasurements | None], *, limit_bytes: int = REQUEST_LIMIT_BYTES
    ) -> Iterator[bytes | None]:
        """Yield serialised `ExportMetricsServiceRequest`s of at most `limit_bytes` each; a point is not cut.

        None is yielded for all else that is collected: little is held at a time, and a caller may do other things.

        In a request there is one ResourceMetrics for each resource, equal ones merged by value: receivers that index by
        resource keep only the last of two (as the SDK's encoder does).

        Raises KeyError for a metric that the catalogue does not have.
        """
        self._remembered, self._resources = self._resources, {}
        filling = _Filling(limit_bytes)
        for each in collected:
            items = (
                [] if each is None else [(scope, one) for scope, measured in each.scopes.items() for one in measured]
            )
            if each is None or not any(one.points for _, one in items):
                yield None
                continue
            key = frozenset(each.resource.items())
            resource = self._resource(each.resource)
            items = filling.take(key) + [(scope, one) for scope, one in items if one.points]
            yield from filling.add(key, items, self._parts(resource, items, limit_bytes))
        yield filling.request()

    def _parts(self, resource: bytes, items: Sequence[Scoped], limit_bytes: int) -> list[bytes]:
        said = self._say(resource, items)
        if len(said) <= limit_bytes:
            return [said]
        points = [(scope, Measurement(each.metric, (point,))) for scope, each in items for point in each.points]
        return parts(points, lambda some: self._say(resource, some), limit_bytes)

    def _say(self, of_resource: bytes, items: Sequence[Scoped]) -> bytes:
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add(schema_url=SCHEMA_URL)
        resource.resource.ParseFromString(of_resource)
        scopes: dict[str, otlp.ScopeMetrics] = {}
        metrics: dict[tuple[str, str], otlp.Metric] = {}
        for scope, measurement in items:
            if scope not in scopes:
                scopes[scope] = _scope(resource.scope_metrics.add(schema_url=SCHEMA_URL), scope)
            name = measurement.metric
            if (scope, name) not in metrics:
                metrics[scope, name] = scopes[scope].metrics.add()
                metrics[scope, name].ParseFromString(self._metrics[name])
            _say_points(metrics[scope, name], measurement.points)
        return request.SerializeToString()

    def _resource(self, attributes: Attributes) -> bytes:
        # By identity: whoever measures keeps a resource's attributes from one collection to the next.
        known = self._resources.get(id(attributes)) or self._remembered.get(id(attributes))
        if known is None or known[0] is not attributes:
            all_ = {**self._host, **dict(sorted(attributes.items())), "service.name": self._service}
            known = attributes, wire_attributes(Resource, all_)
        self._resources[id(attributes)] = known
        return known[1]


def _metric(metric: Metric) -> bytes:
    said = otlp.Metric(name=metric.name, unit=metric.unit, description=metric.description)
    if metric.kind == "histogram":
        said.histogram.aggregation_temporality = CUMULATIVE
    else:
        said.sum.aggregation_temporality = CUMULATIVE
        said.sum.is_monotonic = metric.monotonic
    return said.SerializeToString()


def _scope(message: otlp.ScopeMetrics, name: str) -> otlp.ScopeMetrics:
    message.scope.name, message.scope.version = name, __version__
    return message


def _say_points(metric: otlp.Metric, points: Iterable[Number | Histogram]) -> None:
    for point in points:
        if isinstance(point, Histogram):
            _say_histogram(metric.histogram.data_points.add(), point)
        else:
            _say_number(metric.sum.data_points.add(), point)


def _say_number(message: otlp.NumberDataPoint, point: Number) -> None:
    if point.attributes:
        message.MergeFromString(wire_attributes(otlp.NumberDataPoint, point.attributes))
    message.start_time_unix_nano = point.start_unix_ns
    message.time_unix_nano = point.time_unix_ns
    value = point.value
    if value is None:
        message.flags = NO_VALUE
    elif isinstance(value, int) and value in INT64:
        message.as_int = value
    else:
        message.as_double = value


def _say_histogram(message: otlp.HistogramDataPoint, point: Histogram) -> None:
    if point.attributes:
        message.MergeFromString(wire_attributes(otlp.HistogramDataPoint, point.attributes))
    message.start_time_unix_nano = point.start_unix_ns
    message.time_unix_nano = point.time_unix_ns
    message.explicit_bounds.extend(point.bounds)
    # A histogram without value has all its fields, as zeros: Prometheus ends the series of those it finds, no others
    # (prometheusremotewrite/helper.go, addHistogramDataPoints).
    counts = point.counts or (0,) * (len(point.bounds) + 1)
    if point.counts is None:
        message.flags = NO_VALUE
    message.bucket_counts.extend(counts)
    message.count = sum(counts)
    if point.counts is None or point.sum is not None:
        message.sum = point.sum or 0.0
    for exemplar in point.exemplars:
        _say_exemplar(message.exemplars.add(), exemplar)


def _say_exemplar(message: otlp.Exemplar, exemplar: Exemplar) -> None:
    message.time_unix_nano = exemplar.time_unix_ns
    message.as_double = exemplar.value
    message.trace_id = exemplar.trace_id
    message.span_id = exemplar.span_id
    message.MergeFromString(wire_attributes(otlp.Exemplar, exemplar.attributes))
