"""Measurements said in OTLP, decoded again with OpenTelemetry's own messages."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_kernel import __version__
from otel_kernel.metrics.catalogue import METRICS, Kind, Metric
from otel_kernel.metrics.points import Attributes, Exemplar, Histogram, Measurement, Number, ResourceMeasurements
from otel_kernel.telemetry.encode import SCHEMA_URL, Host
from otel_kernel.telemetry.encode_metrics import MetricsEncoder
from otel_kernel.telemetry.otlp_json_metrics import metrics_line
from tests.telemetry.reading import attributes, read_back

T0 = 1_795_347_051_812_253_676
T1 = T0 + 15_000_000_000
LIMIT_BYTES = 1 << 20
HOST = Host("node-1", "abc", {"k8s.cluster.name": "c1", "service.instance.id": "the user's"})
POD: Attributes = {"k8s.pod.uid": "u1", "k8s.pod.name": "web-0", "service.instance.id": "u1"}
CONTAINER: Attributes = {**POD, "k8s.container.name": "app", "service.instance.id": "u1/app"}


def catalogued(name: str, kind: Kind, unit: str, description: str) -> Metric:
    """Return a metric of a catalogue."""
    return Metric(name, "pod", "cpu", kind, unit, description, "ebpf", needs="", cost="")


CATALOGUE = {
    "calls": catalogued("calls", "sum", "{call}", "System calls."),
    "memory": catalogued("memory", "updowncounter", "By", "Memory in use."),
    "wait": catalogued("wait", "histogram", "s", "Wait for a CPU."),
}


def number(value: float | None, attributes: Attributes | None = None) -> Number:
    """Return a point."""
    return Number(attributes or {}, T0, T1, value)


def of(resource: Attributes, *measured: Measurement, scope: str = "otel_kernel.ebpf") -> ResourceMeasurements:
    """Return measurements of one scope."""
    return ResourceMeasurements("pod", resource, {scope: measured})


def sent(*collected: ResourceMeasurements, limit_bytes: int = LIMIT_BYTES) -> list[ExportMetricsServiceRequest]:
    """Return the requests as a receiver reads them, none of them over the limit and each the same as a line of JSON."""
    requests = MetricsEncoder(HOST, "otel-kernel", CATALOGUE.values()).encode(collected, limit_bytes=limit_bytes)
    assert all(len(request) <= limit_bytes for request in requests)
    read = [ExportMetricsServiceRequest.FromString(request) for request in requests]
    assert [read_back(metrics_line(request), ExportMetricsServiceRequest) for request in requests] == read
    return read


def metrics_of(requests: Iterable[ExportMetricsServiceRequest]) -> Iterator[tuple[str, str, otlp.Metric]]:
    """Yield every metric with the instance and the scope it stands under."""
    for request in requests:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    instance = attributes(resource.resource.attributes)["service.instance.id"]
                    yield str(instance), scope.scope.name, metric


def only(*collected: ResourceMeasurements) -> otlp.Metric:
    """Return the one metric that was said."""
    ((_, _, metric),) = metrics_of(sent(*collected))
    return metric


def test_resource_scope_and_schema() -> None:
    """The resource has the node's, the user's and the pod's attributes and our service; the scope says the source."""
    (request,) = sent(of(POD, Measurement("calls", (number(1),)), scope="otel_kernel.cgroupfs"))
    (resource,) = request.resource_metrics
    assert attributes(resource.resource.attributes) == {
        "host.name": "node-1",
        "host.id": "abc",
        "k8s.cluster.name": "c1",
        "service.name": "otel-kernel",
        **POD,
    }
    (scope,) = resource.scope_metrics
    assert (scope.scope.name, scope.scope.version) == ("otel_kernel.cgroupfs", __version__)
    assert resource.schema_url == scope.schema_url == SCHEMA_URL


