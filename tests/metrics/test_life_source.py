"""What containers did as metrics: real programs in real cgroups, counted by the kernel side."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.health import Counter, Health
from otel_kernel.kernel import life
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.life_source import LifeSource
from otel_kernel.metrics.points import Number, ResourceMeasurements
from otel_kernel.node import cgroupfs
from otel_kernel.periodic_reader import moment
from otel_kernel.pods.directory import Directory
from tests.kernel.pod_cgroups import PodCgroup
from tests.metrics.fake_node import points, values

pytestmark = pytest.mark.root

CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
GETPPID, GETUID, UMOUNT2 = 110, 102, 166
CALLS = "otel_kernel.container.syscalls"
POD_CALLS = "otel_kernel.pod.syscalls"
SLOTS = 32
COUNTING = Counting(("getppid", "getuid"), opens=True, processes=True, sched=True)
OPT_INS = Counting("all", opens=True, errors=True, durations=("getppid",), open_paths=True)


@pytest.fixture(scope="module")
def actor(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a program that makes the system calls it is told to."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    program = tmp_path_factory.mktemp("programs") / "app"
    source = Path(__file__).parent.parent / "kernel" / "actor.c"
    subprocess.run(["gcc", "-O1", "-static", "-o", program, source, "-lpthread"], check=True, timeout=60)
    return str(program)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where compiled programs are kept."""
    return tmp_path_factory.mktemp("cache")


@dataclass
class Node:
    """This machine, pods made by hand, and what is measured of what their containers do."""

    probes: Probes
    actor: str
    stack: ExitStack
    directory: Directory = field(default_factory=lambda: Directory("here"))
    health: Health = field(default_factory=Health)

    def __post_init__(self) -> None:
        """Begin to measure. Slots of pods that earlier tests had are given back."""
        list(self.probes.events())
        assert self.probes.containers is not None
        for owner in self.probes.containers.owners():
            if owner.is_gone:
                self.probes.containers.release(owner.slot)
        self.since_ns = boot_ns()
        self.source = LifeSource(self.probes.containers, self.probes.counting, self.since_ns, self.health)
        plan = Plan(CGROUPS, PROC, "here", "here", frozenset(), 25)
        self.collection = Collection(self.directory, plan, self.health, (self.source,))
        self.stack.callback(self.collection.close)

    def pod(self) -> PodCgroup:
        """Make a pod with a container `main`."""
        made = self.stack.enter_context(PodCgroup(cgroupfs.hierarchy(CGROUPS).root))
        self.name(made, made.container_id, "main")
        return made

    def name(self, pod: PodCgroup, container_id: str, name: str | None) -> None:
        """Tell whose a container is; without a name of its own it is the sandbox."""
        self.listen()
        told = ContainerFacts(
            boot_ns(),
            "oci-bundle",
            container_id,
            is_sandbox=name is None,
            pod_uid=pod.uid,
            pod_name="web",
            namespace="shop",
            container_name=name,
        )
        self.directory.feed(told)
        self.collection.attend(moment())

    def call(self, pod: PodCgroup, times: int, number: int = GETPPID, *arguments: str) -> None:
        """Let a container make system calls."""
        self.take(pod, "repeat", str(times), str(number), *arguments)

    def take(self, pod: PodCgroup, *words: str) -> None:
        """Let a container's program take a step."""
        pod.run([self.actor, *(f"={word}" for word in words)])

    def listen(self) -> None:
        """Take in what the kernel told of cgroups."""
        for event in self.probes.events():
            self.directory.feed(event)

    def collect(self) -> list[ResourceMeasurements]:
        """Measure."""
        self.listen()
        return self.collection.collect(moment())

    def values(self, pod: PodCgroup, container: str | None = "main") -> dict[str, Any]:
        """Measure, and return what is told of a container, or of the pod itself."""
        return values(self.collect(), f"{pod.uid}/{container}" if container else pod.uid)


def attached(cache: Path, sizes: Sizes, counting: Counting) -> Iterator[Probes]:
    """Yield the kernel side, attached."""
    loaded = Loading(cache, sizes, counting).finish()
    assert [each for each in loaded.attach() if each.error] == []
    loaded.count_switches()
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def default_probes(cache: Path) -> Iterator[Probes]:
    """The kernel side as it is by default, with fewer names."""
    yield from attached(cache, Sizes(), COUNTING)


@pytest.fixture(scope="module")
def curious_probes(cache: Path) -> Iterator[Probes]:
    """The kernel side with all that is off by default, and room for a few containers."""
    yield from attached(cache, Sizes(slots=SLOTS), OPT_INS)


@pytest.fixture
def node(default_probes: Probes, actor: str) -> Iterator[Node]:
    """This machine, measured as by default."""
    with ExitStack() as stack:
        yield Node(default_probes, actor, stack)


