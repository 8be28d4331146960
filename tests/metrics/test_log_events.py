"""Log events of a collection."""

from pathlib import Path

from otel_kernel.births.trace import Span, Trace
from otel_kernel.metrics.catalogue import EVENTS
from otel_kernel.node.watch import CgroupSeen
from tests.metrics.fake_node import FakeNode, Figures

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"


def test_throttling_is_told_in_the_births_trace(tmp_path: Path) -> None:
    """An event has its container's resource, its birth's trace, the catalogue's attributes, and words for people."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=Figures(quota_us=10_000))
    collection = node.collection()
    root = Span(b"s" * 8, None, "pod birth", 1, 2, "otel-kernel", {"otel_kernel.level": "birth"})
    collection.born(Trace(b"t" * 16, "otel_kernel.ebpf", (root,), {"k8s.pod.uid": UID}))
    collection.collect(node.now)
    node.wait(15)
    node.change(app, usage_us=1_500_000, periods=150, throttled=120, throttled_us=9_000_000)
    collection.collect(node.now)
    (event,) = collection.take_events()
    assert (event.name, event.severity, event.scope) == ("otel_kernel.cpu.throttled", "warn", "otel_kernel.cgroupfs")
    assert (event.time_unix_ns, event.trace_id, event.span_id) == (node.now.unix_ns, b"t" * 16, b"s" * 8)
    assert event.resource["service.instance.id"] == f"{UID}/app"
    assert event.attributes["otel_kernel.throttling.percentage"] == 80.0
    assert event.attributes["otel_kernel.throttling.throttled_ns"] == 9_000_000_000
    assert event.attributes["otel_kernel.throttling.usage"] == 0.1
    *told, intervals, last, _ = next(each.attributes for each in EVENTS if each.name == event.name)
    assert list(event.attributes) == told
    assert {intervals, last} == {
        f"otel_kernel.throttling.{what}" for what in ("intervals", "last_intervals")
    }  # by eBPF
    assert event.body == "container app of pod web is throttled: 80 % of its CPU periods"
    assert collection.take_events() == []


def test_an_event_waits_for_the_trace_of_its_pods_birth(tmp_path: Path) -> None:
    """A container that is throttled while its pod is born is told of when the birth is over, or after half a minute."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=Figures(quota_us=10_000))
    collection = node.collection()
    collection.collect(node.now)
    node.wait(2)
    node.change(app, periods=20, throttled=20)
    collection.collect(node.now)
    crossed_ns = node.now.unix_ns
    assert collection.take_events(node.now) == []
    node.wait(3)
    root = Span(b"s" * 8, None, "pod birth", 1, 2, "otel-kernel", {"otel_kernel.level": "birth"})
    collection.born(Trace(b"t" * 16, "otel_kernel.ebpf", (root,), {"k8s.pod.uid": UID}))
    (event,) = collection.take_events(node.now)
    assert (event.trace_id, event.span_id, event.time_unix_ns) == (b"t" * 16, b"s" * 8, crossed_ns)

    late = node.container(node.pod(UID.replace("7", "8")), "app", figures=Figures(quota_us=10_000))
    collection.collect(node.now)
    node.wait(2)
    node.change(late, periods=20, throttled=20)
    collection.collect(node.now)
    node.wait(29)
    assert collection.take_events(node.now) == []
    node.wait(1)
    assert [event.trace_id for event in collection.take_events(node.now)] == [None]


def test_an_event_of_a_pod_that_was_there_before_does_not_wait(tmp_path: Path) -> None:
    """Nobody saw its birth, so no trace of it will come."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    app = node.container(pod, "app", figures=Figures(quota_us=10_000))
    second = FakeNode(tmp_path, figures=node.figures, boot_ns=node.boot_ns)
    for path in (pod, *(path for path in node.figures if path != pod)):
        second.directory.feed(CgroupSeen(node.boot_ns, "existing", 1 + len(path), path))
    for container in node.directory.pods()[0].containers:
        second.name(container)
    collection = second.collection()
    collection.collect(second.now)
    second.wait(2)
    second.change(app, periods=20, throttled=20)
    collection.collect(second.now)
    (event,) = collection.take_events(second.now)
    assert event.trace_id is None


def test_the_end_of_a_throttled_container_is_its_leaving(tmp_path: Path) -> None:
    """A container that is removed while it is throttled is told as left, no worse than information."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=Figures(quota_us=10_000))
    collection = node.collection()
    collection.collect(node.now)
    node.wait(15)
    node.change(app, periods=150, throttled=120)
    collection.collect(node.now)
    node.wait(1)
    node.remove(app)
    node.wait(14)
    collection.collect(node.now)
    crossed, left = collection.take_events()
    assert [each.attributes["otel_kernel.throttling.state"] for each in (crossed, left)] == ["crossed", "left"]
    assert left.severity == "info"
    assert crossed.trace_id is None


def test_kills_are_told_with_their_number(tmp_path: Path) -> None:
    """Kills since the last look are one event; those before the agent began are none."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=Figures(memory_limit=1 << 20))
    collection = node.collection()
    collection.collect(node.now)
    node.change(app, oom_kills=1)
    node.wait(15)
    collection.collect(node.now)
    node.change(app, oom_kills=4)
    node.wait(15)
    collection.collect(node.now)
    one, three = collection.take_events()
    assert (one.name, one.attributes) == (
        "otel_kernel.oom_kill",
        {"otel_kernel.oom_kill.count": 1, "otel_kernel.memory.limit": 1 << 20},
    )
    assert one.body == "container app of pod web: a process was killed because memory ran out"
    assert three.attributes["otel_kernel.oom_kill.count"] == 3


def test_a_container_that_is_killed_as_a_whole(tmp_path: Path) -> None:
    """A kill that ends a container is told from what was read as it ended."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app")
    collection = node.collection()
    collection.collect(node.now)
    node.wait(3)
    node.change(app, oom_kills=1, populated=False)
    collection.attend(node.now)
    node.remove(app)
    node.wait(12)
    collection.collect(node.now)
    (event,) = collection.take_events()
    assert (event.name, event.time_unix_ns) == ("otel_kernel.oom_kill", node.now.unix_ns - 12_000_000_000)


def test_kills_of_before_are_not_news(tmp_path: Path) -> None:
    """Of a container that was there before the agent, only further kills are told."""
    node = FakeNode(tmp_path)
    other = FakeNode(tmp_path)
    app = other.container(other.pod(UID), "app", figures=Figures(oom_kills=7))
    node.figures = other.figures
    node.directory.reconcile([(number, path) for number, path in enumerate(other.figures, 1)], 1)
    for pod in other.directory.pods():
        for container in pod.containers:
            node.name(container)
    collection = node.collection()
    collection.collect(node.now)
    assert collection.take_events() == []
    node.change(app, oom_kills=8)
    node.wait(15)
    collection.collect(node.now)
    assert [each.attributes["otel_kernel.oom_kill.count"] for each in collection.take_events()] == [1]