@pytest.mark.parametrize(("name", "monotonic"), [("calls", True), ("memory", False)])
def test_sums(name: str, monotonic: bool) -> None:
    """A sum is monotonic, an updowncounter not; both are cumulative, with unit and description of the catalogue."""
    metric = only(of(POD, Measurement(name, (number(7, {"a": "b"}),))))
    assert (metric.name, metric.unit) == (name, CATALOGUE[name].unit)
    assert metric.description == CATALOGUE[name].description
    assert metric.sum.is_monotonic is monotonic
    assert metric.sum.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = metric.sum.data_points
    assert (point.start_time_unix_nano, point.time_unix_nano, point.flags) == (T0, T1, 0)
    assert (point.as_int, attributes(point.attributes)) == (7, {"a": "b"})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (0, "as_int"),
        (-5, "as_int"),
        (2**53 + 1, "as_int"),
        (2**63 - 1, "as_int"),
        (-(2**63), "as_int"),
        (2**63, "as_double"),
        (2**64 - 1, "as_double"),
        (-(2**63) - 1, "as_double"),
        (0.0, "as_double"),
        (1.5, "as_double"),
        (math.inf, "as_double"),
    ],
)
def test_numbers_keep_their_type_and_value(value: float, kind: str) -> None:
    """Integers are integers, exact to 64 bits, and doubles beyond; floats are doubles. A zero is said, not left out."""
    (point,) = only(of(POD, Measurement("memory", (number(value),)))).sum.data_points
    assert point.WhichOneof("value") == kind
    assert getattr(point, kind) == (value if kind == "as_int" else float(value))


def test_the_end_of_a_series_has_no_value() -> None:
    """No recorded value is a flag on a point of the series without any value."""
    (point,) = only(of(POD, Measurement("calls", (number(None, {"a": "b"}),)))).sum.data_points
    assert (point.flags, point.WhichOneof("value")) == (1, None)
    assert (attributes(point.attributes), point.time_unix_nano) == ({"a": "b"}, T1)


def test_histograms() -> None:
    """Bounds, counts, their sum, the total and the exemplars with their ids arrive."""
    exemplar = Exemplar(T1 - 5, 0.75, b"t" * 16, b"s" * 8, {"k8s.pod.name": "web-0", "odd\udcff": 3})
    histogram = Histogram({"a": "b"}, T0, T1, (0.5, 1.0), (1, 2, 3), 4.5, (exemplar,))
    metric = only(of(POD, Measurement("wait", (histogram,))))
    assert metric.histogram.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = metric.histogram.data_points
    assert (point.start_time_unix_nano, point.time_unix_nano, point.flags) == (T0, T1, 0)
    assert ([*point.explicit_bounds], [*point.bucket_counts]) == ([0.5, 1.0], [1, 2, 3])
    assert (point.count, point.sum, attributes(point.attributes)) == (6, 4.5, {"a": "b"})
    (said,) = point.exemplars
    assert (said.time_unix_nano, said.as_double) == (T1 - 5, 0.75)
    assert (said.trace_id, said.span_id) == (b"t" * 16, b"s" * 8)
    assert attributes(said.filtered_attributes) == {"k8s.pod.name": "web-0", "odd\ufffd": 3}


def test_a_sum_that_is_not_known_is_not_said() -> None:
    """A histogram without a sum has none, which is not a sum of zero."""
    (point,) = only(of(POD, Measurement("wait", (Histogram({}, T0, T1, (1.0,), (0, 0), None),)))).histogram.data_points
    assert (point.HasField("sum"), point.count) == (False, 0)


def test_the_end_of_a_histogram_ends_all_its_series() -> None:
    """No recorded value keeps bounds, buckets and sum as zeros: receivers end the series they find in it."""
    (point,) = only(
        of(POD, Measurement("wait", (Histogram({}, T0, T1, (0.5, 1.0), None, None),)))
    ).histogram.data_points
    assert point.flags == 1
    assert ([*point.explicit_bounds], [*point.bucket_counts]) == ([0.5, 1.0], [0, 0, 0])
    assert (point.count, point.HasField("sum"), point.sum) == (0, True, 0.0)


