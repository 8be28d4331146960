"""Births that the agent does not see whole: it ends, it begins, or it has no eBPF."""

import contextlib
import socket
import time
from pathlib import Path

import pytest

from demo.agent import Agent
from demo.lab import Lab
from demo.pod import Container, Pod
from tests.births_real.observation import COUNTS, assert_sound, observing, units

pytestmark = [pytest.mark.containerd, pytest.mark.slow]
STOP_LIMIT_S = 10  # docs/operating.md, "When the collector is away"


def test_an_agent_that_ends_during_a_birth_tells_it(lab: Lab, tmp_path: Path) -> None:
    """What was seen until then is exported, and says why it is not complete."""
    with observing(tmp_path, quiet_s=60) as observation:
        born = lab.bear(Pod("interrupted"))
        assert observation.births(born.pod.uid) == []
    (birth,) = observation.births(born.pod.uid)
    assert birth.count("completion") == "shutdown"
    assert birth.count("complete") is False
    assert units(birth) == ["sandbox", "container main"]
    assert_sound(birth)
    lab.remove(born)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_agent_ends_though_nobody_answers(lab: Lab, tmp_path: Path, protocol: str) -> None:
    """A collector that takes the connection and says nothing keeps it from ending no longer than was promised."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_KERNEL_KUBERNETES": "off",
        }
        with Agent(settings, tmp_path / "agent.log") as agent:
            born = lab.bear(Pod("unheard"))
            began = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - began < STOP_LIMIT_S
        (said,) = [line for line in agent.messages() if "counted:" in line]
    assert "export dropped 1" in said
    lab.remove(born)


def test_an_agent_that_begins_during_a_birth_claims_nothing(lab: Lab, tmp_path: Path) -> None:
    """A birth half seen has no counts and does not take the pod's UID as its trace id."""
    born = lab.bear_sandbox(Pod("half"))
    with observing(tmp_path) as observation:
        born = lab.start(born, born.pod.containers[0])
        (birth,) = observation.wait(born.pod.uid)
    assert birth.root.trace_id != born.pod.uid.replace("-", "")
    assert birth.root.resource["k8s.pod.name"] == "half"
    if birth.root.level == "birth":
        assert birth.count("completion") == "agent_started"
        assert [name for name in COUNTS if birth.count(name) is not None] == []
    lab.remove(born)


def test_a_pod_that_was_there_before_the_agent(lab: Lab, tmp_path: Path) -> None:
    """It has no birth; what starts in it later is told by itself, with the pod's name."""
    born = lab.bear(Pod("older", (Container("app"), Container("sidecar"))))
    with observing(tmp_path) as observation:
        assert observation.settled(born.pod.uid) == []
        born = lab.restart(born, born.pod.containers[0])
        (trace,) = observation.wait(born.pod.uid)
    assert trace.root.name in {"container restart", "container start"}
    assert trace.root.level == "unit"
    assert trace.root.resource["k8s.pod.name"] == "older"
    assert trace.root.resource["k8s.container.name"] == "app"
    assert_sound(trace)
    lab.remove(born)


def test_a_birth_without_ebpf(lab: Lab, tmp_path: Path) -> None:
    """From cgroup directories and /proc: the pod, its units, their names, no counts."""
    with observing(tmp_path, EBPF="off") as observation:
        born = lab.bear(Pod("plain", (Container("app"), Container("sidecar"))))
        (birth,) = observation.wait(born.pod.uid)
    assert birth.root.scope == "otel_kernel.cgroupfs"
    assert birth.root.trace_id == born.pod.uid.replace("-", "")
    assert birth.root.resource["k8s.pod.name"] == "plain"
    assert units(birth) == ["sandbox", "container app", "container sidecar"]
    assert [name for name in COUNTS if birth.count(name) is not None and name != "containers"] == []
    lab.remove(born)
