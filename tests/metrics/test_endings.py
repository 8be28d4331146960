"""What is told of containers that end, and of those that follow them."""

from dataclasses import replace
from pathlib import Path

import pytest

from otel_kernel.health import Counter
from otel_kernel.metrics.points import Number, ResourceMeasurements
from tests.metrics.fake_node import SECOND_NS, FakeNode, Figures, points, values

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
CPU = "container.cpu.time"
MS_NS = 1_000_000
LIMITED = Figures(usage_us=1_000_000, periods=10, throttled=5, throttled_us=100_000, quota_us=10_000)


def cpu_time(told: list[ResourceMeasurements], instance: str = f"{UID}/app") -> list[tuple[int, float | None]]:
    """Return the points of a container's CPU time: seconds since the epoch in nanoseconds, and value."""
    return [
        (point.time_unix_ns, point.value)
        for (of, metric, _), series in points(told).items()
        for point in series
        if (of, metric) == (instance, CPU) and isinstance(point, Number)
    ]


def test_a_restart(tmp_path: Path) -> None:
    """The last values and the end of a container come before the first point of the one that follows it."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    app = node.container(pod, "app", figures=LIMITED)
    collection = node.collection()
    assert [value for _, value in cpu_time(collection.collect(node.now))] == [1.0]
    node.wait(5)
    node.change(app, usage_us=1_234_000, populated=False)
    collection.attend(node.now)
    emptied_ns = node.now.unix_ns
    node.wait(1)
    node.remove(app)
    node.wait(1)
    node.container(pod, "app", figures=Figures(usage_us=7000))
    node.wait(8)
    told = cpu_time(collection.collect(node.now))
    assert told == [(emptied_ns, 1.234), (emptied_ns + SECOND_NS, None), (node.now.unix_ns, 0.007)]


def test_an_end_that_nobody_saw_coming(tmp_path: Path) -> None:
    """A container that was removed at once gets its end alone, stamped when it was removed."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=LIMITED)
    collection = node.collection()
    collection.collect(node.now)
    node.wait(5)
    node.remove(app)
    removed_ns = node.now.unix_ns
    node.wait(10)
    assert cpu_time(collection.collect(node.now)) == [(removed_ns, None)]
    node.wait(15)
    assert cpu_time(collection.collect(node.now)) == []


def test_what_was_not_read_in_time_is_counted(tmp_path: Path) -> None:
    """Neither what was read before its first process nor nothing at all passes for the last values of a container."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    app = node.container(pod, "app", figures=Figures(usage_us=0, populated=False))
    collection = node.collection()
    collection.attend(node.now)
    node.change(app, usage_us=1_000_000, populated=True)
    collection.collect(node.now)
    assert node.health.snapshot()[Counter.ENDINGS_UNREAD] == 0
    node.wait(5)
    node.remove(app)
    node.wait(1)
    assert [value for _, value in cpu_time(collection.collect(node.now))] == [None]
    assert node.health.snapshot()[Counter.ENDINGS_UNREAD] == 1


def test_a_start_and_an_end_that_were_told_too_late(tmp_path: Path) -> None:
    """The kernel's notices of both came when the cgroup was gone: what was read before the start is no last value."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    collection = node.collection()
    collection.collect(node.now)
    app = node.container(pod, "app", figures=Figures(usage_us=0, populated=False))
    collection.attend(node.now)
    node.change(app, usage_us=1_000_000, populated=True)
    node.remove(app)
    node.wait(5)
    assert cpu_time(collection.collect(node.now)) == []
    assert node.health.snapshot()[Counter.ENDINGS_UNREAD] == 1


def test_a_process_that_ends_goes_on_a_little(tmp_path: Path) -> None:
    """What was read when the cgroup became empty is less than what a collection told since: no series goes back."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=LIMITED)
    collection = node.collection()
    collection.collect(node.now)
    node.wait(5)
    node.change(app, usage_us=2_000_000, populated=False)
    collection.attend(node.now)
    node.set(app, replace(node.figures[app], usage_us=2_100_000))
    node.wait(5)
    ((told_ns, told),) = cpu_time(collection.collect(node.now))
    assert told == 2.1
    node.remove(app)
    removed_ns = node.now.unix_ns
    node.wait(5)
    assert cpu_time(collection.collect(node.now)) == [(max(removed_ns, told_ns + MS_NS), None)]
    assert node.health.snapshot()[Counter.ENDINGS_UNREAD] == 0


def test_a_container_that_lived_between_two_collections(tmp_path: Path) -> None:
    """What a short-lived container used is told, and its end, though no collection met it."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    collection = node.collection()
    collection.collect(node.now)
    node.wait(2)
    made_ns = node.now.unix_ns
    init = node.container(pod, "init", figures=LIMITED)
    collection.attend(node.now)
    node.wait(0.1)
    node.change(init, usage_us=90_000, populated=False)
    collection.attend(node.now)
    node.remove(init)
    node.wait(10)
    told = collection.collect(node.now)
    assert [value for _, value in cpu_time(told, f"{UID}/init")] == [0.09, None]
    starts = {
        point.start_unix_ns for (of, metric, _), all_ in points(told).items() for point in all_ if metric == CPU and of
    }
    assert starts == {made_ns}
    assert values(told, UID)["otel_kernel.pod.cpu.periods"] == 10