def test_it_is_what_the_sdk_would_say() -> None:
    """OpenTelemetry's own encoder makes the same message of the same points."""
    exemplar = Exemplar(T1 - 5, 0.75, b"t" * 16, b"s" * 8, {"k8s.pod.name": "web-0"})
    points = (number(7, {"a": "b"}), number(1.5), number(0))
    ours = of(
        POD,
        Measurement("calls", points),
        Measurement("memory", points),
        Measurement("wait", (Histogram({"a": "b"}, T0, T1, (0.5, 1.0), (1, 2, 3), 4.5, (exemplar,)),)),
    )
    numbers = [
        sdk.NumberDataPoint(point.attributes, T0, T1, point.value) for point in points if point.value is not None
    ]
    ids = {"span_id": int.from_bytes(b"s" * 8), "trace_id": int.from_bytes(b"t" * 16)}
    exemplars = [SdkExemplar(exemplar.attributes, 0.75, T1 - 5, **ids)]
    nothing: Any = None  # what the SDK says of extremes that are not known, and its types do not
    waited = sdk.HistogramDataPoint({"a": "b"}, T0, T1, 6, 4.5, [1, 2, 3], [0.5, 1.0], nothing, nothing, exemplars)
    cumulative = sdk.AggregationTemporality.CUMULATIVE
    data: dict[str, sdk.Sum | sdk.Histogram] = {
        "calls": sdk.Sum(numbers, cumulative, is_monotonic=True),
        "memory": sdk.Sum(numbers, cumulative, is_monotonic=False),
        "wait": sdk.Histogram([waited], cumulative),
    }
    metrics = [sdk.Metric(each.name, each.description, each.unit, data[each.name]) for each in CATALOGUE.values()]
    scope = InstrumentationScope("otel_kernel.ebpf", __version__, SCHEMA_URL)
    resource = Resource({"host.name": "node-1", **dict(sorted(POD.items())), "service.name": "otel-kernel"}, SCHEMA_URL)
    scoped = sdk.ScopeMetrics(scope, metrics, SCHEMA_URL)
    theirs = encode_metrics(sdk.MetricsData([sdk.ResourceMetrics(resource, [scoped], SCHEMA_URL)]))
    (request,) = MetricsEncoder(Host("node-1"), "otel-kernel", CATALOGUE.values()).encode([ours])
    assert ExportMetricsServiceRequest.FromString(request) == theirs


def test_equal_resources_are_one() -> None:
    """Resources that read the same are merged, and in them equal scopes and equal metrics, without losing a point."""
    (request,) = sent(
        of(POD, Measurement("calls", (number(1, {"n": "1"}),))),
        of(CONTAINER, Measurement("calls", (number(2),))),
        of(
            dict(reversed(list(POD.items()))),
            Measurement("calls", (number(3, {"n": "3"}),)),
            Measurement("memory", (number(4),)),
        ),
        of(POD, Measurement("memory", (number(5),)), scope="otel_kernel.cgroupfs"),
    )
    found = [
        (instance, scope, metric.name, [point.as_int for point in metric.sum.data_points])
        for instance, scope, metric in metrics_of([request])
    ]
    assert len(request.resource_metrics) == 2
    assert [len(each.scope_metrics) for each in request.resource_metrics] == [2, 1]
    assert found == [
        ("u1", "otel_kernel.ebpf", "calls", [1, 3]),
        ("u1", "otel_kernel.ebpf", "memory", [4]),
        ("u1", "otel_kernel.cgroupfs", "memory", [5]),
        ("u1/app", "otel_kernel.ebpf", "calls", [2]),
    ]


def test_nothing_measured_is_nothing_said() -> None:
    """Metrics without points, scopes without metrics and resources without either are left out."""
    assert sent() == []
    assert sent(of(POD), of(CONTAINER, Measurement("calls", ()))) == []
    assert len(sent(of(POD, Measurement("calls", ())), of(CONTAINER, Measurement("memory", (number(1),))))) == 1


def pods(count: int, points: int) -> list[ResourceMeasurements]:
    """Return measurements of many pods."""
    calls = tuple(number(each, {"otel_kernel.syscall.name": f"call{each}"}) for each in range(points))
    return [
        of(
            {**POD, "service.instance.id": f"pod{each}"},
            Measurement("calls", calls),
            Measurement("memory", (number(1),)),
        )
        for each in range(count)
    ]


