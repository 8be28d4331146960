"""Dropped packets as metrics: real packets in real networks of pods that are made by hand."""

import logging
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otel_kernel import ebpf, host_files
from otel_kernel.agent import assembly_settings
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.ebpf_source import EbpfSource
from otel_kernel.health import Counter, Health
from otel_kernel.kernel import drops as drops_module
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.drops import Drops
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from otel_kernel.metrics import node_namespaces
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.drop_source import DropSource
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.points import Number
from otel_kernel.node import cgroupfs
from otel_kernel.node.watch import CgroupSeen
from otel_kernel.pods.directory import Directory
from otel_kernel.settings import Settings
from tests.kernel.networks import Network
from tests.kernel.pod_cgroups import PodCgroup
from tests.metrics.fake_node import points

pytestmark = pytest.mark.root

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
METRIC = "otel_kernel.pod.network.drops"
OTHER_ROWS = {("_OTHER", "host"), ("_OTHER", "pod")}

Row = tuple[str, str]  # reason and side


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    """The kernel side with drops, attached to no daemon."""
    loaded = Loading(tmp_path_factory.mktemp("cache"), Sizes(), drops=True).finish()
    assert [each for each in loaded.attach() if each.error] == []
    yield loaded
    loaded.close()


@pytest.fixture
def drops(probes: Probes) -> Iterator[Drops]:
    """What counts dropped packets, from nothing."""
    assert probes.drops is not None
    yield probes.drops
    probes.drops.detach()
    probes.drops.forget(probes.drops.known() | probes.drops.ended())


@dataclass
class Node:
    """This machine, its pods made by hand, and what is measured of their drops."""

    drops: Drops
    stack: ExitStack
    directory: Directory = field(default_factory=lambda: Directory("here"))
    health: Health = field(default_factory=Health)

    def __post_init__(self) -> None:
        """Find its cgroups."""
        self.hierarchy = cgroupfs.hierarchy(CGROUPS).root
        self.source = DropSource(self.drops, self.hierarchy, PROC, self.health)

    def pod(self, name: str, network: Network | None) -> PodCgroup:
        """Make a pod with one process, in a network or in this machine's."""
        pod = self.stack.enter_context(PodCgroup(self.hierarchy))
        self.run(pod, network)
        facts = ContainerFacts(boot_ns(), "oci-bundle", pod.container_id, pod_name=name, namespace="shop")
        self.directory.feed(facts)
        for path in (pod.path, pod.leaf):
            self.directory.feed(CgroupSeen(boot_ns(), "existing", path.stat().st_ino, pod.relative(path)))
        return pod

    def run(self, pod: PodCgroup, network: Network | None) -> None:
        """Start the pod's process."""
        command = ["sh", "-c", f"echo 0 > {pod.leaf}/cgroup.procs; echo; exec sleep 1000"]

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, stdout=subprocess.PIPE)

        process = network.inside(start) if network else start()
        self.stack.callback(_end, process)
        assert process.stdout is not None
        process.stdout.readline()

    def remove(self, pod: PodCgroup) -> None:
        """End the pod."""
        for pid in (pod.leaf / "cgroup.procs").read_text().split():
            os.kill(int(pid), 9)
        paths = [pod.relative(path) for path in (pod.leaf, pod.path)]
        pod.remove()
        for path in paths:
            self.directory.feed(CgroupSeen(boot_ns(), "rmdir", None, path))

    def measure(self) -> Collection:
        """Return what measures, from now on."""
        self.source.observe(self.directory.pods())
        plan = Plan(CGROUPS, PROC, "here", "here", frozenset({"network"}), 25)
        collection = Collection(self.directory, plan, self.health, (self.source,))
        self.stack.callback(collection.close)
        return collection


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stdout:
        process.stdout.close()


@pytest.fixture
def node(drops: Drops) -> Iterator[Node]:
    """Return this machine without pods."""
    with ExitStack() as stack:
        yield Node(drops, stack)


@pytest.fixture
def network() -> Iterator[Network]:
    """Return a pod's network."""
    with Network() as network:
        yield network


def collect(collection: Collection, pod: PodCgroup) -> dict[Row, list[Number]]:
    """Return the points of a pod's drops by reason and side."""
    found: dict[Row, list[Number]] = {}
    for (instance, metric, attributes), series in points(collection.collect(Moment(time.time_ns(), boot_ns()))).items():
        if (instance, metric) == (pod.uid, METRIC):
            named = dict(attributes)
            row = (str(named["otel_kernel.drop.reason"]), str(named["otel_kernel.drop.side"]))
            found.setdefault(row, []).extend(point for point in series if isinstance(point, Number))
    return found