def test_a_moment_without_processes_is_no_end(tmp_path: Path) -> None:
    """Between two stages of the runtime a cgroup is empty; what was read then is not the container's last values."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=Figures(usage_us=1000, populated=False))
    collection = node.collection()
    collection.attend(node.now)
    node.change(app, populated=False)
    collection.attend(node.now)
    node.change(app, usage_us=2000, populated=True)
    collection.attend(node.now)
    assert [value for _, value in cpu_time(collection.collect(node.now))] == [0.002]
    node.wait(15)
    node.remove(app)
    node.wait(1)
    assert [value for _, value in cpu_time(collection.collect(node.now))] == [None]


def test_pod_totals_keep_what_ended(tmp_path: Path) -> None:
    """A pod's throttling keeps that of its ended containers, and goes on when the next one counts from zero."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    app = node.container(pod, "app", figures=LIMITED)
    collection = node.collection()
    total = "otel_kernel.pod.cpu.throttled.periods"
    assert values(collection.collect(node.now), UID)[total] == 5
    node.wait(5)
    node.change(app, throttled=8, populated=False)
    collection.attend(node.now)
    node.remove(app)
    node.wait(10)
    assert values(collection.collect(node.now), UID)[total] == 8
    app = node.container(pod, "app", figures=Figures(quota_us=1000, periods=3, throttled=1))
    node.wait(15)
    assert values(collection.collect(node.now), UID)[total] == 9


def test_a_pods_own_limit_counts_where_containers_have_none(tmp_path: Path) -> None:
    """Throttling by the pod's own limit is told when no container has one; else it would count the same twice."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    node.set(pod, Figures(quota_us=10_000, periods=100, throttled=90))
    total = "otel_kernel.pod.cpu.throttled.periods"
    collection = node.collection()
    app = node.container(pod, "app")
    assert values(collection.collect(node.now), UID)[total] == 90
    node.wait(61)
    node.change(app, quota_us=5000, periods=10, throttled=4)
    node.change(pod, throttled=95)
    assert values(collection.collect(node.now), UID)[total] == 94


def test_a_pods_end(tmp_path: Path) -> None:
    """All series of a pod and its containers end, once."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    node.container(pod, "app", figures=LIMITED)
    collection = node.collection()
    living = {key for key in points(collection.collect(node.now)) if key[0] != "node-1"}
    node.wait(5)
    for path in [path for path in node.figures if path.startswith(f"{pod}/")]:
        node.remove(path)
    node.remove(pod)
    node.wait(10)
    told = {key: series for key, series in points(collection.collect(node.now)).items() if key[0] != "node-1"}
    assert told.keys() == living
    assert all([point.value for point in series if isinstance(point, Number)] == [None] for series in told.values())
    node.wait(15)
    assert {key[0] for key in points(collection.collect(node.now))} == {"node-1"}


def test_containers_that_leave_their_pod_empty(tmp_path: Path) -> None:
    """A pod that holds no container any more ends; when it gets one again, its series go on with their start."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    collection = node.collection()
    started = points(collection.collect(node.now))[UID, "k8s.pod.cpu.time", ()][0]
    for path in [path for path in node.figures if path.startswith(f"{pod}/")]:
        node.remove(path)
    node.wait(15)
    (ended,) = points(collection.collect(node.now))[UID, "k8s.pod.cpu.time", ()]
    assert isinstance(ended, Number)
    assert ended.value is None
    node.wait(15)
    node.container(pod, "app")
    (again,) = points(collection.collect(node.now))[UID, "k8s.pod.cpu.time", ()]
    assert (again.start_unix_ns, again.time_unix_ns) == (started.start_unix_ns, node.now.unix_ns)


def test_two_containers_of_one_name(tmp_path: Path) -> None:
    """When a successor comes before its predecessor's cgroup is gone, the predecessor ends there and then."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    first = node.container(pod, "app", figures=Figures(usage_us=5_000_000))
    collection = node.collection()
    collection.collect(node.now)
    node.wait(15)
    node.container(pod, "app", figures=Figures(usage_us=1000))
    end, begin = cpu_time(collection.collect(node.now))
    assert (end[1], begin[1]) == (None, 0.001)
    assert end[0] < begin[0] == node.now.unix_ns
    node.wait(5)
    node.remove(first)
    node.wait(10)
    assert [value for _, value in cpu_time(collection.collect(node.now))] == [0.001]


