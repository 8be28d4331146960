"""What goes down, fills up or goes wrong: nothing is lost that is not counted, no birth is told to the operator twice.

The input is a recorded birth of a real pod under many names; collector, Jaeger, Prometheus and bridge are real, the
operator is a mock (tests/bridge/operator_mock.py).
"""

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from demo.backends.programs import CONFIGURATIONS, Programs
from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter as Lost
from otel_kernel.health import Health
from otel_kernel.metrics.points import Measurement, Number, ResourceMeasurements
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.encode_metrics import MetricsEncoder
from otel_kernel.telemetry.endpoint import OtlpEndpoint, open_transport
from otel_kernel.telemetry.sender import Patience, Sender
from tests.bridge.births import HOST, PROTOBUF, as_protobuf, birth
from tests.bridge.operator_mock import CONFLICT, Behaviour, Operator, operating
from tests.bridge.running import bridging
from tests.pipeline.asking import eventually, query, trace
from tests.pipeline.breakable import Setup, births, failed, ids, running, set_up, vanished

pytestmark = pytest.mark.go


@pytest.fixture
def setup(programs: Programs, tmp_path: Path) -> Iterator[Setup]:
    """Return a pipeline that runs."""
    with operating(Operator()) as operator, running(set_up(programs, tmp_path, operator)[0]) as started:
        yield started


def measured(value: int) -> bytes:
    """Return a request with one point."""
    now_ns = time.time_ns()
    resource = {"service.instance.id": "pod", "k8s.pod.name": "web"}
    points = (Number({}, now_ns - 10**9, now_ns, value),)
    told = ResourceMeasurements("pod", resource, {"x": (Measurement("k8s.pod.cpu.time", points),)})
    (request,) = MetricsEncoder(Host("node-1"), "otel-kernel").encode([told])
    return request


@pytest.mark.slow
def test_all_backends_down_for_a_minute(setup: Setup) -> None:
    """Jaeger, Prometheus and the operator are away while births and metrics come; all of it arrives afterwards."""
    traces = births(40)
    setup.jaeger.service.stop()
    setup.prometheus.service.stop()
    setup.operator.always = Behaviour(503)
    ends_at = time.monotonic() + 60
    for at, each in enumerate(traces):
        assert setup.send(each) == [200]
        sent = requests.post(f"{setup.collector.http}/v1/metrics", data=measured(at), headers=PROTOBUF, timeout=20)
        assert sent.status_code == 200
        time.sleep(max(0.0, (ends_at - time.monotonic()) / (len(traces) - at)))
    setup.jaeger.service.start()
    setup.prometheus.service.start()
    setup.operator.always = None
    eventually(lambda: setup.in_jaeger() == ids(traces))
    eventually(lambda: len(setup.operator.pods()) == len(traces))
    assert setup.accounted(traces) == Counter(posted=len(traces))
    points = 'count_over_time(k8s_pod_cpu_time_seconds_total{k8s_pod_name="web"}[10m])'
    eventually(lambda: [each["value"][1] for each in query(setup.prometheus, points)] == [str(len(traces))])
    assert failed(setup.collector) == {}


def test_the_operator_is_down(programs: Programs, tmp_path: Path) -> None:
    """Nobody listens: births wait with the collector, the bridge says so, and each is told once."""
    operator = Operator()
    with operating(operator):
        pass  # the port is kept
    setup, bridge = set_up(programs, tmp_path, operator)
    with running(setup):
        traces = births(20)
        for each in traces:
            assert setup.send(each) == [200]
        eventually(lambda: bridge.counts().get("otel_kernel_bridge_waiting"))
        with operating(operator):
            eventually(lambda: len(operator.pods()) == len(traces))
            eventually(lambda: bridge.count("posted") == len(traces))
            assert setup.accounted(traces) == Counter(posted=len(traces))
        assert failed(setup.collector) == {}


