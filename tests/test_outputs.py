"""Births, metrics and events on their ways out, to real receivers and files."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_kernel.births.trace import Span, Trace
from otel_kernel.health import Counter, Health
from otel_kernel.metrics.points import LogEvent, Measurement, Number, ResourceMeasurements
from otel_kernel.outputs import Outputs
from otel_kernel.settings import Settings
from otel_kernel.telemetry.encode import Host
from otel_kernel.telemetry.endpoint import EndpointError
from tests.telemetry.collectors import Answer, Received, grpc_collector, http_collector, until

POD = {"k8s.pod.name": "web-0"}
BIRTH = Trace(b"t" * 16, "otel_kernel.ebpf", (Span(b"r" * 8, None, "pod birth", 1, 2, "otel-kernel", {}),), POD)
CPU = Measurement("k8s.pod.cpu.time", (Number({}, 1, 2, 3.5),))
COLLECTED = [ResourceMeasurements("pod", POD, {"otel_kernel.cgroupfs": (CPU,)})]
EVENT = LogEvent("otel_kernel.oom_kill", 2, POD, "otel_kernel.ebpf", {}, "killed", "warn", b"t" * 16, b"r" * 8)


def opened(environ: dict[str, str], health: Health | None = None) -> Outputs:
    """Return the outputs that an environment makes."""
    settings = Settings.load({"OTEL_SERVICE_NAME": "kernel-of-mine", **environ})
    return Outputs(settings, Host("node-1"), health or Health())


def everything(outputs: Outputs) -> None:
    """Send one of each and close."""
    outputs.send(BIRTH)
    list(outputs.send_metrics(COLLECTED))
    outputs.send_events([EVENT])
    outputs.close()


@pytest.mark.parametrize(
    ("collector", "protocol", "paths"),
    [
        (http_collector, "http/protobuf", {"/v1/traces", "/v1/metrics", "/v1/logs"}),
        (
            grpc_collector,
            "grpc",
            {
                "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
                "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            },
        ),
    ],
)
def test_one_endpoint_for_everything(collector: Callable[..., ExitStack], protocol: str, paths: set[str]) -> None:
    """With one endpoint births, metrics and events arrive there, each at its place and readable as what it is."""
    received = Received()
    with collector(received) as port:
        endpoint = f"http://127.0.0.1:{port}"
        everything(opened({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}))
    assert set(received.paths) == paths
    by_path = dict(zip(received.paths, received.requests, strict=True))
    requests = {name: body for path, body in by_path.items() for name in ("trace", "metrics", "logs") if name in path}
    traces = ExportTraceServiceRequest.FromString(requests["trace"]).resource_spans[0]
    metrics = ExportMetricsServiceRequest.FromString(requests["metrics"]).resource_metrics[0]
    logs = ExportLogsServiceRequest.FromString(requests["logs"]).resource_logs[0]
    assert traces.scope_spans[0].spans[0].name == "pod birth"
    assert metrics.scope_metrics[0].metrics[0].sum.data_points[0].as_double == 3.5
    record = logs.scope_logs[0].log_records[0]
    assert record.event_name == "otel_kernel.oom_kill"
    assert abs(record.observed_time_unix_nano - time.time_ns()) < 60e9
    for resource in (metrics.resource, logs.resource):
        names = {each.key: each.value.string_value for each in resource.attributes}
        assert names == {"host.name": "node-1", "service.name": "kernel-of-mine", "k8s.pod.name": "web-0"}


def test_each_signal_to_its_own_receiver() -> None:
    """Births go by gRPC to one, metrics by HTTP to another, and events, which are not wanted, to nobody."""
    births, metrics = Received(), Received()
    with grpc_collector(births) as jaeger, http_collector(metrics) as prometheus:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{jaeger}",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{prometheus}/api/v1/otlp/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-tenant=a",
            "OTEL_LOGS_EXPORTER": "none",
        }
        health = Health()
        everything(opened(environ, health))
    assert len(births.requests) == len(metrics.requests) == 1
    assert metrics.paths == ["/api/v1/otlp/v1/metrics"]
    assert metrics.headers["x-tenant"] == "a"
    assert "x-tenant" not in births.headers
    assert {counter: count for counter, count in health.snapshot().items() if count} == {Counter.BIRTHS: 1}


def test_a_receiver_without_metrics_does_not_lose_births(caplog: pytest.LogCaptureFixture) -> None:
    """What one signal's receiver refuses, or is slow to take, does not touch the others."""
    births, metrics = Received(), Received([Answer(404)])
    with http_collector(births) as good, http_collector(metrics) as bad, caplog.at_level(logging.WARNING):
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{good}",
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{bad}/v1/metrics",
        }
        health = Health()
        everything(opened(environ, health))
    assert sorted(births.paths) == ["/v1/logs", "/v1/traces"]
    counts = health.snapshot()
    assert (counts[Counter.METRICS_REFUSED], counts[Counter.EXPORT_REFUSED]) == (1, 0)
    (line,) = caplog.messages
    assert line.startswith("the collector refuses metrics for good: HTTP 404")