def test_requests_fill_up_to_the_limit() -> None:
    """Many resources make few requests, each nearly full, and every resource is in one of them whole."""
    requests = sent(*pods(100, 10), limit_bytes=20_000)
    assert all(request.ByteSize() > 17_000 for request in requests[:-1])
    instances = [(instance, metric.name) for instance, _, metric in metrics_of(requests)]
    assert instances == [(f"pod{each}", name) for each in range(100) for name in ("calls", "memory")]


def test_a_resource_larger_than_a_request_is_cut_between_points() -> None:
    """No request has a resource twice, each keeps the limit, and every point arrives once, in order."""
    requests = sent(*pods(3, 400), limit_bytes=8_000)
    assert len(requests) >= 9
    for request in requests:
        instances = [attributes(each.resource.attributes)["service.instance.id"] for each in request.resource_metrics]
        assert len(set(instances)) == len(instances)
    for pod in range(3):
        found = [
            point.as_int
            for instance, _, metric in metrics_of(requests)
            if (instance, metric.name) == (f"pod{pod}", "calls")
            for point in metric.sum.data_points
        ]
        assert found == [*range(400)]


def test_one_collection_after_the_other() -> None:
    """What is remembered of a resource does not show: it may change, go and come back."""
    encoder = MetricsEncoder(HOST, "otel-kernel", CATALOGUE.values())
    first = of(POD, Measurement("calls", (number(1),)))
    changed = replace(first, resource={**POD, "k8s.pod.name": "db-0"})
    said = [encoder.encode(each) for each in ([first], [changed], [], [first], [first, changed])]
    assert said[0] == said[3]
    assert said[2] == ()
    fresh = [
        MetricsEncoder(HOST, "otel-kernel", CATALOGUE.values()).encode(each) for each in ([changed], [first, changed])
    ]
    assert [said[1], said[4]] == fresh
    assert len(encoder._resources) == 2
    encoder.encode([])
    assert not encoder._resources


def test_the_whole_catalogue_can_be_said() -> None:
    """Every metric of the real catalogue goes out with its name, unit, kind and description."""
    for each in METRICS:
        histogram = Histogram({}, T0, T1, each.bounds, (1,) * (len(each.bounds) + 1), 1.0)
        point = histogram if each.kind == "histogram" else number(1)
        (request,) = MetricsEncoder(HOST, "otel-kernel").encode([of(POD, Measurement(each.name, (point,)))])
        ((_, _, said),) = metrics_of([ExportMetricsServiceRequest.FromString(request)])
        assert (said.name, said.unit, said.description) == (each.name, each.unit, each.description)
        assert said.WhichOneof("data") == ("histogram" if each.kind == "histogram" else "sum")
        assert said.sum.is_monotonic is (each.kind == "sum")


def test_a_metric_that_is_not_catalogued_is_a_mistake_of_ours() -> None:
    """A name that the catalogue does not have is not said in any other way."""
    with pytest.raises(KeyError, match="unknown"):
        sent(of(POD, Measurement("unknown", (number(1),))))


VALUES = st.one_of(st.none(), st.integers(-(2**64), 2**64), st.floats(allow_nan=False))
TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)
POINTS = st.builds(
    Number,
    st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(-(2**70), 2**70), st.booleans()), max_size=2),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    VALUES,
)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.lists(POINTS, max_size=5)), max_size=6),
    st.sampled_from([700, LIMIT_BYTES]),
)
def test_no_point_is_lost_or_made(collected: list[tuple[str, list[Number]]], limit_bytes: int) -> None:
    """Whatever comes in, every point goes out once under its resource."""
    measured = [
        replace(of(POD, Measurement("calls", tuple(points))), resource={"service.instance.id": instance})
        for instance, points in collected
    ]
    found: dict[str, int] = {}
    for instance, _, metric in metrics_of(sent(*measured, limit_bytes=limit_bytes)):
        found[instance] = found.get(instance, 0) + len(metric.sum.data_points)
    expected: dict[str, int] = {}
    for instance, points in collected:
        expected[instance] = expected.get(instance, 0) + len(points)
    assert found == {instance: count for instance, count in expected.items() if count}
