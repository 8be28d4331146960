"""Pods of a real containerd, measured through the node's files."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from otel_kernel.health import Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.points import Number
from otel_kernel.node import controllers
from otel_kernel.node.watch import Watch
from otel_kernel.pods.directory import Directory
from otel_kernel.pods.identity import Identifier
from otel_kernel.pods.sightings import LAYOUT, Sightings
from otel_kernel.settings import METRIC_GROUPS
from tests.metrics.fake_node import Point, SeriesKey, points, values

pytestmark = pytest.mark.containerd

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a private containerd."""
    with Lab() as lab:
        yield lab


@dataclass
class Agent:
    """The metrics half of an agent without eBPF."""

    directory: Directory = field(default_factory=lambda: Directory("here"))
    sightings: Sightings = field(default_factory=lambda: Sightings(Identifier()))

    def __post_init__(self) -> None:
        """Begin to watch this machine."""
        self.watch = Watch(Path(controllers.find(CGROUPS).pods), PROC, LAYOUT)
        self.collection = Collection(
            self.directory, Plan(CGROUPS, PROC, "here", "here", frozenset(METRIC_GROUPS), 25), Health()
        )

    def look(self, seconds: float) -> None:
        """Take in what is noticed for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for noticed in self.watch.poll(0.02):
                self.directory.feed(noticed)
                for told in self.sightings.of(noticed):
                    self.directory.feed(told)
            self.collection.attend(self.now())

    def now(self) -> Moment:
        """Return the time."""
        return Moment(time.time_ns(), boot_ns())

    def points(self) -> dict[SeriesKey, list[Point]]:
        """Return what is measured now."""
        return points(self.collection.collect(self.now()))

    def values(self, instance: str) -> dict[str, Any]:
        """Return the values of one pod or container."""
        return values(self.collection.collect(self.now()), instance)

    def close(self) -> None:
        """End all watches."""
        self.watch.close()
        self.collection.close()


@pytest.fixture
def agent() -> Iterator[Agent]:
    """Return an agent that watches this machine."""
    agent = Agent()
    yield agent
    agent.close()


def test_a_pod_and_its_containers(lab: Lab, agent: Agent) -> None:
    """A pod of two containers has its names, its network, its processes and its namespaces; pause has no row."""
    born = lab.bear(Pod("measured", (Container("app"), Container("sidecar"))))
    agent.look(1)
    agent.points()
    agent.look(0.3)
    told = agent.collection.collect(agent.now())
    lab.remove(born)
    of_pod = [each for each in told if each.resource.get("k8s.pod.uid") == born.pod.uid]
    of_container = {each.resource.get("k8s.container.name"): each for each in of_pod}
    assert len(of_pod) == 3
    assert set(of_container) == {None, "app", "sidecar"}
    assert {each.resource["k8s.pod.name"] for each in of_pod} == {"measured"}
    assert of_container["app"].resource["container.id"] == born.container_ids["app"]
    pod, app = values(told, born.pod.uid), values(told, f"{born.pod.uid}/app")
    assert pod["k8s.pod.cpu.time"] > app["container.cpu.time"] > 0
    assert pod["k8s.pod.memory.usage"] >= app["container.memory.usage"]
    assert "k8s.pod.network.io eth0 receive" in pod
    assert app["otel_kernel.container.processes"] == 1
    assert app["otel_kernel.container.mounts"] > 5
    shared = [name for name in app if "namespaces pod" in name]
    assert len(shared) == 1
    assert "'net'" in shared[0]
    assert "otel_kernel.container.cpu.periods" not in app


def test_a_restart(lab: Lab, agent: Agent) -> None:
    """A container's end comes before its successor's beginning, with what it used until then."""
    app = Container("app")
    born = lab.bear(Pod("restarted-metrics", (app,)))
    agent.look(0.5)
    key = (f"{born.pod.uid}/app", "container.cpu.time", ())
    (before,) = agent.points()[key]
    born = restart(lab, agent, born, app)
    told = agent.points()[key]
    lab.remove(born)
    numbers = [point for point in told if isinstance(point, Number)]
    *last, end, begin = numbers
    assert (end.value, len(last) <= 1) == (None, True)
    assert begin.value is not None
    assert before.time_unix_ns < end.time_unix_ns < begin.time_unix_ns
    assert before.start_unix_ns < begin.start_unix_ns
    assert all(isinstance(before, Number) and (point.value or 0) >= (before.value or 0) for point in last)


def restart(lab: Lab, agent: Agent, born: BornPod, container: Container) -> BornPod:
    """Start a container anew and look at it."""
    born = lab.restart(born, container)
    agent.look(0.5)
    return born


def test_a_pod_that_was_there_before(lab: Lab) -> None:
    """An agent that starts later names the pod from its shim's bundle; its counters start when it first looks."""
    born = lab.bear(Pod("older", (Container("app"),)))
    agent = Agent()
    agent.look(0.3)
    before_ns = time.time_ns()
    told = agent.points()
    lab.remove(born)
    agent.look(0.3)
    ends = {key: series[-1] for key, series in agent.points().items() if key[0].startswith(born.pod.uid)}
    agent.close()
    (point,) = told[f"{born.pod.uid}/app", "container.cpu.time", ()]
    assert point.start_unix_ns == point.time_unix_ns >= before_ns
    assert ends
    assert all(isinstance(end, Number) and end.value is None for end in ends.values())