def test_metrics_do_not_push_out_births() -> None:
    """While nobody answers, more metrics than fit drop the oldest metrics and no birth."""
    with http_collector(Received()) as port:
        pass  # from now on nobody answers there
    health = Health()
    outputs = opened({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}, health)
    outputs.send(BIRTH)
    points = tuple(Number({"k": "v" * 200}, 1, 2, each) for each in range(4000))
    many = [replace(COLLECTED[0], scopes={"s": (CPU._replace(points=points),)})]
    for _ in range(8):
        list(outputs.send_metrics(many))
    counts = health.snapshot()
    assert counts[Counter.METRICS_DROPPED] > 0
    assert counts[Counter.EXPORT_DROPPED] == 0
    received = Received()
    with http_collector(received, port):
        until(lambda: "/v1/traces" in received.paths)
        outputs.close()


def test_the_end_comes_in_time_when_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three signals whose receivers say nothing end together, not one after the other, and are counted."""
    monkeypatch.setattr("otel_kernel.outputs.FLUSH_LIMIT_S", 0.5)
    with http_collector(Received([Answer(delay_s=2)] * 3)) as port:
        health = Health()
        outputs = opened({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}, health)
        before_s = time.monotonic()
        everything(outputs)
        assert time.monotonic() - before_s < 1.4
    counts = health.snapshot()
    dropped = (Counter.EXPORT_DROPPED, Counter.METRICS_DROPPED, Counter.LOGS_DROPPED)
    assert [counts[counter] for counter in dropped] == [1, 1, 1]


def test_a_file_gets_everything(tmp_path: Path) -> None:
    """Births, metrics and events are lines of one file, each one request of OTLP."""
    path = tmp_path / "all.jsonl"
    everything(opened({"OTEL_KERNEL_OUTPUT": f"file:{path}"}))
    assert [[*json.loads(line)] for line in path.read_text().splitlines()] == [
        ["resourceSpans"],
        ["resourceMetrics"],
        ["resourceLogs"],
    ]


def test_what_is_not_wanted_is_written_to_no_file(tmp_path: Path) -> None:
    """OTEL_..._EXPORTER=none holds for files too."""
    path = tmp_path / "births.jsonl"
    unwanted = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    outputs = opened({"OTEL_KERNEL_OUTPUT": f"file:{path}", **unwanted})
    assert (outputs.take_metrics, outputs.take_events) == (False, False)
    everything(outputs)
    assert [[*json.loads(line)] for line in path.read_text().splitlines()] == [["resourceSpans"]]


def test_the_terminal_shows_births_and_events_and_no_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    """Metrics write nothing to the terminal, an event one line."""
    outputs = opened({"OTEL_KERNEL_OUTPUT": "terminal"})
    list(outputs.send_metrics(COLLECTED))
    outputs.send_events([EVENT, EVENT])
    assert capsys.readouterr().out == "otel_kernel.oom_kill web-0 - killed\n" * 2
    outputs.send(BIRTH)
    assert "pod birth" in capsys.readouterr().out
    outputs.close()


def test_an_endpoint_that_cannot_work_is_refused_at_start(tmp_path: Path) -> None:
    """A wrong file of any signal ends in one line before anything is observed."""
    (tmp_path / "ca.pem").write_text("no certificate")
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:4318",
        "OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE": str(tmp_path / "ca.pem"),
    }
    with pytest.raises(EndpointError, match=r"ca\.pem"):
        opened(environ)
