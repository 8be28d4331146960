"""Metrics in Prometheus: every one of the catalogue, told apart by pod, with the way to the trace, ended when over."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.backends import backends
from demo.backends.backends import Collector, Prometheus
from demo.backends.programs import Programs
from demo.pod import Container, Pod
from otel_kernel.metrics.catalogue import BY_NAME, METRICS, Metric
from otel_kernel.metrics.points import Histogram, Measurement, Number, ResourceMeasurements
from otel_kernel.telemetry.encode import Host
from otel_kernel.telemetry.encode_metrics import MetricsEncoder
from tests.bridge.births import PROTOBUF
from tests.pipeline.asking import eventually, exemplars, number, own_metrics, query, trace
from tests.pipeline.conftest import Pipeline, name
from tests.pipeline.prometheus_names import label, series

pytestmark = [pytest.mark.containerd, pytest.mark.go]

PODS = ("web-1", "web-2")
UIDS = {pod: str(uuid.uuid5(uuid.NAMESPACE_DNS, pod)) for pod in PODS}


def told(output: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the resource and the name of every metric that the agent sent."""
    for line in output.read_text().split("\n")[:-1]:
        if line.startswith('{"resourceMetrics"'):
            for of_resource in json.loads(line)["resourceMetrics"]:
                attributes = {each["key"]: each["value"] for each in of_resource["resource"]["attributes"]}
                for scope in of_resource["scopeMetrics"]:
                    yield from ((attributes, metric["name"]) for metric in scope["metrics"])


def test_what_the_agent_sent_is_there(pipeline: Pipeline) -> None:
    """Every metric of a real run, with the labels people filter by."""
    names = eventually(lambda: {name for _, name in told(pipeline.output) if "throttled" in name} and
                       {name for _, name in told(pipeline.output)})  # fmt: skip
    for told_name in sorted(names):
        metric = BY_NAME[told_name]
        found = eventually(lambda metric=metric: query(pipeline.prometheus, f"last_over_time({series(metric)}[10m])"))  # type: ignore[misc]
        labels = {key for each in found for key in each["metric"]}
        wanted = {"job", "instance"}
        if metric.level in ("pod", "container"):
            wanted |= {"k8s_pod_name", "k8s_pod_uid", "k8s_namespace_name", "k8s_node_name"}
        if metric.level == "container":
            wanted.add("k8s_container_name")
        assert wanted <= labels, told_name
        assert {each["metric"]["job"] for each in found} == {"otel-kernel"}


def _names(pipeline: Pipeline) -> tuple[str, str]:
    return pipeline.throttled.pod.name, pipeline.quiet.pod.name


def test_real_pods_are_apart(pipeline: Pipeline) -> None:
    """Two pods with containers of one name: each its own series and its own values."""
    used = series(BY_NAME["container.cpu.time"])
    busy, idle = (f'{used}{{k8s_pod_name="{pod}",k8s_container_name="app"}}' for pod in _names(pipeline))
    both = f"{busy} > on () 10 * {idle}"
    eventually(lambda: query(pipeline.prometheus, both))
    assert len(query(pipeline.prometheus, f"{busy} or {idle}")) == 2


def test_throttling_of_a_real_pod(pipeline: Pipeline) -> None:
    """A share of the periods in the pod that wants more than a tenth of a CPU."""
    periods = "otel_kernel_container_cpu_periods_total"
    throttled = "otel_kernel_container_cpu_throttled_periods_total"
    mine = f'{{k8s_pod_name="{pipeline.throttled.pod.name}"}}'
    share = f"rate({throttled}{mine}[1m]) / rate({periods}{mine}[1m])"
    found = eventually(lambda: number(pipeline.prometheus, share) or 0.0)
    assert 0.0 < found <= 1.0  # on a busy machine it does not get its tenth in every period


def test_an_exemplar_leads_to_the_trace(pipeline: Pipeline) -> None:
    """From the histogram of start durations to a birth in Jaeger."""
    buckets = "otel_kernel_pod_start_duration_seconds_bucket"
    mine = {born.pod.uid.replace("-", "") for born in (pipeline.throttled, pipeline.quiet)}
    led = eventually(lambda: [each for each in exemplars(pipeline.prometheus, buckets) if each["trace_id"] in mine])
    for each in led:
        found = trace(pipeline.jaeger, each["trace_id"])
        assert found is not None
        assert each["span_id"] in {span["spanID"] for span in found["spans"]}
        assert each["k8s.pod.name"] in _names(pipeline)


