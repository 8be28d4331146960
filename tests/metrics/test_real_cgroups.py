"""Real cgroups, made by hand where the kubelet would make them, with real processes in them."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.health import Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.points import Number, ResourceMeasurements
from otel_kernel.node import controllers, cpu
from otel_kernel.node.watch import Watch
from otel_kernel.pods.directory import Directory
from otel_kernel.pods.sightings import LAYOUT
from otel_kernel.settings import METRIC_GROUPS
from tests.metrics.fake_node import container_id, points, values

pytestmark = pytest.mark.root

CGROUPS = Path("/sys/fs/cgroup")
SPIN = "while True: pass"
GROW = "held = [bytearray(b'x' * (1 << 20)) for _ in range(512)]"


def now() -> Moment:
    """Return the time."""
    return Moment(time.time_ns(), boot_ns())


@dataclass
class Node:
    """This machine with one pod of our own, watched by its files alone."""

    uid: str = field(default_factory=lambda: str(uuid4()))
    directory: Directory = field(default_factory=lambda: Directory("here"))
    made: list[str] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Look at this machine."""
        self.at = controllers.find(CGROUPS)
        found = (self.at.v2, self.at.cpu_v1, self.at.cpuacct_v1, self.at.memory_v1)
        self.roots = [root for root in dict.fromkeys(found) if root is not None]
        self.watch = Watch(Path(self.at.pods), Path("/proc"), LAYOUT)
        self.collection = Collection(
            self.directory, Plan(CGROUPS, Path("/proc"), "here", "here", frozenset(METRIC_GROUPS), 25), Health()
        )
        self.pod = f"/kubepods/burstable/pod{self.uid}"
        self.make(self.pod)

    def make(self, path: str) -> None:
        """Make a cgroup in every hierarchy."""
        for root in self.roots:
            directory = Path(f"{root}{path}")
            directory.mkdir(parents=True, exist_ok=True)
            if root == self.at.v2:
                self._delegate(directory)
        self.made.append(path)

    def _delegate(self, directory: Path) -> None:
        for above in (*directory.parents, directory):
            if above.is_relative_to(str(self.at.v2)) and above != directory:
                offered = (above / "cgroup.controllers").read_text().split()
                for controller in {"cpu", "memory"} & set(offered):
                    (above / "cgroup.subtree_control").write_text(f"+{controller}")

    def container(self, name: str) -> str:
        """Make a container's cgroup, and say its name; return its path."""
        of = container_id(f"{self.uid}{name}")
        self.directory.feed(
            ContainerFacts(boot_ns(), "oci-bundle", of, pod_name="real", namespace="shop", container_name=name)
        )
        self.make(f"{self.pod}/{of}")
        return f"{self.pod}/{of}"

    def limit_cpu(self, path: str, percent: int) -> None:
        """Give a cgroup a quota."""
        if self.at.cpu_v1:
            Path(f"{self.at.cpu_v1}{path}/cpu.cfs_quota_us").write_text(str(percent * 1000))
        else:
            Path(f"{self.at.v2}{path}/cpu.max").write_text(f"{percent * 1000} 100000")

    def limit_memory(self, path: str, size_bytes: int) -> None:
        """Give a cgroup a limit of memory."""
        file = (
            f"{self.at.memory_v1}{path}/memory.limit_in_bytes"
            if self.at.memory_v1
            else f"{self.at.v2}{path}/memory.max"
        )
        Path(file).write_text(str(size_bytes))

    def run(self, path: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process in a cgroup."""
        files = [f"{root}{path}/cgroup.procs" for root in self.roots]
        join = "".join(f"echo $$ > {file}; " for file in files)
        process = subprocess.Popen(["/bin/sh", "-c", f'{join}exec "$0" "$@"', *command])
        self.processes.append(process)
        return process

    def look(self) -> None:
        """Take in what has changed, as the agent's loop does."""
        for noticed in self.watch.poll(0):
            self.directory.feed(noticed)
        self.collection.attend(now())

    def collect(self) -> list[ResourceMeasurements]:
        """Return what is measured now."""
        self.look()
        return self.collection.collect(now())

    def remove(self, path: str) -> None:
        """Remove a cgroup from every hierarchy."""
        for root in self.roots:
            Path(f"{root}{path}").rmdir()
        self.made.remove(path)

    def close(self) -> None:
        """End what was begun."""
        for process in self.processes:
            process.kill()
            process.wait()
        for path in reversed(self.made.copy()):
            for _ in range(100):
                try:
                    self.remove(path)
                except OSError:
                    time.sleep(0.02)
                else:
                    break
        self.watch.close()
        self.collection.close()


@pytest.fixture
def node() -> Iterator[Node]:
    """Return this machine with a pod."""
    node = Node()
    yield node
    node.close()


def throttling(node: Node, path: str) -> cpu.Throttling:
    """Return what the container's own file says, read by its own means."""
    root, unit = (node.at.cpu_v1, "throttled_time") if node.at.cpu_v1 else (node.at.v2, "throttled_usec")
    told = dict(line.split() for line in Path(f"{root}{path}/cpu.stat").read_text().splitlines())
    factor = 1 if node.at.cpu_v1 else 1000
    return cpu.Throttling(int(told["nr_periods"]), int(told["nr_throttled"]), int(told[unit]) * factor)


def cpu_time_s(node: Node, path: str) -> float:
    """Return what the container's own file says, read by its own means."""
    if node.at.cpuacct_v1:
        return int(Path(f"{node.at.cpuacct_v1}{path}/cpuacct.usage").read_text()) / 1e9
    told = dict(line.split() for line in Path(f"{node.at.v2}{path}/cpu.stat").read_text().splitlines())
    return int(told["usage_usec"]) / 1e6


def test_a_throttled_container_shows_what_its_own_file_shows(node: Node) -> None:
    """With a quota of 10 % and a spinning process, the metrics are the file's figures, and the pod's are their sum."""
    paths = [node.container(name) for name in ("app", "sidecar")]
    for path in paths:
        node.limit_cpu(path, 10)
        node.run(path, sys.executable, "-c", SPIN)
    node.collect()
    time.sleep(3)
    before = [throttling(node, path) for path in paths]
    told = node.collect()
    after = [throttling(node, path) for path in paths]
    for name, first, last in zip(("app", "sidecar"), before, after, strict=True):
        own = values(told, f"{node.uid}/{name}")
        assert first.periods <= own["otel_kernel.container.cpu.periods"] <= last.periods
        assert first.throttled_periods <= own["otel_kernel.container.cpu.throttled.periods"] <= last.throttled_periods
        throttled_s = own["otel_kernel.container.cpu.throttled.time"]
        assert first.throttled_ns / 1e9 <= throttled_s <= last.throttled_ns / 1e9
        assert own["k8s.container.cpu.limit.current"] == 0.1
        assert 0.1 < own["container.cpu.time"] < 1.5
        assert own["otel_kernel.container.processes"] == 1
    both = [values(told, f"{node.uid}/{name}") for name in ("app", "sidecar")]
    pod = values(told, node.uid)
    for what in ("periods", "throttled.periods", "throttled.time"):
        summed = sum(own[f"otel_kernel.container.cpu.{what}"] for own in both)
        assert pod[f"otel_kernel.pod.cpu.{what}"] == pytest.approx(summed)
    events = node.collection.take_events()
    assert {each.attributes["otel_kernel.throttling.state"] for each in events} == {"crossed"}
    assert len(events) == 2


def test_pressure_of_a_throttled_container(node: Node, require: Callable[[object, str], None]) -> None:
    """A container that waits for CPU time has pressure, and its pod has no less."""
    pressure = Path(f"{node.at.v2}{node.pod}/cpu.pressure")
    require(pressure.exists(), "needs PSI")
    path = node.container("app")
    node.limit_cpu(path, 10)
    for _ in range(2):
        node.run(path, sys.executable, "-c", SPIN)
    time.sleep(2)
    told = node.collect()
    name = "pressure.time cpu some"
    container = values(told, f"{node.uid}/app")[f"otel_kernel.container.{name}"]
    assert isinstance(container, float)
    assert 0.5 < container < 10
    pod = values(told, node.uid)[f"otel_kernel.pod.{name}"]
    assert isinstance(pod, float)
    assert pod > 0.9 * container


def test_the_last_values_of_a_container_are_read_before_it_goes(node: Node) -> None:
    """What a container used after the last collection is told with its end."""
    path = node.container("app")
    process = node.run(path, sys.executable, "-c", SPIN)
    time.sleep(0.2)
    before = values(node.collect(), f"{node.uid}/app")["container.cpu.time"]
    assert isinstance(before, float)
    while cpu_time_s(node, path) < before + 0.2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    ended_ns = boot_ns()
    deadline = time.monotonic() + 60
    while not any(read_ns > ended_ns for read_ns, _ in node.collection._endings._last.values()):
        assert time.monotonic() < deadline, "the kernel did not tell that the cgroup is empty"
        node.look()
        time.sleep(0.01)
    used_s = cpu_time_s(node, path)
    node.remove(path)
    last, end = points(node.collect())[f"{node.uid}/app", "container.cpu.time", ()]
    assert isinstance(last, Number)
    assert isinstance(end, Number)
    assert last.value == pytest.approx(used_s, abs=1e-6)
    assert end.value is None


def test_a_real_kill(node: Node) -> None:
    """A process that takes more memory than its container may have is killed, counted, and told."""
    path = node.container("app")
    node.limit_memory(path, 32 << 20)
    node.run(path, "/bin/sleep", "60")
    told = values(node.collect(), f"{node.uid}/app")
    assert (told["otel_kernel.container.oom_kills"], told["k8s.container.memory.limit.current"]) == (0, 32 << 20)
    killed = node.run(path, sys.executable, "-c", GROW)
    assert killed.wait(timeout=30) == -9
    told = values(node.collect(), f"{node.uid}/app")
    assert told["otel_kernel.container.oom_kills"] == 1
    assert [(each.name, each.attributes["otel_kernel.oom_kill.count"]) for each in node.collection.take_events()] == [
        ("otel_kernel.oom_kill", 1)
    ]


def test_networks_and_namespaces_of_its_own(node: Node, require: Callable[[object, str], None]) -> None:
    """A pod with a network of its own has its devices' counters; own and shared namespaces are told apart."""
    require(shutil.which("ip") and shutil.which("unshare"), "needs iproute2 and util-linux")
    path = node.container("app")
    up = "ip link add pod0 type veth peer name pod1 && ip link set pod0 up && ip link set pod1 up && exec sleep 60"
    node.run(path, "unshare", "--mount", "--net", "/bin/sh", "-c", up)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        told = values(node.collect(), node.uid)
        if told.get("k8s.pod.network.io pod0 transmit"):
            break
        time.sleep(0.1)
    assert told["k8s.pod.network.io pod0 transmit"] == told["k8s.pod.network.io pod1 receive"] != 0
    assert told["k8s.pod.network.errors pod0 transmit"] == 0
    assert not [name for name in told if " lo " in name]
    of_container = points(node.collect())
    sharing = {
        dict(attributes)["otel_kernel.namespace.sharing"]: set(dict(attributes)["otel_kernel.namespace.types"])  # type: ignore[call-overload]
        for instance, metric, attributes in of_container
        if (instance, metric) == (f"{node.uid}/app", "otel_kernel.container.namespaces")
    }
    assert sharing["own"] == {"mnt", "net"}
    assert {"pid", "uts", "ipc"} <= sharing["host"]
    mounts = values(node.collect(), f"{node.uid}/app")["otel_kernel.container.mounts"]
    assert mounts == len(Path(f"/proc/{node.processes[0].pid}/mountinfo").read_text().splitlines())


def test_the_hosts_network_is_not_the_pods(node: Node) -> None:
    """A pod in the host's network has no counters of devices."""
    node.run(node.container("app"), "/bin/sleep", "60")
    time.sleep(0.1)
    told = values(node.collect(), node.uid)
    assert told
    assert not [name for name in told if "network" in name]


def test_processes_below_the_containers_cgroup(node: Node) -> None:
    """Where a container has put its processes into cgroups of its own, they are counted there."""
    path = node.container("app")
    node.make(f"{path}/container")
    for _ in range(3):
        node.run(f"{path}/container", "/bin/sleep", "60")
    time.sleep(0.2)
    assert values(node.collect(), f"{node.uid}/app")["otel_kernel.container.processes"] == 3


def test_descriptors_do_not_grow(node: Node) -> None:
    """Over many containers that come and go, nothing is left open."""
    node.container("always")
    node.collect()
    before = descriptors()
    for number in range(30):
        path = node.container(f"app-{number}")
        process = node.run(path, "/bin/sleep", "60")
        node.collect()
        process.kill()
        process.wait()
        node.look()
        for _ in range(100):
            try:
                node.remove(path)
                break
            except OSError:
                time.sleep(0.02)
    node.collect()
    assert descriptors() <= before


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
