"""Ten minutes of churn: whatever comes and goes, what a store of series gets stays true."""

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.metrics.catalogue import BY_NAME
from otel_kernel.metrics.collection import Collection
from otel_kernel.metrics.points import Number, ResourceMeasurements
from tests.metrics.fake_node import FakeNode, Figures, Point, SeriesKey, points

INTERVAL_S = 15
MINUTES = 10
HAPPENS = 0.03  # at each step of a collection


class Life:
    """Pods and containers that come, work, restart and go at random."""

    def __init__(self, node: FakeNode, seed: int) -> None:
        self.node = node
        self.random = random.Random(seed)  # noqa: S311 - a test that repeats itself
        self.pods: dict[str, dict[str, str]] = {}  # pod's path -> container's name -> its path
        self.made = 0
        self.truth: dict[str, int] = defaultdict(int)  # by pod: periods that its containers were throttled for

    def step(self) -> None:
        """Let something happen."""
        choice = self.random.random()
        if choice < 0.15 or not self.pods:
            self.make_pod()
        elif choice < 0.2:
            self.remove_pod()
        elif choice < 0.4:
            self.restart()
        elif choice < 0.5:
            self.appear()
        else:
            self.work()

    def make_pod(self) -> None:
        """Make a pod; every third is a static one that was there before under the same UID."""
        self.made += 1
        static = f"{self.made % 3:032x}"
        uid = static if self.made % 3 == 0 else f"{self.made:08x}-1111-4111-8111-111111111111"
        pod = f"/kubepods/burstable/pod{uid}"
        if pod not in self.pods:
            self.pods[self.node.pod(uid, f"pod-{self.made}")] = {}

    def remove_pod(self) -> None:
        """Remove a pod with all its containers."""
        pod = self.random.choice(sorted(self.pods))
        for name in sorted(self.pods[pod]):
            self.end(pod, name)
        for path in [path for path in self.node.figures if path.startswith(f"{pod}/")]:
            self.node.remove(path)
        self.node.remove(pod)
        del self.pods[pod]

    def appear(self) -> None:
        """Add a container to a pod."""
        pod = self.random.choice(sorted(self.pods))
        name = self.random.choice(["app", "sidecar", "init"])
        if name not in self.pods[pod]:
            figures = Figures(quota_us=10_000)
            self.pods[pod][name] = self.node.container(pod, name, str(self.node.figures[pod]), figures)

    def restart(self) -> None:
        """End a container; its successor comes before or after its cgroup is gone."""
        pod = self.random.choice(sorted(self.pods))
        for name in sorted(self.pods[pod]):
            if self.random.random() < 0.3:
                before = self.pods[pod].pop(name)
                self.appear()
                self.empty(before)
                self.node.remove(before)
            elif self.random.random() < 0.5:
                self.end(pod, name)
                self.appear()

    def end(self, pod: str, name: str) -> None:
        """End a container, as a runtime does."""
        path = self.pods[pod].pop(name)
        self.empty(path)
        self.node.remove(path)

    def empty(self, path: str) -> None:
        """Let the last process of a container end; whoever watches it may look."""
        self.node.change(path, populated=False)
        if self.random.random() < 0.8:
            self.node.wait(0.01)
            self.look()

    def look(self) -> None:
        """Let the observer look."""

    def work(self) -> None:
        """Let all containers use something."""
        for pod, containers in self.pods.items():
            for path in containers.values():
                told = self.node.figures[path]
                self.node.change(
                    path,
                    usage_us=told.usage_us + self.random.randrange(10_000_000),
                    periods=told.periods + self.random.randrange(150),
                    throttled=told.throttled + self.random.randrange(50),
                    oom_kills=told.oom_kills + (self.random.random() < 0.05),
                )
            self.node.change(pod, usage_us=self.node.figures[pod].usage_us + self.random.randrange(10_000_000))


