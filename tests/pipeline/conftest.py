"""The whole pipeline once, with a real agent and real pods, for all tests that only look."""

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.agent import Agent
from demo.backends import backends
from demo.backends.backends import Collector, Jaeger, Prometheus
from demo.backends.programs import Programs
from demo.backends.programs import programs as built_programs
from demo.backends.service import free_ports
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from tests.agreement.otlp_birth import Birth, read_births
from tests.bridge.operator_mock import Operator, operating
from tests.bridge.running import RunningBridge, bridging
from tests.pipeline.asking import eventually, trace

BUSY = ("/bin/sh", "-c", "while :; do :; done")


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Return the collector, Jaeger and Prometheus, built if they are not there."""
    return built_programs()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Everything, running."""

    agent: Agent
    lab: Lab
    jaeger: Jaeger
    prometheus: Prometheus
    collector: Collector
    bridge: RunningBridge
    operator: Operator
    output: Path  # what the agent says it sent
    throttled: BornPod
    quiet: BornPod

    def birth(self, born: BornPod) -> Birth:
        """Return a pod's birth as the agent sent it."""
        return eventually(lambda: read_births(self.output, born.pod.uid))[0]


@pytest.fixture(scope="session")
def pipeline(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Return the pipeline after the births of two pods: one is throttled, one sleeps, their containers named alike."""
    directory = tmp_path_factory.mktemp("pipeline")
    with contextlib.ExitStack() as stack:
        operator = stack.enter_context(operating(Operator()))
        bridge = stack.enter_context(bridging(directory / "bridge", operator.url))
        jaeger = backends.jaeger(programs, directory)
        own = str(free_ports(1)[0])
        given = {"JAEGER_ENDPOINT": jaeger.otlp, "BRIDGE_ENDPOINT": bridge.at, "TELEMETRY_PORT": own}
        scraped = {"localhost:4319": f"127.0.0.1:{bridge.port}", "localhost:8888": f"127.0.0.1:{own}"}
        prometheus = backends.prometheus(programs, directory, {**scraped, "interval: 15s": "interval: 1s"})
        collector = backends.collector(
            programs, directory, "sidecar", {**given, "PROMETHEUS_ENDPOINT": prometheus.otlp}
        )
        for service in (jaeger.service, prometheus.service, collector.service):
            stack.enter_context(service)
        output = directory / "told.jsonl"
        lab = stack.enter_context(Lab())
        agent = stack.enter_context(Agent(agent_settings(collector, output), directory / "agent.log"))
        throttled = lab.bear(Pod(name("throttled"), (Container("app", BUSY, cpu_quota_us=10_000),), namespace="shop"))
        quiet = lab.bear(Pod(name("quiet"), (Container("app"), Container("sidecar")), namespace="shop"))
        running = Pipeline(agent, lab, jaeger, prometheus, collector, bridge, operator, output, throttled, quiet)
        for born in (throttled, quiet):
            eventually(lambda born=born: trace(jaeger, born.pod.uid.replace("-", "")))  # type: ignore[misc]
        yield running


def name(word: str) -> str:
    """Return a pod's name that nobody else gives: an agent sees all pods of its machine."""
    return f"{word}-{secrets.token_hex(3)}"


def agent_settings(collector: Collector, output: Path) -> dict[str, str]:
    """Return the settings of an agent that sends to the collector, quickly, and writes down what it sent."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_KERNEL_OUTPUT": f"otlp,file:{output}",
        "OTEL_KERNEL_BIRTH_QUIET": "2",
        "OTEL_KERNEL_KUBERNETES": "off",
        "OTEL_KERNEL_NODE_NAME": "node-1",
        "OTEL_KERNEL_EBPF": "require",
    }
