"""Real pods of a real containerd: what two agents say of their system calls, to the last one."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.agent import Agent
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from otel_kernel.kernel import syscalls
from tests.metrics.exported import Exported, Point, broken

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

NR = syscalls.table()
CALLS, POD_CALLS = "otel_kernel.container.syscalls", "otel_kernel.pod.syscalls"
MANY = 100_003
FOR_EVER = ("=--", "=wait", "=100000000")
REST = ("sched", "process", "files")


def repeat(times: int, name: str, *arguments: str) -> tuple[str, ...]:
    """Return the words with which the actor makes a system call many times."""
    return ("=repeat", f"={times}", f"={NR[name]}", *(f"={word}" for word in arguments))


def container(name: str, *words: str) -> Container:
    """Return a container whose program does what it is told."""
    return Container(name, ("/bin/actor", "app", *words))


@dataclass
class Scene:
    """What happened while agents looked on, and what they said of it."""

    born: BornPod
    older: BornPod  # there before the second agent
    curious: Exported  # of an agent that counts by all names, errors, durations and paths
    modest: Exported  # of one that counts as by default
    late: Exported  # of one that came when all was there
    late_ns: int
    before_removal: dict[str, float]  # the pod's sum, by whoever said it

    def last(self, told: Exported, name: str, metric: str, **attributes: str) -> float:
        """Return the last value of a series of a container."""
        series = told.series(f"{self.born.pod.uid}/{name}", metric, **attributes)
        return [point.value for point in series if point.value is not None][-1]

    def calls(self, told: Exported, name: str) -> dict[str, float]:
        """Return the last counts of a container's calls, by name, without zeros."""
        series = told.series(f"{self.born.pod.uid}/{name}", CALLS)
        return {dict(point.key.attributes)["otel_kernel.syscall.name"]: point.value for point in series if point.value}


def agent(stack: ExitStack, directory: Path, name: str, **settings: str) -> tuple[Agent, Exported]:
    """Start an agent that writes what it measures, often."""
    environment = {f"OTEL_KERNEL_{setting}": value for setting, value in settings.items()} | {
        "OTEL_KERNEL_OUTPUT": f"file:{directory / name}.jsonl",
        "OTEL_KERNEL_EBPF": "require",
        "OTEL_KERNEL_KUBERNETES": "off",
        "OTEL_KERNEL_METRICS": "syscalls,sched,process,files,agent",
        "OTEL_METRIC_EXPORT_INTERVAL": "700",
    }
    started = stack.enter_context(Agent(environment, directory / f"{name}.log"))
    return started, Exported(directory / f"{name}.jsonl")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Let a pod live under the eyes of two agents; a third comes late."""
    directory = tmp_path_factory.mktemp("lives")
    actor = directory / "actor"
    source = Path(__file__).parent.parent / "kernel" / "actor.c"
    subprocess.run(["gcc", "-O1", "-static", "-o", actor, source, "-lpthread"], check=True, timeout=60)
    with ExitStack() as stack:
        asked = {"SYSCALL_NAMES": "all", "SYSCALL_ERRORS": "on", "SYSCALL_DURATION": "getppid,poll", "OPEN_PATHS": "on"}
        first, curious = agent(stack, directory, "curious", **asked)
        second, modest = agent(stack, directory, "modest")
        lab = stack.enter_context(Lab(programs={"bin/actor": actor}))
        older = lab.bear(Pod("older", (container("main", *repeat(2_000, "getuid"), *FOR_EVER),)))
        main = container("main", *repeat(MANY, "getppid"), "=--", *repeat(9, "umount2", "s:/none", "0"), *FOR_EVER)
        opens = repeat(6, "openat", "-100", "s:/bin/busybox", "0")
        files = container("files", *opens, "=--", "=child", "=clone", "=0", "=--", "=threads", "=3", "=5", *FOR_EVER)
        setup = container("setup", *repeat(777, "getppid"))
        pod = Pod("lives", (main, files), (setup,))
        born = lab.bear(pod)
        curious.wait_for_collection()
        modest.wait_for_collection()
        late_ns = time.time_ns()
        third, late = agent(stack, directory, "late", SYSCALL_NAMES="getppid,getuid")
        late.wait_for_collection()
        born = lab.restart(born, container("main", *repeat(55, "getppid"), *FOR_EVER))
        for told in (curious, modest, late):
            told.wait_for_collection()
        before = {name: told.last(pod.uid, POD_CALLS) for name, told in (("curious", curious), ("modest", modest))}
        lab.remove(born)
        for told in (curious, modest):
            told.wait_for_collection()
        for ended in (third, second, first):
            assert ended.stop() == 0
        for told in (curious, modest, late):
            told.read()
        yield Scene(born, older, curious, modest, late, late_ns, before)


def of(points: list[Point], container_id: str | None) -> list[Point]:
    """Return the points of one container, where several had the name one after the other."""
    return [point for point in points if point.resource.get("container.id") == container_id]


def ids(scene: Scene, name: str) -> list[str]:
    """Return the ids of the containers of one name, in their order."""
    points = scene.curious.series(f"{scene.born.pod.uid}/{name}", CALLS)
    return list(dict.fromkeys(point.resource["container.id"] for point in points))


def test_exact_by_all_names(scene: Scene) -> None:
    """A container that calls getppid so often shows that, and nothing of what runc did before it ran."""
    (first, restarted) = ids(scene, "main")
    series = scene.curious.series(f"{scene.born.pod.uid}/main", CALLS, name="getppid")
    values = {each: [point.value for point in of(series, each) if point.value] for each in (first, restarted)}
    assert (values[first][-1], values[restarted][-1]) == (MANY, 55)
    assert not scene.calls(scene.curious, "main").keys() & {"unshare", "pivot_root", "mount", "setns", "clone3"}


def test_exact_by_default(scene: Scene) -> None:
    """By default getppid is among the rest: two agents count the same, whatever they tell by name."""
    every, few = scene.calls(scene.curious, "files"), scene.calls(scene.modest, "files")
    assert every["openat"] == few["openat"] == 6
    named = few.keys() - {"_OTHER"}
    assert {name: every.get(name) for name in named} == {name: few[name] for name in named}
    assert few["_OTHER"] == sum(count for name, count in every.items() if name not in named)


def test_a_container_that_ended_at_once(scene: Scene) -> None:
    """The last counts of an init container are told, and then its end."""
    series = scene.curious.series(f"{scene.born.pod.uid}/setup", CALLS, name="getppid")
    assert [point.value for point in series if point.value][-1] == 777
    assert series[-1].value is None


def test_the_pods_sum(scene: Scene) -> None:
    """A pod's sum has all its containers' calls, pause's and the runtime's, is the same for both, and only rises."""
    uid = scene.born.pod.uid
    assert scene.before_removal["curious"] == scene.before_removal["modest"]
    told = [point.value for point in scene.curious.series(uid, POD_CALLS)]
    assert told[-1] is None
    values = [value for value in told if value is not None]
    assert values == sorted(values)
    assert values[-1] >= MANY + 777 + 55 + 9 + 200  # runc init makes some hundred calls for each container


def test_processes_and_files(scene: Scene) -> None:
    """Processes of the container's own program, and its opens; threads are no processes."""
    process = "otel_kernel.container.process."
    assert [scene.last(scene.modest, "files", f"{process}{what}") for what in ("forks", "execs")] == [1, 1]
    assert scene.last(scene.modest, "files", "otel_kernel.container.file.opens") == 6
    opened = scene.curious.series(f"{scene.born.pod.uid}/files", "otel_kernel.container.file.opens")
    last = {dict(point.key.attributes)["otel_kernel.file.path_prefix"]: point.value for point in opened if point.value}
    assert last == {"/bin": 6}