class Store:
    """What a store of series knows, and what it must not be told."""

    def __init__(self) -> None:
        self.last: dict[SeriesKey, Point] = {}
        self.starts: dict[SeriesKey, int] = {}
        self.told = 0
        self.ended = 0

    def take(self, told: dict[SeriesKey, list[Point]], now_ns: int) -> None:
        """Check what is new against what was told before."""
        for key, series in told.items():
            for point in series:
                self.check(key, point, now_ns)
                self.last[key] = point

    def check(self, key: SeriesKey, point: Point, now_ns: int) -> None:
        """Check one point."""
        before = self.last.get(key)
        assert point.start_unix_ns <= point.time_unix_ns <= now_ns, key
        self.told += 1
        if before is not None and (before.time_unix_ns, before) == (point.time_unix_ns, point):
            return  # the same point once more
        assert before is None or point.time_unix_ns // 1_000_000 > before.time_unix_ns // 1_000_000, (
            key,
            before,
            point,
        )
        if not isinstance(point, Number) or not isinstance(before, Number | None):
            return
        if point.value is None:
            self.ended += 1
            assert before is None or before.value is not None, (key, before, point)
        elif before is not None and before.value is None and key[1] == "container.cpu.time":
            assert point.start_unix_ns > before.start_unix_ns, (key, before, point)  # another container's
        elif before is not None and before.value is not None:
            assert point.start_unix_ns == before.start_unix_ns, (key, before, point)
            assert not BY_NAME[key[1]].monotonic or point.value >= before.value, (key, before, point)


def collected(collection: Collection, life: Life) -> Iterator[ResourceMeasurements]:
    """Yield one collection, during which something may happen, as between two slices of the agent's."""
    for told in collection.steps(lambda: life.node.now):
        if told is not None:
            yield told
        if life.random.random() < HAPPENS:
            life.node.wait(0.01)
            life.step()
            collection._files.close()  # unlike a cgroup's, a plain file that is open can be read after its removal
            if life.random.random() < 0.5:
                collection.attend(life.node.now)


@pytest.mark.parametrize("seed", range(3))
def test_no_series_goes_back_moves_its_start_or_meets_another(tmp_path: Path, seed: int) -> None:
    """Series are told apart by instance, metric and attributes alone; in each, time and counts only rise.

    A series goes on under one start until it ends; a successor begins later than that.
    """
    node = FakeNode(tmp_path)
    collection = node.collection()
    life, store = Life(node, seed), Store()
    life.look = lambda: collection.attend(node.now)  # type: ignore[method-assign]
    for _ in range(MINUTES * 60 // INTERVAL_S):
        for _ in range(12):
            node.wait(INTERVAL_S / 12)
            life.step()
            if life.random.random() < 0.5:
                collection.attend(node.now)
        store.take(points(list(collected(collection, life))), node.now.unix_ns)
    for pod in list(life.pods):
        while pod in life.pods:
            life.remove_pod()
    node.wait(INTERVAL_S)
    store.take(points(collection.collect(node.now)), node.now.unix_ns)
    living = [key for key, point in store.last.items() if isinstance(point, Number) and point.value is not None]
    assert {instance for instance, _, _ in living} == {"node-1"}
    assert store.ended > 100
    collection.close()


def test_a_pods_total_is_exact_over_restarts(tmp_path: Path) -> None:
    """Over a hundred restarts, each read as it ended, the pod's total is the sum of what every container had."""
    node = FakeNode(tmp_path)
    collection = node.collection()
    uid = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
    pod = node.pod(uid)
    truth = 0
    for number in range(100):
        app = node.container(pod, "app", figures=Figures(quota_us=10_000))
        collection.attend(node.now)
        node.wait(1)
        if number % 7 == 0:
            collection.collect(node.now)
        truth += number
        node.change(app, periods=number, throttled=number, populated=False)
        collection.attend(node.now)
        node.wait(1)
        node.remove(app)
    node.wait(1)
    told = points(collection.collect(node.now))[uid, "otel_kernel.pod.cpu.throttled.periods", ()]
    assert [point.value for point in told if isinstance(point, Number)] == [truth]