@pytest.fixture
def curious(curious_probes: Probes, actor: str) -> Iterator[Node]:
    """This machine, measured with all that is off by default."""
    with ExitStack() as stack:
        yield Node(curious_probes, actor, stack)


def test_from_zero(node: Node) -> None:
    """What is looked at is zero in the first collection, and exact in the next; a name that is new after a zero."""
    pod = node.pod()
    told = node.values(pod)
    names = [f"{CALLS} _OTHER"]
    names += [f"otel_kernel.container.context_switches {kind}" for kind in ("voluntary", "involuntary")]
    names += [f"otel_kernel.container.process.{what}" for what in ("forks", "execs", "exits")]
    names.append("otel_kernel.container.file.opens")
    assert {name: told.get(name) for name in names} == dict.fromkeys(names, 0)
    assert node.values(pod, None) == {POD_CALLS: 0}
    node.call(pod, 100_003)
    node.call(pod, 5, GETUID)
    collected = node.collect()
    zero, many = points(collected)[f"{pod.uid}/main", CALLS, (("otel_kernel.syscall.name", "getppid"),)]
    assert isinstance(zero, Number)
    assert isinstance(many, Number)
    assert (zero.value, many.value) == (0, 100_003)
    assert zero.time_unix_ns < many.time_unix_ns
    told = values(collected, f"{pod.uid}/main")
    assert told[f"{CALLS} getuid"] == 5
    all_calls = sum(count for name, count in told.items() if name.startswith(CALLS))
    assert node.values(pod, None)[POD_CALLS] == all_calls


def test_since_when(node: Node) -> None:
    """Counters count since the container's cgroup was made, as that came after the programs were attached."""
    pod = node.pod()
    node.call(pod, 1)
    made = [(key, series) for key, series in points(node.collect()).items() if key[0] == f"{pod.uid}/main"]
    assert made
    offset_ns = moment().unix_ns - boot_ns()
    starts = {point.start_unix_ns - offset_ns for _, series in made for point in series}
    assert len(starts) == 1
    assert node.since_ns < starts.pop() <= boot_ns()


def test_pods_keep_what_ended_containers_called(node: Node) -> None:
    """A pod's sum has those of its sandbox and of containers that are gone, and never goes back."""
    pod = node.pod()
    pause = pod.path / ("f" * 64)
    pause.mkdir()
    node.name(pod, pause.name, None)
    node.call(pod, 1_000)
    (before,) = node.values(pod, None).values()
    script = f'echo 0 > {pause}/cgroup.procs; exec "$@"'
    subprocess.run(["sh", "-c", script, "sh", node.actor, "=repeat", "=500", f"={GETPPID}"], check=True)
    (with_pause,) = node.values(pod, None).values()
    assert with_pause >= before + 500
    node.call(pod, 2_000)
    pod.leaf.rmdir()
    (after,) = node.values(pod, None).values()
    assert after >= with_pause + 2_000
    restarted = pod.path / ("e" * 64)
    restarted.mkdir()
    node.name(pod, restarted.name, "main")
    assert node.values(pod, None)[POD_CALLS] == after
    for directory in (restarted, pause):
        directory.rmdir()
    node.collect()


def test_last_counts(node: Node) -> None:
    """The last counts of a container are told before its series end, also of one that no collection saw alive."""
    pod = node.pod()
    node.collect()
    node.call(pod, 10)
    node.values(pod)
    node.call(pod, 7)
    pod.leaf.rmdir()
    key = (f"{pod.uid}/main", CALLS, (("otel_kernel.syscall.name", "getppid"),))
    last, end = points(node.collect())[key]
    assert isinstance(last, Number)
    assert isinstance(end, Number)
    assert (last.value, end.value) == (17, None)
    assert last.time_unix_ns < end.time_unix_ns
    short = pod.path / ("d" * 64)
    short.mkdir()
    node.name(pod, short.name, "short")
    script = f'echo 0 > {short}/cgroup.procs; exec "$@"'
    subprocess.run(["sh", "-c", script, "sh", node.actor, "=repeat", "=23", f"={GETPPID}"], check=True)
    short.rmdir()
    series = points(node.collect())[f"{pod.uid}/short", CALLS, (("otel_kernel.syscall.name", "getppid"),)]
    assert [point.value for point in series if isinstance(point, Number)][-2:] == [23, None]


def test_a_pods_end(node: Node) -> None:
    """The last sum of a pod is told before its series ends."""
    pod = node.pod()
    (before,) = node.values(pod, None).values()
    node.call(pod, 4_000)
    pod.remove()
    told = [point.value for point in points(node.collect())[pod.uid, POD_CALLS, ()] if isinstance(point, Number)]
    assert told[-1] is None
    assert told[-2] >= before + 4_000