def test_a_pods_drops(node: Node, network: Network) -> None:
    """From the first collection there is a zero; what is dropped has a row of its own, with a zero before it."""
    pod = node.pod("dropping", network)
    collection = node.measure()
    first = collect(collection, pod)
    assert {row: series[0].value for row, series in first.items()} == dict.fromkeys(OTHER_ROWS, 0)
    network.send("127.0.0.1", 7)
    second = collect(collection, pod)
    assert [point.value for point in second["NO_SOCKET", "pod"]] == [0, 7]
    network.send("127.0.0.1", 5)
    third = collect(collection, pod)
    assert [point.value for point in third["NO_SOCKET", "pod"]] == [12]
    assert third.keys() == {*OTHER_ROWS, ("NO_SOCKET", "pod")}
    told = [point for collected in (first, second, third) for series in collected.values() for point in series]
    assert len({point.start_unix_ns for point in told}) == 1
    assert all(point.start_unix_ns <= point.time_unix_ns for point in told)


def test_the_end_of_a_pod(node: Node, network: Network) -> None:
    """What was dropped after the last collection is told before the end; then nothing is left in the kernel."""
    pod = node.pod("ending", network)
    collection = node.measure()
    network.send("127.0.0.1", 3)
    collect(collection, pod)
    network.send("127.0.0.1", 8)
    pod_id = pod.path.stat().st_ino
    node.remove(pod)
    assert node.drops.ended() == {pod_id}
    told = collect(collection, pod)
    assert [point.value for point in told["NO_SOCKET", "pod"]] == [11, None]
    assert [point.value for point in told["_OTHER", "pod"]] == [0, None]
    assert all(before.time_unix_ns < end.time_unix_ns for before, end in told.values())
    assert (node.drops.known(), node.drops.ended(), node.drops.read()) == (set(), set(), {})


def test_the_end_of_a_pod_that_was_never_measured(node: Node, network: Network) -> None:
    """A pod that came and went between two collections leaves nothing in the kernel."""
    collection = node.measure()
    pod = node.pod("short", network)
    with Path(network.path).open() as held:
        node.drops.learn(held.fileno(), pod.path.stat().st_ino)
    node.remove(pod)
    assert collect(collection, pod) == {}
    assert (node.drops.known(), node.drops.ended()) == (set(), set())


def test_the_nodes_network(node: Node) -> None:
    """A pod that uses the node's network has no rows."""
    pod = node.pod("host-network", None)
    collection = node.measure()
    assert collect(collection, pod) == {}
    assert collect(collection, pod) == {}


def test_a_pod_whose_birth_was_not_seen(node: Node, network: Network) -> None:
    """A pod whose first program was not seen to begin is known from the next collection on."""
    collection = node.measure()
    pod = node.pod("half-seen", network)
    assert collect(collection, pod).keys() == OTHER_ROWS
    network.send("127.0.0.1", 2)
    assert [point.value for point in collect(collection, pod)["NO_SOCKET", "pod"]] == [0, 2]


def test_two_networks_of_one_pod(node: Node, network: Network) -> None:
    """When a pod's sandbox is made anew its sum goes on."""
    pod = node.pod("renewed", network)
    collection = node.measure()
    network.send("127.0.0.1", 2)
    collect(collection, pod)
    with Network() as second, Path(second.path).open() as held:
        node.drops.learn(held.fileno(), pod.path.stat().st_ino)
        second.send("127.0.0.1", 3)
        assert [point.value for point in collect(collection, pod)["NO_SOCKET", "pod"]] == [5]


def test_a_node_whose_network_is_not_known(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody may be asked for the node's network nothing is counted, with the reason."""
    monkeypatch.setattr(node_namespaces, "_candidates", lambda _: iter((1 << 23,)))
    with pytest.raises(OSError, match=r"^the node's network namespace may not be opened$"):
        node.source.observe(())
    assert node.source.since_boot_ns is None


def test_a_program_that_cannot_be_attached(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Births do without what counts drops, and the reason is told; nothing measures drops then."""
    monkeypatch.setattr(drops_module, "TRACEPOINT", "no_such_tracepoint")
    settings = Settings.load({"OTEL_KERNEL_OUTPUT": "file:/dev/null"})
    health, files = Health(), host_files.find(settings.observation)
    source = EbpfSource(ebpf.finish(ebpf.start(settings, settings.measured), files), health, files, Directory("here"))
    with caplog.at_level(logging.WARNING):
        words = source.observe(assembly_settings(settings))
    assert "runtime daemons" in words
    assert not any(isinstance(meter, DropSource) for meter in source.meters)
    assert "dropped packets are not counted: No such file or directory" in caplog.text
    source.stop()
    source.close()


def test_maps_that_cannot_be_read(
    node: Node, network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the kernel refuses a map for want of memory that is counted and told once; no series ends by it."""
    pod = node.pod("starved", network)
    collection = node.measure()
    collect(collection, pod)

    def refused() -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as context, caplog.at_level(logging.WARNING):
        context.setattr(node.drops, "read", refused)
        assert collect(collection, pod) == {}
        assert collect(collection, pod) == {}
    assert node.health.snapshot()[Counter.MAPS_UNREADABLE] == 2
    assert caplog.text.count("Cannot allocate memory") == 1
    values = [point.value for series in collect(collection, pod).values() for point in series]
    assert values == [0, 0]