def test_two_containers_of_one_name_that_were_there_before(tmp_path: Path) -> None:
    """Of two that an agent finds, the one whose cgroup was made later is told of."""
    node, other = FakeNode(tmp_path), FakeNode(tmp_path)
    pod = other.pod(UID)
    paths = [other.container(pod, "app", figures=Figures(usage_us=us)) for us in (5_000_000, 1000)]
    node.directory.reconcile([(7, pod), (9, paths[1]), (8, paths[0])], node.boot_ns)
    for container in other.directory.pods()[0].containers:
        node.name(container)
    assert [value for _, value in cpu_time(node.collection().collect(node.now))] == [0.001]


def test_a_static_pod_that_comes_back(tmp_path: Path) -> None:
    """A pod made anew under its UID starts anew, after the end of the one before."""
    node = FakeNode(tmp_path)
    uid = "0123456789abcdef0123456789abcdef"
    pod = node.pod(uid)
    node.change(pod, usage_us=9_000_000)
    collection = node.collection()
    collection.collect(node.now)
    node.wait(5)
    for path in [path for path in node.figures if path.startswith(f"{pod}/")]:
        node.remove(path)
    node.remove(pod)
    node.wait(5)
    made_ns = node.now.unix_ns
    node.pod(uid)
    node.wait(5)
    end, begin = points(collection.collect(node.now))[uid, "k8s.pod.cpu.time", ()]
    assert isinstance(end, Number)
    assert isinstance(begin, Number)
    assert (end.value, begin.value, begin.start_unix_ns) == (None, 0.0, made_ns)
    assert end.time_unix_ns < begin.start_unix_ns


def test_a_counter_that_goes_back(tmp_path: Path) -> None:
    """When another cgroup stands where one was and nobody said so, its counters start anew after the last look."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=Figures(usage_us=5_000_000))
    collection = node.collection()
    collection.collect(node.now)
    last_ns = node.now.unix_ns
    node.wait(15)
    node.change(app, usage_us=3000)
    (point,) = points(collection.collect(node.now))[f"{UID}/app", CPU, ()]
    assert isinstance(point, Number)
    assert (point.value, point.start_unix_ns) == (0.003, last_ns)


def test_a_removal_that_was_not_told(tmp_path: Path) -> None:
    """Nothing is told of a cgroup that is gone; its series end when someone looks and the directory knows."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    app = node.container(pod, "app", figures=LIMITED)
    collection = node.collection()
    collection.collect(node.now)
    node.wait(15)
    node.remove(app, told=False)
    collection._files.close()  # unlike a cgroup's, a plain file that is open can be read after its removal
    assert cpu_time(collection.collect(node.now)) == []
    node.wait(15)
    node.directory.reconcile([(101, pod)], node.boot_ns)
    assert {value for _, value in cpu_time(collection.collect(node.now))} == {None}
    node.wait(15)
    assert f"{UID}/app" not in {key[0] for key in points(collection.collect(node.now))}


def test_an_agent_that_is_started_again(tmp_path: Path) -> None:
    """Another agent's series of the same pod start when that agent first looks, and their values go on."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=LIMITED)
    node.collection().collect(node.now)
    node.wait(30)
    node.change(app, usage_us=3_000_000)
    there = [(1, path) for path in node.figures]
    again = FakeNode(tmp_path, boot_ns=node.boot_ns)
    again.figures = node.figures
    again.directory.reconcile(there, node.boot_ns)
    for pod in node.directory.pods():
        for container in pod.containers:
            again.name(container)
    (point,) = points(again.collection().collect(again.now))[f"{UID}/app", CPU, ()]
    assert isinstance(point, Number)
    assert (point.value, point.start_unix_ns) == (3.0, again.now.unix_ns)


@pytest.mark.parametrize("back_s", [0.2, 3600])
def test_a_clock_that_is_set_back(tmp_path: Path, back_s: float) -> None:
    """Points never go back by a little; when the clock is set back by much, all series begin anew."""
    node = FakeNode(tmp_path)
    node.container(node.pod(UID), "app", figures=LIMITED)
    collection = node.collection()
    node.wait(100)
    collection.collect(node.now)
    before_ns = node.now.unix_ns
    node.wait(0.1)
    node.unix_offset_ns -= round(back_s * SECOND_NS)
    (point,) = points(collection.collect(node.now))[f"{UID}/app", CPU, ()]
    assert point.start_unix_ns <= point.time_unix_ns
    if back_s < 1:
        assert point.time_unix_ns > before_ns
    else:
        assert point.time_unix_ns == node.now.unix_ns
