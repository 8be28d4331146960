"""The kernel's own throttling, interval by interval, beside what it says in cpu.stat.

Not among the tests that are collected by default: it takes a kernel with fentry or kprobes, and the cpu controller in
the cgroup v2 hierarchy (`python -m tests.kernels 6.12 -- .venv/bin/python -m pytest tests/kernels/throttling.py`).
"""

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from otel_kernel import ebpf
from otel_kernel.kernel import functions, probes
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.events import THROTTLED_TOLD, Throttled
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from otel_kernel.kernel.throttles import Interval, Throttles, Throttling
from tests.kernel.pod_cgroups import PodCgroup, v2_hierarchy
from tests.kernel.waiting import until

LOAD_LIMIT_S = 600  # the processors are emulated
LIMIT = "20000 100000"  # us of each period of so many
SPINNERS = 2
WAYS = {ways[0]: ways for ways in functions._WAYS}


@pytest.fixture(scope="module")
def loaded() -> Iterator[Probes]:
    """The kernel side, attached to what tells it of cgroups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "_LOAD_TIMEOUT_S", LOAD_LIMIT_S)
        counting = Counting(throttling=True, throttled_durations=True)
        found = Loading(ebpf.cache_directory(), Sizes(), counting).finish()
    assert [each for each in found.attach() if each.error] == []
    assert found.not_counted == {}
    yield found
    found.close()


@pytest.fixture(params=WAYS)
def throttles(request: pytest.FixtureRequest, loaded: Probes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Throttles]:
    """What counts, in each way that there is; nothing may be lost."""
    monkeypatch.setattr(functions, "_WAYS", (WAYS[request.param],))
    assert loaded.throttles is not None
    loaded.throttles.attach()
    assert loaded.throttles.attached == [f"unthrottle_cfs_rq:{way}" for way in WAYS[request.param]]
    yield loaded.throttles
    assert loaded.throttles.missed() == 0
    assert loaded.throttles.losses().no_room == loaded.throttles.losses().lost == 0
    loaded.throttles.detach()


@pytest.fixture
def pod(throttles: Throttles) -> Iterator[PodCgroup]:
    """A pod with one container, the cpu controller on, made while somebody looks on."""
    assert throttles.attached
    hierarchy = v2_hierarchy()
    assert hierarchy is not None
    with PodCgroup(hierarchy) as made:
        for above in (made.path.parent.parent, made.path.parent, made.path):
            (above / "cgroup.subtree_control").write_text("+cpu")
        yield made


def spin(cgroup: Path, seconds: float) -> None:
    """Let some processes run in a cgroup for as long as they may, and wait until nothing of them is left."""
    joined = 'echo 0 > "$0/cgroup.procs" && exec timeout "$1" sh -c "while :; do :; done"'
    running = [subprocess.Popen(["sh", "-c", joined, cgroup, f"{seconds}"]) for _ in range(SPINNERS)]
    for each in running:
        each.wait(seconds + 120)


def throttled_us(cgroup: Path) -> int:
    """Return what the kernel says itself."""
    lines = dict(line.split() for line in (cgroup / "cpu.stat").read_text().splitlines())
    return int(lines["throttled_usec"])


def steady(read: Callable[[], int]) -> int:
    """Return a figure once it has not changed for some periods: a CPU may be throttled without anybody in it."""
    seen = [read()]

    def look() -> list[int]:
        time.sleep(0.5)
        seen.append(read())
        return seen[-3:]

    until(look, lambda last: len(set(last)) == 1 and len(last) == 3)
    return seen[-1]


def counted(throttles: Throttles, cgroup: Path) -> Throttling:
    """Return what was counted of a cgroup."""
    told = throttles.read_one(cgroup.stat().st_ino)
    assert told is not None
    return told


def agreed(throttles: Throttles, cgroup: Path) -> Throttling:
    """Return what was counted of a cgroup once nothing more comes: the kernel's own sum, which it tells in whole us."""
    kernel_us = steady(lambda: throttled_us(cgroup))
    told = counted(throttles, cgroup)
    assert told.sum_ns // 1000 == kernel_us > 0
    assert sum(told.counts) == told.intervals > 0
    return told


def test_the_sum_is_the_kernels(throttles: Throttles, pod: PodCgroup) -> None:
    """Each interval has its start, length and CPU; two of one CPU do not overlap."""
    (pod.leaf / "cpu.max").write_text(LIMIT)
    began_ns = boot_ns()
    spin(pod.leaf, 2)
    told = agreed(throttles, pod.leaf)
    assert counted(throttles, pod.path).intervals == 0
    assert [each.number for each in told.last] == list(range(told.intervals))[-8:]
    by_cpu: dict[int, list[Interval]] = {}
    for each in sorted(told.last, key=lambda each: each.start_ns):
        assert began_ns < each.start_ns < each.start_ns + each.length_ns < boot_ns()
        by_cpu.setdefault(each.cpu, []).append(each)
    for intervals in by_cpu.values():
        for first, second in itertools.pairwise(intervals):
            assert first.start_ns + first.length_ns <= second.start_ns


def test_the_pods_own_limit(throttles: Throttles, pod: PodCgroup) -> None:
    """An interval belongs to whose limit it was."""
    (pod.path / "cpu.max").write_text(LIMIT)
    spin(pod.leaf, 1)
    agreed(throttles, pod.path)
    assert counted(throttles, pod.leaf).intervals == 0


def test_a_cgroup_below_a_containers(throttles: Throttles, pod: PodCgroup) -> None:
    """A limit that a container sets itself is the container's: nobody else is there to tell it of."""
    (pod.leaf / "cgroup.subtree_control").write_text("+cpu")
    inner = pod.leaf / "a" / "b"
    inner.mkdir(parents=True)
    try:
        (pod.leaf / "a" / "cgroup.subtree_control").write_text("+cpu")
        (inner / "cpu.max").write_text(LIMIT)
        spin(inner, 1)
        kernel_us = steady(lambda: throttled_us(inner))
        told = counted(throttles, pod.leaf)
        assert told.sum_ns // 1000 == kernel_us > 0
    finally:
        until(lambda: _removed(inner))
        until(lambda: _removed(inner.parent))


def _removed(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True


def test_a_birth_is_told_each_interval(throttles: Throttles, loaded: Probes, pod: PodCgroup) -> None:
    """The first ones of a cgroup that was seen made come as events, with what was counted."""
    (pod.leaf / "cpu.max").write_text(LIMIT)
    spin(pod.leaf, 1)
    told = agreed(throttles, pod.leaf)
    assert told.intervals < THROTTLED_TOLD
    of_leaf = [
        each for each in loaded.events() if isinstance(each, Throttled) and each.cgroup_id == pod.leaf.stat().st_ino
    ]
    assert [each.number for each in of_leaf] == list(range(told.intervals))
    assert sum(each.end_ns - each.start_ns for each in of_leaf) == told.sum_ns
    assert loaded.received == loaded.counters().sent


def test_nobodys_limit_is_not_looked_at(throttles: Throttles, pod: PodCgroup) -> None:
    """A limit of what is no pod's makes no row."""
    nobodys = pod.path.parent.parent / "nobodys"
    nobodys.mkdir()
    try:
        (nobodys / "cpu.max").write_text(LIMIT)
        spin(nobodys, 1)
        assert steady(lambda: throttled_us(nobodys)) > 0
        assert throttles.read_one(nobodys.stat().st_ino) is None
    finally:
        until(lambda: _removed(nobodys))
