"""Throttled intervals as metrics. Not every kernel lets its functions be watched: here the test writes the rows itself.

The map is the real one, and so is what reads it; tests/kernel/test_throttling.py lets the kernel write them.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otel_kernel.births.model import NO_LOSS
from otel_kernel.health import Counter, Health
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.probes import Loading, Probes, Sizes
from otel_kernel.kernel.throttles import Throttles
from otel_kernel.metrics.points import Histogram, LogEvent
from otel_kernel.metrics.throttle_source import ThrottleSource
from tests.metrics.fake_node import FakeNode, Figures, points

pytestmark = pytest.mark.root

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
OF_POD, OF_CONTAINER = (f"otel_kernel.{level}.cpu.throttled.duration" for level in ("pod", "container"))
MS = 1_000_000
LIMITED = Figures(quota_us=10_000)


@pytest.fixture(scope="module")
def probes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probes]:
    """The kernel side, attached to nothing."""
    counting = Counting(throttling=True, throttled_durations=True)
    loaded = Loading(tmp_path_factory.mktemp("cache"), Sizes(throttled=64), counting).finish()
    assert loaded.not_counted == {}
    yield loaded
    loaded.close()


@dataclass
class Kernel:
    """What the kernel would write."""

    probes: Probes
    rows: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # cgroup id -> start, length, CPU

    @property
    def throttles(self) -> Throttles:
        """What reads it."""
        assert self.probes.throttles is not None
        return self.probes.throttles

    def throttle(self, cgroup_id: int, *intervals: tuple[int, int, int], is_gone: bool = False) -> None:
        """Let intervals end: start in boot time, length and CPU of each."""
        row = self.rows.setdefault(cgroup_id, [])
        row += intervals
        counts, last = [0] * 20, [0] * 32
        for number, interval in enumerate(row):
            counts[next((at for at in range(19) if interval[1] <= 64_000 << at), 19)] += 1
            last[number % 8 * 4 : number % 8 * 4 + 4] = [number + 1, *interval]
        words = (len(row), sum(length for _, length, _ in row), *counts, 0, int(is_gone), *last)
        self.probes.maps["throttlings"].update(struct.pack("<Q", cgroup_id), struct.pack("<56Q", *words))


@pytest.fixture
def kernel(probes: Probes) -> Iterator[Kernel]:
    """An empty map."""
    told = Kernel(probes)
    yield told
    told.throttles.forget(told.throttles.read())


@dataclass
class Node:
    """A node with one container that has a limit."""

    fake: FakeNode
    kernel: Kernel
    health: Health = field(default_factory=Health)

    def __post_init__(self) -> None:
        """Make it, and look once."""
        self.pod = self.fake.pod(UID)
        self.app = self.fake.container(self.pod, "app", figures=LIMITED)
        self.pod_id = self.fake.directory.pods()[0].cgroup.id or 0
        self.app_id = self.fake.directory.pods()[0].containers[-1].cgroup.id or 0
        self.source = ThrottleSource(self.kernel.throttles, 0, self.health)
        self.collection = self.fake.collection(self.source)

    def look(self, seconds: float = 15) -> dict[str, list[Histogram]]:
        """Let time pass, collect, and return the histograms of both metrics."""
        self.fake.wait(seconds)
        found: dict[str, list[Histogram]] = {OF_POD: [], OF_CONTAINER: []}
        for (_, name, _), told in points(self.collection.collect(self.fake.now)).items():
            if name in found:
                found[name] += [each for each in told if isinstance(each, Histogram)]
        return found


@pytest.fixture
def node(tmp_path: Path, kernel: Kernel) -> Node:
    """Return a node that was looked at once."""
    made = Node(FakeNode(tmp_path), kernel)
    made.look()
    return made


def test_intervals_become_a_histogram(node: Node) -> None:
    """Its first point is a zero; the pod's own limit has one of its own."""
    assert node.look() == {OF_POD: [], OF_CONTAINER: []}
    node.kernel.throttle(node.app_id, (1, 90 * MS, 0), (2, 30_000, 1))
    told = node.look()
    zero, now = told[OF_CONTAINER]
    assert told[OF_POD] == []
    assert (zero.counts, zero.sum) == ((0,) * 20, 0.0)
    assert now.counts is not None
    assert [at for at, count in enumerate(now.counts) if count] == [0, 11]
    assert now.sum == pytest.approx(0.09003)
    assert now.bounds[0] == 0.000064
    assert now.bounds[10] < 0.09 <= now.bounds[11]
    node.kernel.throttle(node.pod_id, (3, MS, 0))
    assert [each.sum for each in node.look()[OF_POD]] == [0.0, 0.001]


