"""What one collection tells of a node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.metrics.catalogue import BY_NAME
from otel_kernel.metrics.points import Number
from otel_kernel.pods.directory import Container, Pod
from tests.metrics.fake_node import SECOND_NS, FakeNode, Figures, Kind, Point, SeriesKey, container_id, points, values

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
STATIC_UID = "0123456789abcdef0123456789abcdef"
BUSY = Figures(
    usage_us=5_000_000,
    periods=50,
    throttled=48,
    throttled_us=4_500_000,
    quota_us=10_000,
    memory=100_000,
    inactive_file=30_000,
    memory_limit=1 << 20,
    oom_kills=2,
    some_us=1_500_000,
    full_us=500_000,
    pids=(11, 12, 13),
)
EXPECTED_OF_CONTAINER = {
    "container.cpu.time": 5.0,
    "otel_kernel.container.cpu.periods": 50,
    "otel_kernel.container.cpu.throttled.periods": 48,
    "otel_kernel.container.cpu.throttled.time": 4.5,
    "k8s.container.cpu.limit.current": 0.1,
    "container.memory.usage": 100_000,
    "container.memory.working_set": 70_000,
    "k8s.container.memory.limit.current": 1 << 20,
    "otel_kernel.container.oom_kills": 2,
    "otel_kernel.container.processes": 3,
}
PRESSURE = {
    f"otel_kernel.container.pressure.time {resource} {kind}": total
    for resource in ("cpu", "memory", "io")
    for kind, total in (("some", 1.5), ("full", 0.5))
}


@pytest.mark.parametrize("kind", ["v2", "hybrid", "v1"])
def test_a_container_is_the_same_on_every_kind_of_host(tmp_path: Path, kind: Kind) -> None:
    """Whichever hierarchy tells it, the figures are the same; pressure is version 2's alone."""
    node = FakeNode(tmp_path, kind)
    node.container(node.pod(UID), "app", figures=BUSY)
    told = node.collection().collect(node.now)
    assert values(told, f"{UID}/app") == EXPECTED_OF_CONTAINER | ({} if kind == "v1" else PRESSURE)


@pytest.mark.parametrize("kind", ["v2", "hybrid", "v1"])
def test_a_pods_figures_are_its_own_cgroups(tmp_path: Path, kind: Kind) -> None:
    """Use, memory, limits and pressure are the pod's cgroup's; throttling is the sum over its containers."""
    node = FakeNode(tmp_path, kind)
    pod = node.pod(UID)
    node.set(pod, Figures(usage_us=9_000_000, quota_us=50_000, memory=500_000, memory_limit=2 << 20, some_us=7))
    for name in ("app", "sidecar"):
        node.container(pod, name, figures=BUSY)
    told = values(node.collection().collect(node.now), UID)
    assert {name: value for name, value in told.items() if "pressure" not in name} == {
        "k8s.pod.cpu.time": 9.0,
        "otel_kernel.pod.cpu.periods": 100,
        "otel_kernel.pod.cpu.throttled.periods": 96,
        "otel_kernel.pod.cpu.throttled.time": 9.0,
        "otel_kernel.pod.cpu.limit": 0.5,
        "k8s.pod.memory.usage": 500_000,
        "k8s.pod.memory.working_set": 500_000,
        "otel_kernel.pod.memory.limit": 2 << 20,
    }
    assert sum("pressure" in name for name in told) == (0 if kind == "v1" else 6)


def test_absent_is_not_zero(tmp_path: Path) -> None:
    """Without quota, limit and PSI there are no such points; the sandbox has no row of its own."""
    node = FakeNode(tmp_path, has_psi=False)
    pod = node.pod(UID)
    node.container(pod, "app", figures=Figures(pids=(5,)))
    told = node.collection().collect(node.now)
    assert set(values(told, f"{UID}/app")) == {
        "container.cpu.time",
        "container.memory.usage",
        "container.memory.working_set",
        "otel_kernel.container.oom_kills",
        "otel_kernel.container.processes",
    }
    assert set(values(told, UID)) == {"k8s.pod.cpu.time", "k8s.pod.memory.usage", "k8s.pod.memory.working_set"}
    assert {each.resource["service.instance.id"] for each in told} == {UID, f"{UID}/app", "node-1"}