def test_an_operator_that_does_everything_wrong(setup: Setup) -> None:
    """Slow, 500, 503, 400, no JSON, cut: a birth is told once, or counted."""
    setup.operator.script = [
        Behaviour(503),
        Behaviour(500, b"oops", takes=True),
        Behaviour(400, CONFLICT),
        Behaviour(200, b"<html>"),
        Behaviour(takes=True, hangs_s=3),
        Behaviour(400, b"no"),
        Behaviour(cuts=True, takes=True),
        Behaviour(429),
        Behaviour(422, b"no"),
    ]
    traces = births(25)
    for each in traces:
        assert setup.send(each) == [200]
    eventually(lambda: sum(setup.bridge.count(end) for end in ("posted", "ambiguous", "refused")) == len(traces), 90)
    counted = setup.accounted(traces)
    assert (counted["ambiguous"], counted["refused"]) == (3, 2)
    assert failed(setup.collector) == {}
    attempted = Counter(each["pod_creation"]["pod_name"] for each in setup.operator.attempts)
    assert sum(attempted.values()) == len(traces) + 3  # 503, 429 and the conflict


def test_the_bridge_is_killed_again_and_again(setup: Setup) -> None:
    """Before, during and after POSTs, at whatever moment: never twice, and what is not told is counted."""
    setup.operator.always = Behaviour(takes=True, hangs_s=0.05)
    traces = births(60)
    ambiguous = posted = 0
    for at in range(0, len(traces), 15):
        for each in traces[at : at + 15]:
            assert setup.send(each) == [200]
        enough = at + 7
        eventually(lambda enough=enough: len(setup.operator.pods()) >= enough)  # type: ignore[misc]
        posted, ambiguous = posted + setup.bridge.count("posted"), ambiguous + setup.bridge.count("ambiguous")
        setup.bridge.kill()
        setup.bridge.start()
    last = len(traces)

    def done() -> bool:
        with requests.get(f"{setup.bridge.at}/metrics", timeout=10) as answer:
            return f"otel_kernel_bridge_ids {last}\n" in answer.text

    eventually(done)
    eventually(lambda: setup.bridge.counts().get("otel_kernel_bridge_waiting", 0) == 0)
    pods = Counter(setup.operator.pods())
    assert [pod for pod, times in pods.items() if times > 1] == []
    assert failed(setup.collector) == {}
    lost = len(traces) - len(pods)
    assert lost <= ambiguous + setup.bridge.count("ambiguous")


def with_small_queue(tmp_path: Path) -> Path:
    """Return sidecar.yaml with queues of 1 MiB, so that they fill within a test."""
    text = (CONFIGURATIONS / "sidecar.yaml").read_text()
    assert text.count("queue_size: 67108864") == 2
    path = tmp_path / "small.yaml"
    path.write_text(text.replace("queue_size: 67108864", "queue_size: 1048576").replace("262144", "65536")
                    .replace("max_size: 3145728", "max_size: 524288"))  # fmt: skip
    return path


def test_the_collector_is_killed_with_a_full_queue(programs: Programs, tmp_path: Path) -> None:
    """What it acknowledged survives; what it refused the sender knows of and sends again."""
    with operating(Operator()) as operator:
        setup, _ = set_up(programs, tmp_path, operator, with_small_queue(tmp_path))
        with running(setup):
            setup.jaeger.service.stop()
            traces = births(60)
            statuses = [setup.send(each)[0] for each in traces]
            assert set(statuses) == {200, 503}
            taken = [each for each, status in zip(traces, statuses, strict=True) if status == 200]
            assert failed(setup.collector)  # the refusals are counted
            setup.collector.service.kill()
            setup.collector.service.start()
            setup.jaeger.service.start()
            eventually(lambda: setup.in_jaeger() >= ids(taken))
            for each in traces:
                eventually(lambda each=each: setup.send(each) == [200])  # type: ignore[misc]
            eventually(lambda: setup.in_jaeger() == ids(traces))
            eventually(lambda: len(setup.operator.pods()) == len(traces))
            assert setup.accounted(traces) == Counter(posted=len(traces))
            for each in traces:
                spans = (trace(setup.jaeger, each.trace_id.hex()) or {})["spans"]
                assert len(spans) == len(each.spans)


