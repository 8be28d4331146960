"""A pipeline of a test's own, which it may break: all but the operator is real (tests/bridge/operator_mock.py)."""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
import yaml

from demo.backends import backends
from demo.backends.backends import PROMETHEUS_DIRECTORY, Collector, Jaeger, Prometheus
from demo.backends.programs import Programs
from demo.backends.service import free_ports
from otel_kernel.births.trace import Trace
from otel_kernel.telemetry.encode import encode
from tests.bridge.births import HOST, PROTOBUF, birth
from tests.bridge.operator_mock import Operator
from tests.bridge.running import RunningBridge
from tests.pipeline.asking import own_metrics, query, search


@dataclass(frozen=True, slots=True)
class Setup:
    """A pipeline of its own, which a test may break."""

    jaeger: Jaeger
    prometheus: Prometheus
    collector: Collector
    bridge: RunningBridge
    operator: Operator

    def send(self, *traces: Trace) -> list[int]:
        """Send traces to the collector and return the statuses, 0 where it has gone."""
        statuses = []
        for request in itertools.chain.from_iterable(encode(each, HOST) for each in traces):
            try:
                url = f"{self.collector.http}/v1/traces"
                statuses.append(requests.post(url, data=request, headers=PROTOBUF, timeout=20).status_code)
            except requests.RequestException:
                statuses.append(0)
        return statuses

    def in_jaeger(self) -> set[str]:
        """Return the ids of the traces there."""
        return search(self.jaeger, "otel-kernel")

    def accounted(self, traces: list[Trace]) -> Counter[str]:
        """Assert that no birth was told twice and each is told or counted; return what became of how many."""
        pods = Counter(self.operator.pods())
        assert [pod for pod, times in pods.items() if times > 1] == []
        ends = ("posted", "ambiguous", "refused", "skipped", "unwritten", "expired")
        counted = Counter({end: self.bridge.count(end) for end in ends})
        assert sum(counted.values()) == len(traces)
        assert counted["posted"] <= len(pods) <= counted["posted"] + counted["ambiguous"]
        return counted


def set_up(programs: Programs, directory: Path, operator: Operator, configuration: Path | None = None,
           **environment: str) -> tuple[Setup, RunningBridge]:  # fmt: skip
    """Return a pipeline with nothing started."""
    bridge = RunningBridge(directory / "bridge", operator.url)
    own = str(free_ports(1)[0])
    scraped = {"localhost:8888": f"127.0.0.1:{own}", "interval: 15s": "interval: 1s"}
    jaeger, prometheus = backends.jaeger(programs, directory), backends.prometheus(programs, directory, scraped)
    given = {
        "TELEMETRY_PORT": own,
        "JAEGER_ENDPOINT": jaeger.otlp,
        "PROMETHEUS_ENDPOINT": prometheus.otlp,
        "BRIDGE_ENDPOINT": bridge.at,
        **environment,
    }
    name = str(configuration.with_suffix("")) if configuration else "sidecar"
    return Setup(jaeger, prometheus, backends.collector(programs, directory, name, given), bridge, operator), bridge


@contextlib.contextmanager
def running(setup: Setup) -> Iterator[Setup]:
    """Run all of it."""
    setup.bridge.start()
    with setup.jaeger.service, setup.prometheus.service, setup.collector.service:
        try:
            yield setup
        finally:
            setup.bridge.kill()
    assert [line for line in setup.bridge.messages() if "Traceback" in line] == []


def births(count: int) -> list[Trace]:
    """Return births of so many pods."""
    return [birth(number) for number in range(count)]


def ids(traces: list[Trace]) -> set[str]:
    """Return the ids of traces as Jaeger writes them."""
    return {each.trace_id.hex() for each in traces}


def failed(collector: Collector) -> dict[str, float]:
    """Return what the collector counted as lost or refused."""
    return {name: count for name, count in own_metrics(collector).items() if "failed" in name or "refused" in name}


def vanished(setup: Setup) -> float | None:
    """Return the spans for Jaeger that the collector lost without a word, as deploy/prometheus/rules.yml finds them.

    None while something waits, or Prometheus has not looked since.
    """
    groups = yaml.safe_load((PROMETHEUS_DIRECTORY / "rules.yml").read_text())["groups"]
    rules = {rule.get("record"): rule["expr"] for group in groups for rule in group["rules"]}
    found = query(setup.prometheus, rules["otel_kernel:collector_vanished:spans"])
    return next((float(each["value"][1]) for each in found if each["metric"]["exporter"] == "otlp_grpc/jaeger"), None)
