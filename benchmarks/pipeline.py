"""What the way from a birth's end to Jaeger and the operator takes: time, bytes, memory."""

import contextlib
import gzip
import json
import re
import statistics
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from benchmarks import agent
from benchmarks.results import Result, Row
from demo.agent import PROGRAM
from demo.backends import backends
from demo.backends.backends import Collector, Jaeger
from demo.backends.programs import Programs, programs
from demo.backends.service import Service, free_ports
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from tests.bridge.births import as_protobuf, recorded
from tests.bridge.operator_mock import Operator, operating

NEEDS = ("containerd", "ctr", "runc", "gcc", "setpriv", "go")
BIRTHS = 40
CONTAINERS = (Container("app"), Container("sidecar"))
QUIET_S = 0.5
LIMIT_S = 60
NS_PER_MS = 1_000_000


def measure(say: Callable[[str], None]) -> Result:
    """Bear pods beside a real collector, Jaeger and bridge."""
    say("making sure of collector, Jaeger and Prometheus")
    found = programs()
    with tempfile.TemporaryDirectory() as temporary, Lab() as lab, operating(Operator()) as operator:
        directory = Path(temporary)
        say(f"{BIRTHS} births through collector, Jaeger and bridge")
        jaeger, collector, bridge = _pipeline(found, directory, operator.url)
        with jaeger.service, bridge, collector.service:
            idle = [_rss_mb(service) for service in (collector.service, bridge)]
            delays_ms = _delays_ms(lab, jaeger, collector)
            after = [_rss_mb(service) for service in (collector.service, bridge)]
            highest = [_rss_mb(service, "VmHWM") for service in (collector.service, bridge)]
    plain, packed = _bytes()
    rows = [
        Row("birth's end to its trace in Jaeger", delays_ms, "ms", f"p99 {_p99(delays_ms):.0f} ms"),
        Row("the recorded birth of two containers on the wire, OTLP protobuf", [plain / 1e3], "kB"),
        Row("- with gzip", [packed / 1e3], "kB", f"1/{plain / packed:.0f}"),
    ]
    for at, name in enumerate(("collector", "bridge")):
        rows.append(Row(f"RSS of the {name}, idle", [idle[at]], "MB"))
        rows.append(Row("- after the births", [after[at]], "MB", f"highest {highest[at]:.0f} MB"))
    method = (
        f"{BIRTHS} pods of two containers one after the other; OTEL_KERNEL_BIRTH_QUIET={QUIET_S}, which is taken off. "
        "From the last time that any span of the trace tells to the moment its API gives all of the trace, asked every "
        "10 ms. collector-config/sidecar.yaml, which waits up to 200 ms for a batch; the bridge before a mock of the "
        "operator that accepts all."
    )
    return Result("How long until a birth is in Jaeger, and what does the way cost?", method, rows)


def _pipeline(found: Programs, directory: Path, url: str) -> tuple[Jaeger, Collector, Service]:
    (port,) = free_ports(1)
    settings = {
        "OTEL_KERNEL_BRIDGE_URL": url,
        "OTEL_KERNEL_BRIDGE_STATE": str(directory / "state"),
        "OTEL_KERNEL_BRIDGE_LISTEN": f"127.0.0.1:{port}",
    }
    bridge = Service([PROGRAM, "bridge"], settings, directory / "bridge.log", f"http://127.0.0.1:{port}/health")
    jaeger, prometheus = backends.jaeger(found, directory), "http://127.0.0.1:9"
    where = {"JAEGER_ENDPOINT": jaeger.otlp, "PROMETHEUS_ENDPOINT": prometheus}
    given = {**where, "BRIDGE_ENDPOINT": f"http://127.0.0.1:{port}"}
    return jaeger, backends.collector(found, directory, "sidecar", given), bridge


def _delays_ms(lab: Lab, jaeger: Jaeger, collector: Collector) -> list[float]:
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_KERNEL_OUTPUT": "otlp",
        "OTEL_KERNEL_KUBERNETES": "off",
        "OTEL_KERNEL_BIRTH_QUIET": str(QUIET_S),
    }
    delays = []
    with agent.running(settings):
        for number in range(BIRTHS):
            born = lab.bear(Pod(name=f"way-{number}", containers=CONTAINERS))
            delays.append(_delay_ms(jaeger, born))
            lab.remove(born)
    return delays


def _delay_ms(jaeger: Jaeger, born: BornPod) -> float:
    url = f"{jaeger.url}/api/traces/{born.pod.uid.replace('-', '')}"
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.HTTPError):  # not there yet
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http, on loopback
                arrived_ns = time.time_ns()
                spans = json.load(answer)["data"][0]["spans"]
            last_us = max(span["startTime"] + span["duration"] for span in spans)
            return float(arrived_ns / NS_PER_MS - last_us / 1000 - QUIET_S * 1000)
        time.sleep(0.01)
    raise RuntimeError(f"no trace of {born.pod.name} in Jaeger within {LIMIT_S} s")


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[98]


def _bytes() -> tuple[int, int]:
    """Return the size of a recorded birth as it leaves the agent, and packed as exporters pack it."""
    request = as_protobuf(recorded())
    return len(request), len(gzip.compress(request))


def _rss_mb(service: Service, name: str = "VmRSS") -> float:
    status = Path(f"/proc/{service.pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1e3 if found else float("nan")