def test_switches_and_waits(scene: Scene) -> None:
    """A task that waits and ends has left its CPU, and waited for it as often as it ran."""
    name = "otel_kernel.container.context_switches"
    switches = [scene.last(scene.modest, "files", name, type=kind) for kind in ("voluntary", "involuntary")]
    assert switches[0] >= 1
    waits = scene.last(scene.modest, "files", "otel_kernel.container.run_queue.duration")
    assert 0 < waits <= sum(switches)


def test_errors_and_durations(scene: Scene) -> None:
    """What is off by default is exact, too."""
    (first, _) = ids(scene, "main")
    uid = scene.born.pod.uid
    errors = scene.curious.series(f"{uid}/main", "otel_kernel.container.syscall.errors", name="umount2")
    assert [point.value for point in of(errors, first) if point.value][-1] == 9
    assert {dict(point.key.attributes)["error.type"] for point in errors} == {"ENOENT"}
    durations = scene.curious.series(f"{uid}/main", "otel_kernel.container.syscall.duration", name="getppid")
    assert [point.value for point in of(durations, first) if point.value][-1] == MANY
    assert scene.modest.series(f"{uid}/main", "otel_kernel.container.syscall.errors") == []


def test_an_agent_that_comes_late(scene: Scene) -> None:
    """It counts from when it came: a container that was there has its calls since, one that came later all."""
    uid = scene.born.pod.uid
    older = scene.late.series(f"{scene.older.pod.uid}/main", CALLS, name="getuid")
    assert {point.value for point in older if point.value is not None} <= {0}  # a name that nobody called has no series
    assert all(point.start_ns >= scene.late_ns for point in older)
    (_, restarted) = ids(scene, "main")
    later = of(scene.late.series(f"{uid}/main", CALLS, name="getppid"), restarted)
    assert [point.value for point in later if point.value][-1] == 55


def test_nothing_was_lost(scene: Scene) -> None:
    """All tables had room, and no series goes back, moves its start or meets another."""
    for told in (scene.curious, scene.modest):
        lost = [point for point in told.points if point.key.metric == "otel_kernel.agent.events.lost"]
        of_tables = {"container", "cgroup", "wait", "duration"}
        values = {
            (kind, p.value) for p in lost if (kind := dict(p.key.attributes)["otel_kernel.loss.kind"]) in of_tables
        }
        assert values == {(kind, 0) for kind in of_tables}
        assert list(broken(told.points)) == []