def test_more_containers_over_time_than_slots(curious: Node) -> None:
    """Slots are given to one container after the other, each from zero, and each container's counts are exact."""
    for number in range(1, SLOTS + 9):
        pod = curious.pod()
        curious.call(pod, number)
        if number % 2:  # every other one ends before any collection
            assert curious.values(pod)[f"{CALLS} getppid"] == number
        pod.leaf.rmdir()
        series = points(curious.collect())[f"{pod.uid}/main", CALLS, (("otel_kernel.syscall.name", "getppid"),)]
        assert [point.value for point in series if isinstance(point, Number)][-2:] == [number, None]
        pod.remove()
    curious.collect()
    assert curious.probes.containers is not None
    assert curious.probes.containers.uncounted().containers == 0


def test_more_containers_than_slots(curious: Node) -> None:
    """A container without a slot has no points, nor has its pod a sum; and it is counted that there was no room."""
    assert curious.probes.containers is not None
    there = len(curious.probes.containers.owners())
    pods = [curious.pod() for _ in range(SLOTS - there)]
    beyond = curious.pod()
    curious.call(pods[0], 3)
    curious.call(beyond, 3)
    told = curious.collect()
    assert values(told, f"{pods[0].uid}/main")[f"{CALLS} getppid"] == 3
    assert not [name for name in values(told, f"{beyond.uid}/main") if name.startswith("otel_kernel")]
    assert values(told, beyond.uid) == {}
    assert curious.health.snapshot()[Counter.CONTAINERS_UNCOUNTED] >= 1


def test_cgroups_that_are_no_containers(node: Node) -> None:
    """What runs beside a pod's containers is in the pod's sum, and gives its slot back some time after it ended."""
    pod = node.pod()
    (before,) = node.values(pod, None).values()
    beside = pod.path / "crio-conmon-1.scope"
    beside.mkdir()
    script = f'echo 0 > {beside}/cgroup.procs; exec "$@"'
    subprocess.run(["sh", "-c", script, "sh", node.actor, "=repeat", "=600", f"={GETPPID}"], check=True)
    beside_id = beside.stat().st_ino
    beside.rmdir()
    (after,) = node.values(pod, None).values()
    assert after >= before + 600
    assert node.probes.containers is not None
    assert beside_id in {owner.cgroup_id for owner in node.probes.containers.owners()}
    for _ in range(4):
        assert node.values(pod, None)[POD_CALLS] == after
    assert beside_id not in {owner.cgroup_id for owner in node.probes.containers.owners()}


def test_tables_that_cannot_be_read(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel refuses its tables for a while nothing is told meanwhile, no series ends, and it is counted."""
    pod = node.pod()
    node.call(pod, 5)
    node.collect()

    def refuse(_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(life.ContainerCounts, "owners", refuse)
        assert not [name for name in node.values(pod) if name.startswith(CALLS)]
    assert node.health.snapshot()[Counter.MAPS_UNREADABLE] > 0
    node.call(pod, 5)
    assert node.values(pod)[f"{CALLS} getppid"] == 10


def test_only_names_that_were_called(curious: Node) -> None:
    """Of all names only those that were called are told; one that comes later is preceded by a zero."""
    pod = curious.pod()
    curious.call(pod, 3)
    told = curious.values(pod)
    assert told[f"{CALLS} getppid"] == 3
    assert f"{CALLS} getuid" not in told
    curious.call(pod, 4, GETUID)
    zero, four = points(curious.collect())[f"{pod.uid}/main", CALLS, (("otel_kernel.syscall.name", "getuid"),)]
    assert isinstance(zero, Number)
    assert isinstance(four, Number)
    assert (zero.value, four.value) == (0, 4)
    assert zero.time_unix_ns < four.time_unix_ns


def test_errors_durations_and_paths(curious: Node) -> None:
    """What is off by default is told with its attributes."""
    pod = curious.pod()
    curious.call(pod, 6, UMOUNT2, "s:/nonexistent", "0")
    curious.call(pod, 9)
    curious.take(pod, "call", "257", "-100", "s:/etc/passwd", "0")
    told = curious.collect()
    main = values(told, f"{pod.uid}/main")
    assert main["otel_kernel.container.syscall.errors ENOENT umount2"] == 6
    assert main["otel_kernel.container.file.opens /etc"] >= 1
    assert main["otel_kernel.container.file.opens _OTHER"] == 0
    key = (
        f"{pod.uid}/main",
        "otel_kernel.container.syscall.duration",
        (("otel_kernel.syscall.name", "getppid"),),
    )
    duration = points(told)[key][-1]
    assert not isinstance(duration, Number)
    assert sum(duration.counts or ()) == 9
    assert len(duration.counts or ()) == len(duration.bounds) + 1


def test_nothing_of_it_is_left(node: Node) -> None:
    """When all is gone, nothing is remembered."""
    pod = node.pod()
    node.collect()
    gone = {pod.leaf.stat().st_ino, pod.path.stat().st_ino}
    pod.remove()
    node.collect()
    source = node.source
    for known in (source._owners, source._tracks, source._gone, source._by_pod, source._without):
        assert not gone & set(known)
    assert pod.uid not in source._totals