@contextlib.contextmanager
def disk(at: Path, size: str) -> Iterator[Path]:
    """Mount a disk of that size."""
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def filled(at: Path) -> Path:
    """Fill a disk to its last page; return what to remove to have room again."""
    filler = at / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return filler


@pytest.mark.root
def test_the_queue_is_full_before_its_disk(programs: Programs, tmp_path: Path) -> None:
    """On a volume of eight times the queues' bounds the bound comes first: what is refused, the sender knows of."""
    with disk(tmp_path / "disk", "16m") as at, operating(Operator()) as operator:
        small = with_small_queue(tmp_path)
        setup, _ = set_up(programs, tmp_path, operator, small, QUEUE_DIRECTORY=str(at / "queue"))
        with running(setup):
            setup.jaeger.service.stop()
            operator.always = Behaviour(503)
            traces = births(80)
            statuses = [setup.send(each)[0] for each in traces]
            assert set(statuses) == {200, 503}
            assert "no space left" not in setup.collector.service.said()
            operator.always = None
            setup.jaeger.service.start()
            taken = [each for each, status in zip(traces, statuses, strict=True) if status == 200]
            eventually(lambda: setup.in_jaeger() >= ids(taken))


@pytest.mark.root
def test_the_disk_of_the_queue_is_full(programs: Programs, tmp_path: Path) -> None:
    """Filled by somebody else: nothing is taken that cannot be kept, and with room again everything goes on."""
    with disk(tmp_path / "disk", "4m") as at, operating(Operator()) as operator:
        setup, _ = set_up(programs, tmp_path, operator, QUEUE_DIRECTORY=str(at / "queue"))
        with running(setup):
            traces = births(20)
            assert setup.send(traces[0]) == [200]
            eventually(lambda: operator.pods() == ["web-0"] and setup.in_jaeger() == ids(traces[:1]))
            filler = filled(at)
            statuses = [setup.send(each)[0] for each in traces]
            assert statuses.count(503) > len(traces) // 2  # pages of the queue's own file may still be free
            assert failed(setup.collector)
            filler.unlink()
            for each in traces:
                eventually(lambda each=each: setup.send(each) == [200])  # type: ignore[misc]
            eventually(lambda: setup.in_jaeger() == ids(traces))
            eventually(lambda: len(operator.pods()) == len(traces))
            assert setup.accounted(traces) == Counter(posted=len(traces))


@pytest.mark.root
def test_a_disk_that_fills_under_a_waiting_queue(programs: Programs, tmp_path: Path) -> None:
    """What was acknowledged before and meanwhile is in Jaeger, or counted as vanished, to the span."""
    with disk(tmp_path / "disk", "64m") as at, operating(Operator()) as operator:
        setup, _ = set_up(programs, tmp_path, operator, QUEUE_DIRECTORY=str(at / "queue"))
        with running(setup):
            setup.jaeger.service.stop()
            before, meanwhile = births(60)[:30], births(60)[30:]
            assert {status for each in before for status in setup.send(each)} == {200}
            filler = filled(at)
            statuses = [setup.send(each)[0] for each in meanwhile]
            taken = [each for each, status in zip(meanwhile, statuses, strict=True) if status == 200]
            assert len(taken) < len(meanwhile)
            setup.jaeger.service.start()
            eventually(setup.in_jaeger)
            filler.unlink()
            after = birth(60)
            eventually(lambda: setup.send(after) == [200])
            eventually(lambda: trace(setup.jaeger, after.trace_id.hex()))
            acknowledged = [*before, *taken, after]

            def adds_up() -> bool:
                there = setup.in_jaeger()
                lost = sum(len(each.spans) for each in acknowledged if each.trace_id.hex() not in there)
                return vanished(setup) == lost

            eventually(adds_up)


