"""Context switches and run-queue waits of containers, beside what /proc says of one task."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from tests.kernel.actors import Step, repeat
from tests.kernel.container_counts import Counts
from tests.kernel.pod_cgroups import PodCgroup, v2_hierarchy
from tests.kernel.test_container_calls import actor, steps
from tests.kernel.waiting import until

__all__ = ["actor"]
pytestmark = pytest.mark.root
STOP: Step = ("raise", int(signal.SIGSTOP))
CPU = min(os.sched_getaffinity(0))
SCHED = Counting(sched=True)
# Two threads in a row fall on the same place; most go to the second table.
NARROW = Sizes(runs=2, more_runs=64)


@pytest.fixture
def counts(probes: Probes, counting: Counting) -> Counts:
    """The kernel side as it is by default."""
    return Counts(probes, counting)


class Told(NamedTuple):
    """What is told of a task or of a container."""

    voluntary: int
    involuntary: int
    waited_ns: int

    def since(self, then: Self) -> "Told":
        """Return what has been told since."""
        return Told(*(now - before for now, before in zip(self, then, strict=True)))


class Task:
    """A process with one thread, born in a container's cgroup and alone in it. Owned."""

    def __init__(self, pod: PodCgroup, words: list[str], done: Path, *taken: Step) -> None:
        """Let it stop before and after it takes these steps."""
        born = (("write", pod.leaf / "cgroup.procs", "0"), ("descend", "clone", 0))
        self._done = done
        done.touch()
        self._parent = subprocess.Popen([*words, *steps(*born, STOP, *taken, ("write", done, "1"), STOP)])
        children = Path(f"/proc/{self._parent.pid}/task/{self._parent.pid}/children")
        self.pid = int(until(lambda: children.read_text().strip()))
        until(self._has_stopped)
        (pod.path.parents[2] / "cgroup.procs").write_text(str(self._parent.pid))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._parent.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._parent.wait(20)

    def begin(self) -> None:
        """Let it take its steps."""
        os.kill(self.pid, signal.SIGCONT)

    def finish(self) -> None:
        """Return when it has taken them."""
        until(lambda: self._done.read_text() and self._has_stopped())

    def end(self) -> None:
        """Let it end."""
        os.kill(self.pid, signal.SIGCONT)
        assert self._parent.wait(20) == 0

    @property
    def told(self) -> Told:
        """What /proc says of it (Documentation/scheduler/sched-stats.rst)."""
        fields = dict(line.split(":\t", 1) for line in self._read("status").splitlines())
        waited_ns = int(self._read("schedstat").split()[1])
        return Told(int(fields["voluntary_ctxt_switches"]), int(fields["nonvoluntary_ctxt_switches"]), waited_ns)

    def _read(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def _has_stopped(self) -> bool:
        return self._read("stat").rpartition(")")[2].split()[0] == "T"


def counted(counts: Counts, pod: PodCgroup) -> Told:
    """Return what was counted for a container."""
    life = counts.life(pod.leaf)
    return Told(life.voluntary_switches, life.involuntary_switches, life.run_queue_ns)


@contextmanager
def busy(cpu: int) -> Iterator[None]:
    """Let somebody else want this CPU, too."""
    command = [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, [{cpu}])\nwhile True: pass"]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def at_rest(counts: Counts, pod: PodCgroup, task: Task) -> tuple[Told, Told]:
    """Return what is counted and what /proc says once neither changes any more."""

    def look() -> tuple[tuple[Told, Told], tuple[Told, Told]]:
        first = (counted(counts, pod), task.told)
        time.sleep(0.02)
        return first, (counted(counts, pod), task.told)

    return until(look, lambda seen: seen[0] == seen[1])[1]


def settled(counts: Counts, pod: PodCgroup, task: Task, before: tuple[Told, Told]) -> tuple[Told, Told]:
    """Return what was counted and what /proc says since; the task stands still, so they agree soon or never."""

    def look() -> tuple[Told, Told]:
        return counted(counts, pod).since(before[0]), task.told.since(before[1])

    return until(look, lambda seen: seen[0] == seen[1], 3)


def test_voluntary(counts: Counts, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """A task that waits leaves its CPU voluntarily: as often, and with waits as long, as /proc says."""
    with Task(pod, actor, tmp_path / "done", *([("wait", 1)] * 60)) as task:
        before = at_rest(counts, pod, task)
        task.begin()
        task.finish()
        ours, theirs = settled(counts, pod, task, before)
        assert ours == theirs
        assert ours.voluntary >= 60
        task.end()


def test_involuntary(counts: Counts, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """A task beside another on one CPU is made to wait: as often and as long as /proc says, to the nanosecond."""
    with Task(pod, ["taskset", "-c", str(CPU), *actor], tmp_path / "done", ("spin", 400)) as task:
        before, then = at_rest(counts, pod, task), counts.life(pod.leaf)
        with busy(CPU):
            task.begin()
            task.finish()
        ours, theirs = settled(counts, pod, task, before)
        now = counts.life(pod.leaf)
    assert ours == theirs
    assert ours.involuntary > 5
    assert ours.waited_ns > 50_000_000
    waits = [after - earlier for after, earlier in zip(now.run_queue, then.run_queue, strict=True)]
    assert sum(waits) == ours.voluntary + ours.involuntary  # each time it ran it had waited, if only for an instant
    shortest = [0, *(1_000 << exponent for exponent in range(len(waits) - 1))]
    assert sum(count * ns for count, ns in zip(waits, shortest, strict=True)) <= ours.waited_ns
    longest = [*shortest[1:], max(shortest[-1], ours.waited_ns)]
    assert sum(count * ns for count, ns in zip(waits, longest, strict=True)) >= ours.waited_ns


def test_moved_between_cpus(counts: Counts, pod: PodCgroup, actor: list[str], tmp_path: Path) -> None:
    """A task that is moved to another CPU while it waits has waited on both."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    with Task(pod, actor, tmp_path / "done", ("spin", 500)) as task, ExitStack() as stack:
        before = at_rest(counts, pod, task)
        for cpu in cpus:
            stack.enter_context(busy(cpu))
        task.begin()
        for turn in range(200):
            os.sched_setaffinity(task.pid, [cpus[turn % len(cpus)]])
        task.finish()
        ours, theirs = settled(counts, pod, task, before)
        assert ours == theirs


def test_threads_that_share_a_place(cache: Path, actor: list[str], tmp_path: Path) -> None:
    """Threads whose ids fall on the same place of the table are each exact; one that has ended leaves its place."""
    hierarchy = v2_hierarchy()
    if hierarchy is None:
        pytest.skip("needs a cgroup v2 hierarchy")
    loaded = Loading(cache, NARROW, SCHED).finish()
    counts = Counts(loaded, SCHED)
    loaded.attach()
    counts.tables.attach()
    with ExitStack() as stack:
        pods = [stack.enter_context(PodCgroup(hierarchy)) for _ in range(5)]
        taken = (*([("wait", 1)] * 20), ("spin", 20))
        tasks = [stack.enter_context(Task(pod, actor, tmp_path / pod.uid, *taken)) for pod in pods]
        before = [at_rest(counts, pod, task) for pod, task in zip(pods, tasks, strict=True)]
        for task in tasks:
            task.begin()
        for pod, task, earlier in zip(pods, tasks, before, strict=True):
            task.finish()
            ours, theirs = settled(counts, pod, task, earlier)
            assert ours == theirs
            assert ours.voluntary >= 20
        for task in tasks:
            task.end()
        for pod in pods:
            pod.run([*actor, *steps(("threads", 40, 10), repeat(1, "getppid"))])
        assert counts.tables.uncounted().waits == 0
        ended = {task.pid for task in tasks}
        assert until(
            lambda: ended.isdisjoint(int.from_bytes(key, "little") for key, _ in loaded.maps["more_runs"].entries())
        )
    loaded.close()


def test_more_threads_than_room(cache: Path, actor: list[str]) -> None:
    """The waits of a thread that finds no room are missing, and counted; its switches are not missing."""
    hierarchy = v2_hierarchy()
    if hierarchy is None:
        pytest.skip("needs a cgroup v2 hierarchy")
    loaded = Loading(cache, Sizes(runs=1, more_runs=1), SCHED).finish()
    counts = Counts(loaded, SCHED)
    loaded.attach()
    counts.tables.attach()
    with PodCgroup(hierarchy) as pod:
        pod.run([*actor, *steps(("threads", 30, 20_000), *([("wait", 1)] * 20))])
        assert counts.tables.uncounted().waits > 0
        life = counts.life(pod.leaf)
        switches = life.voluntary_switches + life.involuntary_switches
        assert sum(life.run_queue) < switches
        assert switches >= 30 + 20
    loaded.close()


def test_there_before(cache: Path, actor: list[str], tmp_path: Path) -> None:
    """Of a task that was there before, only what came since is counted, and nothing of what it waited earlier."""
    hierarchy = v2_hierarchy()
    if hierarchy is None:
        pytest.skip("needs a cgroup v2 hierarchy")
    words = ["taskset", "-c", str(CPU), *actor]
    with PodCgroup(hierarchy) as pod, ExitStack() as stack:
        with busy(CPU):
            task = stack.enter_context(Task(pod, words, tmp_path / "done", ("spin", 100), *([("wait", 1)] * 20)))
        loaded = Loading(cache, Sizes(), SCHED).finish()
        stack.callback(loaded.close)
        counts = Counts(loaded, SCHED)
        loaded.attach()
        counts.tables.attach()
        counts.tables.adopt(pod.leaf.stat().st_ino, pod.path.stat().st_ino, is_below_pod=True)
        assert counted(counts, pod) == (0, 0, 0)
        before = at_rest(counts, pod, task)
        with busy(CPU):
            task.begin()
            task.finish()
        until(lambda: counted(counts, pod)[:2] == task.told.since(before[1])[:2], limit_s=3)
        ours, theirs = counted(counts, pod), task.told.since(before[1])
        assert ours[:2] == theirs[:2]
        assert 0 < ours.waited_ns <= theirs.waited_ns  # its first wait may have begun before