def test_rates_of_births(pipeline: Pipeline) -> None:
    """The first birth of a namespace counts, too: its series began at zero."""
    in_shop = '{k8s_namespace_name="shop"}'
    for counter in ("otel_kernel_births_total", f"otel_kernel_pod_start_duration_seconds_count{in_shop}"):
        increase = f"sum(increase({counter}[10m]))"
        found = eventually(lambda increase=increase: number(pipeline.prometheus, increase) or 0.0)  # type: ignore[misc]
        assert found > 0.5, counter


def test_a_pod_that_ends_is_gone_at_once(pipeline: Pipeline) -> None:
    """Its series end with it, not five minutes later."""
    born = pipeline.lab.bear(Pod(name("brief"), (Container("app"),), namespace="shop"))

    def mine() -> set[str]:
        found = query(pipeline.prometheus, f'{{k8s_pod_name="{born.pod.name}"}}')
        return {each["metric"]["__name__"] for each in found} - {"target_info"}  # which Prometheus makes by itself

    eventually(lambda: "container_cpu_time_seconds_total" in mine())
    pipeline.lab.remove(born)
    began = time.monotonic()
    eventually(lambda: not mine())
    assert time.monotonic() - began < 60


def test_nothing_was_refused(pipeline: Pipeline) -> None:
    """Prometheus took every request, and so did the collector."""
    counts = own_metrics(pipeline.collector)
    assert counts["otelcol_exporter_sent_metric_points otlp_http/prometheus"] > 100
    assert [name for name in counts if "failed" in name or "refused" in name] == []


@pytest.fixture(scope="module")
def made(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, Prometheus]]:
    """Return a Prometheus behind a collector for measurements that are made up."""
    directory = tmp_path_factory.mktemp("made")
    prometheus = backends.prometheus(programs, directory)
    nowhere = {"JAEGER_ENDPOINT": "127.0.0.1:1", "BRIDGE_ENDPOINT": "http://127.0.0.1:1"}
    collector = backends.collector(programs, directory, "sidecar", {**nowhere, "PROMETHEUS_ENDPOINT": prometheus.otlp})
    with prometheus.service, collector.service:
        yield collector, prometheus


def point(metric: Metric, value: int) -> Number | Histogram:
    """Return a point with every attribute of the metric."""
    now_ns = time.time_ns()
    attributes = dict.fromkeys(metric.attributes, "x")
    if metric.kind == "histogram":
        counts = (value, *[0] * len(metric.bounds))
        return Histogram(attributes, now_ns - 10**9, now_ns, metric.bounds, counts, 0.1)
    return Number(attributes, now_ns - 10**9, now_ns, value)


def resources(metric: Metric) -> Sequence[tuple[str, dict[str, str]]]:
    """Return two resources that differ as two pods of one workload do, or two nodes; each with its name."""
    if metric.level == "node":
        return [(f"node-{at}", {"service.instance.id": f"node-{at}", "k8s.node.name": f"node-{at}"}) for at in (1, 2)]
    found = []
    for pod, uid in UIDS.items():
        resource = {"k8s.pod.name": pod, "k8s.pod.uid": uid, "k8s.namespace.name": "shop", "k8s.node.name": "node-1"}
        container = {"k8s.container.name": "app", "container.id": uid} if metric.level == "container" else {}
        instance = f"{uid}/app" if container else uid
        found.append((pod, {**resource, **container, "service.instance.id": instance}))
    return found


def test_every_metric_of_the_catalogue(made: tuple[Collector, Prometheus]) -> None:
    """All of them, whatever this machine has probes for: they arrive, and two pods never become one series."""
    collector, prometheus = made
    collected = [
        ResourceMeasurements(
            metric.level, resource, {metric.scope: (Measurement(metric.name, (point(metric, at + 1),)),)}
        )
        for metric in METRICS
        for at, (_, resource) in enumerate(resources(metric))
    ]
    for request in MetricsEncoder(Host("host-1"), "otel-kernel").encode(collected):
        sent = requests.post(f"{collector.http}/v1/metrics", data=request, headers=PROTOBUF, timeout=20)
        assert sent.status_code == 200
    eventually(lambda: query(prometheus, series(METRICS[-1])))
    for metric in METRICS:
        by = "k8s_node_name" if metric.level == "node" else "k8s_pod_name"
        found = query(prometheus, series(metric))
        values = {each["metric"][by]: float(each["value"][1]) for each in found}
        assert values == {name: at + 1 for at, (name, _) in enumerate(resources(metric))}, metric.name
        assert len(found) == 2
        assert all({label(each) for each in metric.attributes} <= each["metric"].keys() for each in found)
        if metric.level == "container":
            assert {each["metric"]["k8s_container_name"] for each in found} == {"app"}