def test_the_last_counts_of_a_container_are_told(node: Node) -> None:
    """And then its row is given back."""
    node.kernel.throttle(node.app_id, (1, MS, 0))
    node.look()
    node.kernel.throttle(node.app_id, (5, 2 * MS, 0), is_gone=True)
    node.fake.remove(node.app)
    last, end = node.look()[OF_CONTAINER]
    assert (last.sum, end.sum) == (0.003, None)
    assert node.kernel.throttles.read() == {}


def test_nobodys_rows_are_given_back(node: Node) -> None:
    """A cgroup of whose end nobody tells us has none after a few collections."""
    node.kernel.throttle(77, (1, MS, 0), is_gone=True)
    node.kernel.throttle(78, (1, MS, 0))
    for _ in range(3):
        node.look()
        assert set(node.kernel.throttles.read()) == {77, 78}
    node.look()
    assert set(node.kernel.throttles.read()) == {78}


def crossed(node: Node) -> LogEvent:
    """Let the container cross the threshold, collect, and return the event."""
    before = node.fake.figures[node.app]
    node.fake.change(node.app, periods=before.periods + 150, throttled=before.throttled + 120)
    node.look()
    (event,) = node.collection.take_events()
    return event


def test_the_event_has_the_intervals_since_the_last_look(node: Node) -> None:
    """The number of all, and the latest few by start, length and CPU."""
    node.kernel.throttle(node.app_id, (500 * 10**9, MS, 0))
    node.look()
    start_ns = node.fake.boot_ns + MS
    node.kernel.throttle(node.app_id, *((start_ns + at * 100 * MS, 90 * MS + at, at % 2) for at in range(10)))
    event = crossed(node)
    assert event.attributes["otel_kernel.throttling.intervals"] == 10
    last = event.attributes["otel_kernel.throttling.last_intervals"]
    assert isinstance(last, tuple)
    assert len(last) == 8
    assert last[-1].endswith(" 0.090000009 s CPU 1")
    assert last[0].endswith(" 0.090000002 s CPU 0")
    assert last == tuple(sorted(last))
    assert node.fake.unix_offset_ns % 10**9 == 0
    assert ".201000000Z " in last[0]


def test_a_row_that_is_being_written_tells_no_interval_of_it(kernel: Kernel) -> None:
    """The number is written last: without it the rest may be of two intervals."""
    kernel.throttle(9, (1, MS, 0), (2, MS, 1))
    raw = bytearray(kernel.probes.maps["throttlings"].lookup(struct.pack("<Q", 9)) or b"")
    struct.pack_into("<Q", raw, 24 * 8, 0)
    kernel.probes.maps["throttlings"].update(struct.pack("<Q", 9), bytes(raw))
    told = kernel.throttles.read()[9]
    assert told.intervals == 2
    assert [each.cpu for each in told.last] == [1]


def test_what_found_no_room_is_counted(node: Node) -> None:
    """The kernel side says so, and the agent's own metrics do."""
    node.kernel.probes.maps["throttling_losses"].update(bytes(4), struct.pack("<3Q", 4, 1, 7))
    node.look()
    assert node.health.snapshot()[Counter.THROTTLES_UNCOUNTED] == 7
    counters = node.kernel.probes.counters()
    assert (counters.sent, counters.lost_ring) == (4, 1)
    node.kernel.probes.maps["throttling_losses"].update(bytes(4), bytes(24))
    assert NO_LOSS.lost == node.kernel.probes.counters().lost