def test_each_metric_is_in_the_catalogue_and_on_its_level(tmp_path: Path) -> None:
    """Every point belongs to a row of the catalogue, on a resource of the row's level, under the row's scope."""
    node = FakeNode(tmp_path)
    node.container(node.pod(UID), "app", figures=BUSY)
    for resource in node.collection().collect(node.now):
        for scope, measured in resource.scopes.items():
            for each in measured:
                row = BY_NAME[each.metric]
                assert (row.level, row.scope) == (resource.level, scope)
                keys = {tuple(point.attributes) for point in each.points}
                assert keys == {row.attributes}, each.metric


def test_groups_can_be_switched_off(tmp_path: Path) -> None:
    """Only metrics of the groups chosen are told, and nothing else is read."""
    node = FakeNode(tmp_path)
    node.container(node.pod(UID), "app", figures=BUSY)
    collection = node.collection(groups=frozenset({"memory"}))
    told = points(collection.collect(node.now))
    assert {BY_NAME[metric].group for _, metric, _ in told} == {"memory"}
    assert all("memory." in reader or "cgroup.events" in reader for reader in collection._judge.records)


def test_resources_are_those_of_births(tmp_path: Path) -> None:
    """A pod's and a container's resource have the names of its birth, and an instance id of their own."""
    node = FakeNode(tmp_path)
    node.container(node.pod(UID), "app")
    pod, app, agent = node.collection().collect(node.now)
    assert pod.resource == {
        "k8s.pod.uid": UID,
        "k8s.pod.name": "web",
        "k8s.namespace.name": "shop",
        "k8s.node.name": "node-1",
        "service.instance.id": UID,
    }
    assert app.resource.items() >= {"k8s.container.name": "app", "service.instance.id": f"{UID}/app"}.items()
    assert agent.resource == {"k8s.node.name": "node-1", "service.instance.id": "node-1"}
    assert [each.level for each in (pod, app, agent)] == ["pod", "container", "node"]


def test_a_pod_without_containers_has_no_points(tmp_path: Path) -> None:
    """A pod's cgroup that holds no container's is not told of, until it does."""
    node = FakeNode(tmp_path)
    path = f"/kubepods/pod{STATIC_UID}"
    node.make(path)
    collection = node.collection()
    node.wait(60)
    assert values(collection.collect(node.now), STATIC_UID) == {}
    node.container(path, "app")
    assert values(collection.collect(node.now), STATIC_UID) != {}


def test_points_begin_when_the_name_is_known(tmp_path: Path) -> None:
    """A pod without a name is awaited for 30 s, and told of without one from then on; a name begins it anew."""
    node = FakeNode(tmp_path)
    pod, of = f"/kubepods/pod{UID}", container_id("app")
    node.make(pod)
    node.make(f"{pod}/{of}")
    collection = node.collection()
    node.wait(29)
    assert [each.level for each in collection.collect(node.now)] == ["node"]
    node.wait(1)
    unnamed, container, _ = collection.collect(node.now)
    assert unnamed.resource == {"k8s.pod.uid": UID, "k8s.node.name": "node-1", "service.instance.id": UID}
    assert container.resource["service.instance.id"] == f"{UID}/{of}"
    node.wait(15)
    node.directory.feed(ContainerFacts(1, "oci-bundle", of, pod_name="web", namespace="shop", container_name="app"))
    told = collection.collect(node.now)
    assert [each.resource.get("k8s.pod.name") for each in told] == [None, "web", None, "web", None]
    ended = [point for (_, metric, _), (point, *_) in points(told[:1]).items() if metric == "k8s.pod.cpu.time"]
    assert [point.value for point in ended if isinstance(point, Number)] == [None]


def test_a_name_known_at_once_is_told_at_once(tmp_path: Path) -> None:
    """A pod whose bundle was read has points in the first collection after it was made."""
    node = FakeNode(tmp_path)
    node.container(node.pod(UID), "app")
    assert values(node.collection().collect(node.now), f"{UID}/app")["container.cpu.time"] == 0.0