def test_what_vanishes_is_counted(setup: Setup) -> None:
    """A span larger than a batch, which no agent sends, is taken, dropped, and counted by nobody but the rule."""
    request = ExportTraceServiceRequest.FromString(as_protobuf(birth(1)))
    spans = [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
    spans[-1].attributes.add(key="huge").value.string_value = "x" * 3_200_000
    url = f"{setup.collector.http}/v1/traces"
    sent = requests.post(url, data=request.SerializeToString(), headers=PROTOBUF, timeout=20)
    assert sent.status_code == 200
    assert eventually(lambda: vanished(setup)) == 1
    assert len((trace(setup.jaeger, birth(1).trace_id.hex()) or {})["spans"]) == len(spans) - 1
    assert failed(setup.collector) == {}


def test_the_collector_is_down_while_100_pods_are_born(programs: Programs, tmp_path: Path) -> None:
    """They wait in the agent's own queue, and arrive whole."""
    traces = births(100)
    health = Health()
    with operating(Operator()) as operator:
        setup, bridge = set_up(programs, tmp_path, operator)
        endpoint = OtlpEndpoint(setup.collector.grpc, protocol="grpc", insecure=True)
        sender = Sender(open_transport(endpoint), health, Patience(initial_s=0.2, maximum_s=1.0))
        for each in traces:
            sender.offer(encode(each, HOST))
        with running(setup):
            eventually(lambda: sender.waiting_bytes == 0)
            sender.flush(5)
            eventually(lambda: setup.in_jaeger() == ids(traces))
            eventually(lambda: len(operator.pods()) == len(traces))
            assert setup.accounted(traces) == Counter(posted=len(traces))
            for each in traces:
                assert len((trace(setup.jaeger, each.trace_id.hex()) or {})["spans"]) == len(each.spans)
    counts = health.snapshot()
    assert (counts[Lost.EXPORT_DROPPED], counts[Lost.EXPORT_REFUSED]) == (0, 0)
    assert counts[Lost.EXPORT_RETRIES] > 0
    assert bridge is setup.bridge


def grown(number: int, spans: int, attributes: int) -> Trace:
    """Return a birth with further spans under its root, each with so many more attributes."""
    trace_ = birth(number)
    root = trace_.spans[0]
    more = tuple(
        replace(
            trace_.spans[-1],
            span_id=(1 << 40 | at).to_bytes(8),
            parent_span_id=root.span_id,
            name="mount",
            start_unix_ns=root.start_unix_ns + at,
            end_unix_ns=root.start_unix_ns + at + 1,
            attributes={
                **trace_.spans[-1].attributes,
                **{f"attribute.{number}": "x" * 250 for number in range(attributes)},
            },
        )
        for at in range(spans)
    )
    return replace(trace_, spans=(*trace_.spans, *more))


@pytest.mark.parametrize(("spans", "attributes", "least_bytes"), [(5000, 0, 0), (2800, 14, 10_000_000)])
def test_a_huge_trace(setup: Setup, spans: int, attributes: int, least_bytes: int) -> None:
    """5,000 spans, and 10 MB: all of them are in Jaeger, without a warning, and the operator is told once."""
    huge = grown(1, spans, attributes)
    assert sum(map(len, encode(huge, HOST))) >= least_bytes
    assert set(setup.send(huge)) == {200}

    def whole() -> bool:
        found = trace(setup.jaeger, huge.trace_id.hex())
        return found is not None and len(found["spans"]) == len(huge.spans)

    eventually(whole)
    shown = trace(setup.jaeger, huge.trace_id.hex()) or {}
    assert [span["warnings"] for span in shown["spans"] if span.get("warnings")] == []
    eventually(lambda: setup.operator.pods() == ["web-1"])
    assert failed(setup.collector) == {}


def test_a_bridge_that_refuses_is_counted_by_the_collector(programs: Programs, tmp_path: Path) -> None:
    """A wrong token is not a silent loss: the collector counts what it could not send."""
    token = tmp_path / "token"
    token.write_text("secret")
    with operating(Operator()) as operator, bridging(tmp_path / "b", operator.url, LISTEN_TOKEN_FILE=token) as bridge:
        setup, _ = set_up(programs, tmp_path, operator, BRIDGE_ENDPOINT=bridge.at)
        with setup.jaeger.service, setup.collector.service:
            assert setup.send(birth(1)) == [200]
            eventually(lambda: failed(setup.collector))
            assert failed(setup.collector) == {"otelcol_exporter_send_failed_spans otlp_http/bridge": 1.0}
            assert operator.attempts == []