def test_starts_are_when_the_cgroup_was_made(tmp_path: Path) -> None:
    """A counter starts with its cgroup when that was seen, else when it was first looked at; and keeps its start."""
    node = FakeNode(tmp_path)
    pod = node.pod(UID)
    node.wait(3)
    node.container(pod, "app")
    made_ns = node.now.unix_ns
    node.make("/kubepods/podffffffff-1111-4111-8111-111111111111", told=False)
    old = f"/kubepods/podffffffff-1111-4111-8111-111111111111/{container_id('old')}"
    node.make(old, told=False)
    node.directory.feed(ContainerFacts(1, "oci-bundle", container_id("old"), pod_name="old", container_name="old"))
    node.directory.reconcile([(1, old), *((each.cgroup.id or 0, each.cgroup.path) for each in _cgroups(node))], 5)
    node.wait(4)
    collection = node.collection()
    first_ns = node.now.unix_ns
    for _ in range(3):
        told = points(collection.collect(node.now))
        assert _starts(told, f"{UID}/app") == {made_ns}
        assert _starts(told, UID) == {made_ns - 3 * SECOND_NS}
        assert _starts(told, "ffffffff-1111-4111-8111-111111111111/old") == {first_ns}
        node.wait(15)


def _cgroups(node: FakeNode) -> Iterator[Pod | Container]:
    for pod in node.directory.pods():
        yield pod
        yield from pod.containers


def _starts(told: dict[SeriesKey, list[Point]], instance: str) -> set[int]:
    return {point.start_unix_ns for (of, _, _), series in told.items() for point in series if of == instance}


def test_what_cannot_be_read_is_counted_and_the_rest_told(tmp_path: Path) -> None:
    """A file that says nothing sensible costs its own points, is counted, and ends no series."""
    node = FakeNode(tmp_path)
    app = node.container(node.pod(UID), "app", figures=BUSY)
    collection = node.collection()
    collection.collect(node.now)
    (tmp_path / "cgroup" / app.lstrip("/") / "memory.current").write_text("half a nu")
    (tmp_path / "cgroup" / app.lstrip("/") / "cpu.pressure").write_text("some avg10=0.00")
    node.wait(15)
    told = collection.collect(node.now)
    missing = EXPECTED_OF_CONTAINER.keys() - values(told, f"{UID}/app").keys()
    assert missing == {"container.memory.usage", "container.memory.working_set"}
    failures = values(told, "node-1")
    assert failures["otel_kernel.agent.reader.failures memory.current"] == 1
    assert failures["otel_kernel.agent.reader.failures cpu.pressure"] == 1
    assert failures["otel_kernel.agent.reader.failures cpu.stat"] == 0


def test_a_thousand_containers_in_a_pod(tmp_path: Path) -> None:
    """A pod of a thousand containers is told of like any other."""
    node = FakeNode(tmp_path, only=frozenset({"cpu.stat", "cpu.max"}))
    pod = node.pod(UID)
    for number in range(1000):
        node.container(pod, f"app-{number}", figures=Figures(quota_us=1000, periods=2, throttled=1))
    told = node.collection().collect(node.now)
    assert len(told) == 1002
    assert values(told, UID)["otel_kernel.pod.cpu.throttled.periods"] == 1000


def test_a_thousand_pods(tmp_path: Path) -> None:
    """A thousand pods are told of in one collection, and all that was kept of them is let go when they are gone."""
    node = FakeNode(tmp_path, only=frozenset({"cpu.stat", "cpu.max"}))
    paths = []
    for number in range(1000):
        pod = node.pod(f"{number:08x}-1111-4111-8111-111111111111", f"pod-{number}")
        paths.append((pod, node.container(pod, "app", f"pod-{number}")))
    collection = node.collection()
    told = collection.collect(node.now)
    assert len(told) == 2001
    assert len({each.resource["service.instance.id"] for each in told}) == 2001
    for pod, _ in paths:
        for path in [path for path in node.figures if path.startswith(f"{pod}/")]:
            node.remove(path)
        node.remove(pod)
    node.wait(15)
    assert len(collection.collect(node.now)) == 2001  # each one's end
    node.wait(15)
    assert len(collection.collect(node.now)) == 1
    assert (len(collection._files), collection._pods._pods, collection._pods._containers) == (0, {}, {})
    collection.close()
