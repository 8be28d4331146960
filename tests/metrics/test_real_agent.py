"""A real agent beside a real containerd: what it exports of pods, against what their own files say."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.agent import Agent
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from otel_kernel.metrics.catalogue import METRICS
from otel_kernel.node import controllers
from tests.metrics.exported import Exported, Key, Point, broken

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

INTERVAL_MS = 1200  # with ten periods of CPU limits or more
SPINNING_S, THROTTLED_OFTEN = 5, 20  # on a busy machine it takes longer until a quota is used up so often
SPIN = ("/bin/sh", "-c", "while [ ! -e /tmp/enough ]; do :; done; exec sleep 3600")
# Each `tail` grows until it is killed; the shell, which is smaller, goes on.
GROW = ("/bin/sh", "-c", "tail /dev/zero; tail /dev/zero; exec sleep 3600")
GROW_AND_DIE = ("/bin/tail", "/dev/zero")
MEMORY_BYTES = 24 << 20
QUIET_MEMORY_BYTES = 64 << 20
CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc")
AT = controllers.find(CGROUPS)
RESOURCES = ("cpu", "memory", "io")
THROTTLING = ("periods", "throttled.periods", "throttled.time")
Figures = Mapping[str, float]


def file(root: str | None, born: BornPod, container: str | None, name: str) -> str:
    """Return a file of a container's cgroup, or of the pod's, read by its own means."""
    below = "" if container is None else f"/{born.container_ids[container]}"
    return Path(f"{root}{born.pod.cgroup}{below}/{name}").read_text()


def table(text: str) -> dict[str, int]:
    """Return the lines `name value` of a file."""
    return {name: int(value) for name, value in map(str.split, text.splitlines())}


def figures(born: BornPod, container: str | None) -> Figures:
    """Return what the files of a cgroup say, by the metric that should say it."""
    stat = table(file(AT.cpu_v1 or AT.v2, born, container, "cpu.stat"))
    if AT.cpuacct_v1:
        used_s = int(file(AT.cpuacct_v1, born, container, "cpuacct.usage")) / 1e9
    else:
        used_s = stat["usage_usec"] / 1e6
    throttled_s = stat["throttled_usec"] / 1e6 if "throttled_usec" in stat else stat["throttled_time"] / 1e9
    told = {
        "cpu.time": used_s,
        "cpu.periods": stat["nr_periods"],
        "cpu.throttled.periods": stat["nr_throttled"],
        "cpu.throttled.time": throttled_s,
        "memory.usage": float(
            file(
                AT.memory_v1 or AT.v2,
                born,
                container,
                "memory.usage_in_bytes" if AT.memory_v1 else "memory.current",
            )
        ),
    }
    for resource in RESOURCES:
        for line in file(AT.v2, born, container, f"{resource}.pressure").splitlines():
            told[f"pressure {resource} {line.split()[0]}"] = int(line.rpartition("total=")[2]) / 1e6
    return told


def oom_kills(born: BornPod, container: str) -> int:
    """Return how many processes the kernel killed."""
    name = "memory.oom_control" if AT.memory_v1 else "memory.events"
    return table(file(AT.memory_v1 or AT.v2, born, container, name))["oom_kill"]


@dataclass(frozen=True)
class Around:
    """What /proc says of a container's first process."""

    mounts: int
    namespaces: Mapping[str, int]
    received_bytes: int
    sent_bytes: int

    @classmethod
    def of(cls, process: Path) -> "Around":
        """Read it."""
        mounts = len((process / "mountinfo").read_text().splitlines())
        links = [link for link in (process / "ns").iterdir() if "for_children" not in link.name]
        device = (process / "net/dev").read_text().rpartition("eth0:")[2].split()
        received, sent = (int(device[at]) for at in (0, 8)) if device else (0, 0)
        return cls(mounts, {link.name: link.stat().st_ino for link in links}, received, sent)


def around(born: BornPod, container: str) -> Around:
    """Look around in a container."""
    return Around.of(PROC / file(AT.pods, born, container, "cgroup.procs").split()[0])


@dataclass
class Scene:
    """What happened while agents looked on, and what they said of it."""

    exported: Exported  # to the end
    node: str  # the agent's own service.instance.id
    older: BornPod
    spun: BornPod  # `app` and `sidecar` spun for a while, `quiet` did nothing
    grown: BornPod  # two processes of `survivor` were killed for want of memory, and `victim`
    observed: Exported  # until all had come to rest
    before: dict[str | None, Figures] = field(default_factory=dict)  # of `spun`, before that and after
    after: dict[str | None, Figures] = field(default_factory=dict)
    around: dict[str, tuple[Around, Around]] = field(default_factory=dict)
    kills: int = 0
    births: set[str] = field(default_factory=set)  # trace ids of those that the first agent told of, and that were over
    restarted_ns: int = 0
    removed_ns: int = 0
    second_agent_ns: int = 0


def agent(directory: Path, **settings: str) -> Agent:
    """Return an agent that writes everything to one file, often."""
    environment = {f"OTEL_KERNEL_{name}": value for name, value in settings.items()} | {
        "OTEL_KERNEL_OUTPUT": f"file:{directory / 'exported.jsonl'}",
        "OTEL_KERNEL_KUBERNETES": "off",
        "OTEL_KERNEL_BIRTH_QUIET": "1",
        "OTEL_METRIC_EXPORT_INTERVAL": str(INTERVAL_MS),
    }
    return Agent(environment, directory / f"agent-{time.time_ns()}.log")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a private containerd."""
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="module")
def scene(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Let pods live and go beside an agent, and then beside another."""
    directory = tmp_path_factory.mktemp("scene")
    app = Container("app", SPIN, cpu_quota_us=10_000)
    sidecar = Container("sidecar", SPIN, cpu_quota_us=20_000)
    survivor = Container("survivor", GROW, memory_bytes=MEMORY_BYTES)
    victim = Container("victim", GROW_AND_DIE, memory_bytes=MEMORY_BYTES)
    exported = Exported(directory / "exported.jsonl")
    older = lab.bear(Pod("older"))
    with agent(directory, EBPF="require") as first:
        spun = lab.bear(Pod("spun", (app, sidecar, Container("quiet", memory_bytes=QUIET_MEMORY_BYTES))))
        grown = lab.bear(Pod("grown", (survivor, victim)))
        lab.wait_for_exit(grown, victim.name)
        talk(lab, spun)
        spin(lab, spun, "app", "sidecar")
        rest(spun, "app", "sidecar")
        rest(grown, "survivor")
        scene = observe(exported, older, spun, grown)
        scene.restarted_ns = time.time_ns()
        lab.restart(spun, app)
        exported.wait_for_collection()
        scene.removed_ns = time.time_ns()
        lab.remove(grown)
        exported.wait_for_collection()
        assert first.stop() == 0
    scene.births = set(exported.read().births)
    scene.second_agent_ns = time.time_ns()
    with agent(directory, EBPF="require") as second:
        exported.wait_for_collection()
        assert second.stop() == 0
    exported.read()
    yield scene
    for born in (older, spun):
        lab.remove(born)
    said = [*first.messages(), *second.messages()]
    assert [line for line in said if "Traceback" in line or "cannot be read" in line] == []


def talk(lab: Lab, born: BornPod) -> None:
    """Send something out of a pod and receive an answer: that a connection is refused is one."""
    gateway = lab.subnet.replace(".0/24", ".1")
    for _ in range(5):
        lab.cri.execute(born.container_ids["quiet"], "/bin/nc", "-w", "1", gateway, "9")


def spin(lab: Lab, born: BornPod, *containers: str) -> None:
    """Let these containers spin for a while, and until their quota has stopped them often enough."""
    time.sleep(SPINNING_S)
    deadline = time.monotonic() + 60
    for container in containers:
        while figures(born, container)["cpu.throttled.periods"] < THROTTLED_OFTEN:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    for container in containers:
        lab.cri.execute(born.container_ids[container], "/bin/sh", "-c", ": > /tmp/enough")


def rest(born: BornPod, *containers: str) -> None:
    """Wait until nothing runs in these containers but one process that sleeps, for longer than a period lasts."""
    deadline = time.monotonic() + 60
    for container in containers:
        while _programs(born, container) != ["sleep"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    time.sleep(0.5)


def _programs(born: BornPod, container: str) -> list[str]:
    pids = file(AT.pods, born, container, "cgroup.procs").split()
    return [path.read_text().strip() for pid in pids if (path := PROC / pid / "comm").exists()]


def observe(exported: Exported, older: BornPod, spun: BornPod, grown: BornPod) -> Scene:
    """Return what the files say before and after a collection, and what that says."""
    parts = (None, "app", "sidecar", "quiet")
    before = {part: figures(spun, part) for part in parts}
    seen = around(spun, "quiet")
    observed = exported.wait_for_collection().so_far()
    after = {part: figures(spun, part) for part in parts}
    kills = oom_kills(grown, "survivor")
    node = observed.points[-1].key.instance
    return Scene(
        exported, node, older, spun, grown, observed, before, after, {"quiet": (seen, around(spun, "quiet"))}, kills
    )


def instance(born: BornPod, container: str | None = None) -> str:
    """Return the service.instance.id of a container or pod."""
    return born.pod.uid if container is None else f"{born.pod.uid}/{container}"


# What the files say


@pytest.mark.parametrize(("container", "cores"), [("app", 0.1), ("sidecar", 0.2)])
def test_throttling_is_what_the_containers_file_shows(scene: Scene, container: str, cores: float) -> None:
    """A container that spun for 5 s with a quota shows its own file's figures, and the limit that made them."""
    ours = scene.observed
    for what in THROTTLING:
        told = ours.last(instance(scene.spun, container), f"otel_kernel.container.cpu.{what}")
        assert told == pytest.approx(scene.before[container][f"cpu.{what}"], abs=1e-9)
        assert scene.before[container][f"cpu.{what}"] == scene.after[container][f"cpu.{what}"]
    assert scene.before[container]["cpu.throttled.periods"] >= THROTTLED_OFTEN
    assert scene.before[container]["cpu.throttled.time"] > 0
    assert ours.last(instance(scene.spun, container), "k8s.container.cpu.limit.current") == cores


def test_a_pods_throttling_is_the_sum_over_its_containers(scene: Scene) -> None:
    """Of both that have a quota."""
    for what in THROTTLING:
        summed = sum(scene.before[container][f"cpu.{what}"] for container in ("app", "sidecar"))
        told = scene.observed.last(instance(scene.spun), f"otel_kernel.pod.cpu.{what}")
        assert told == pytest.approx(summed, abs=1e-9)


@pytest.mark.parametrize("container", [None, "app", "sidecar", "quiet"])
@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("kind", ["some", "full"])
def test_pressure_is_what_the_file_shows(scene: Scene, container: str | None, resource: str, kind: str) -> None:
    """Of the pod and of each container; one that waited for its quota had pressure on the CPU."""
    name = f"otel_kernel.{'container' if container else 'pod'}.pressure.time"
    told = scene.observed.last(instance(scene.spun, container), name, resource=resource, type=kind)
    key = f"pressure {resource} {kind}"
    assert scene.before[container][key] <= told <= scene.after[container][key]
    if resource == "cpu" and kind == "some" and container in {None, "app"}:
        assert told > 0.5


@pytest.mark.parametrize("container", [None, "app", "sidecar", "quiet"])
def test_cpu_time_and_memory_are_what_the_files_show(scene: Scene, container: str | None) -> None:
    """Of the pod and of each container. Memory comes and goes by some pages even where nothing is done."""
    prefix, before, after = "container" if container else "k8s.pod", scene.before[container], scene.after[container]
    told_s = scene.observed.last(instance(scene.spun, container), f"{prefix}.cpu.time")
    assert before["cpu.time"] <= told_s <= after["cpu.time"]
    told_bytes = scene.observed.last(instance(scene.spun, container), f"{prefix}.memory.usage")
    assert min(abs(told_bytes - each["memory.usage"]) for each in (before, after)) < 1 << 20
    assert told_bytes > 0


def test_limits_are_absent_where_there_are_none(scene: Scene) -> None:
    """A limit is told as it was set; without one there is no point, nor of periods that only a limit has."""
    ours = scene.observed
    quiet, app = instance(scene.spun, "quiet"), instance(scene.spun, "app")
    assert ours.last(quiet, "k8s.container.memory.limit.current") == QUIET_MEMORY_BYTES
    assert not {name for name in ours.metrics_of(quiet) if "cpu.periods" in name or "cpu.limit" in name}
    assert "k8s.container.memory.limit.current" not in ours.metrics_of(app)


def test_kills_are_what_the_kernel_counted(scene: Scene) -> None:
    """Two processes of one container were killed, and the only process of another."""
    assert scene.kills == 2
    told = scene.observed.last(instance(scene.grown, "survivor"), "otel_kernel.container.oom_kills")
    assert told == scene.kills
    told_of_victim = scene.exported.series(instance(scene.grown, "victim"), "otel_kernel.container.oom_kills")
    assert 1 in [point.value for point in told_of_victim] or victim_unread(scene)


def victim_unread(scene: Scene) -> bool:
    """Whether a cgroup was gone before its last values were read, as happens on a busy machine, and was counted."""
    return scene.exported.lost("ending") > 0


def test_processes_mounts_and_namespaces_of_a_quiet_container(scene: Scene) -> None:
    """They are those that /proc shows: which namespaces are its own, its pod's or the node's."""
    quiet, (seen, _) = instance(scene.spun, "quiet"), scene.around["quiet"]
    assert scene.observed.last(quiet, "otel_kernel.container.processes") == 1
    assert scene.observed.last(quiet, "otel_kernel.container.mounts") == seen.mounts
    of_node = Around.of(PROC / "self").namespaces
    points = scene.observed.series(quiet, "otel_kernel.container.namespaces")[-3:]
    told = {
        str(point.raw_attributes["otel_kernel.namespace.sharing"]): set(
            point.raw_attributes["otel_kernel.namespace.types"]
        )
        for point in points
    }
    host = {kind for kind, inode in seen.namespaces.items() if of_node[kind] == inode}
    of_pod = {"net", "ipc", "uts"}
    assert told == {"host": host, "pod": of_pod, "own": set(seen.namespaces) - host - of_pod}
    assert {point.value for point in points} == {len(kinds) for kinds in told.values()}


def test_traffic_is_that_of_the_pods_own_device(scene: Scene) -> None:
    """Interface counters are those inside the pod's network; the loopback is none of them."""
    before, after = scene.around["quiet"]
    pod = instance(scene.spun)
    for direction, first, last in (
        ("receive", before.received_bytes, after.received_bytes),
        ("transmit", before.sent_bytes, after.sent_bytes),
    ):
        told = scene.observed.last(pod, "k8s.pod.network.io", name="eth0", direction=direction)
        assert 0 < first <= told <= last
        assert scene.observed.last(pod, "k8s.pod.network.errors", name="eth0", direction=direction) == 0
    assert not scene.observed.series(pod, "k8s.pod.network.io", name="lo")


# Who it is


def test_a_pod_that_was_there_before_is_named(scene: Scene) -> None:
    """No API was asked: the names come from the bundle in its shim's working directory."""
    (resource, *_) = [point.resource for point in scene.exported.series(instance(scene.older), "k8s.pod.cpu.time")]
    assert (resource["k8s.pod.name"], resource["k8s.namespace.name"]) == ("older", "default")
    (resource, *_) = [
        point.resource for point in scene.exported.series(instance(scene.older, "main"), "container.cpu.time")
    ]
    assert resource["container.id"] == scene.older.container_ids["main"]
    assert resource["k8s.container.name"] == "main"


def test_each_level_has_its_own_resource(scene: Scene) -> None:
    """Containers' metrics are on container resources, pods' on pod resources, the agent's on the node's."""
    levels = {metric.name: metric.level for metric in METRICS}
    for point in scene.exported.points:
        is_container, is_pod = "container.id" in point.resource, "k8s.pod.uid" in point.resource
        level = "container" if is_container else "pod" if is_pod else "node"
        assert levels[point.key.metric] == level, point


# What a store of series would say


def test_no_series_goes_back_or_moves_its_start(scene: Scene) -> None:
    """Over a restart, a pod's end and another agent."""
    assert list(broken(scene.exported.points, (scene.second_agent_ns,))) == []


def test_a_container_ends_before_its_successor_begins(scene: Scene) -> None:
    """Its last values, one point without a value, and the successor's first: in this order, each later."""
    points = scene.exported.series(instance(scene.spun, "app"), "container.cpu.time")
    mine = [point for point in points if point.time_ns < scene.second_agent_ns]
    (end,) = [at for at, point in enumerate(mine) if point.value is None]
    last, first = mine[end - 1], mine[end + 1]
    assert last.resource["container.id"] != first.resource["container.id"]
    assert last.value is not None
    assert last.value >= scene.after["app"]["cpu.time"]
    assert last.time_ns > scene.restarted_ns - INTERVAL_MS * 1_000_000
    assert first.start_ns > last.start_ns
    assert first.value is not None
    assert first.value < last.value


def test_a_pods_totals_keep_what_a_container_had(scene: Scene) -> None:
    """After the restart they are no less than before."""
    before = scene.observed.last(instance(scene.spun), "otel_kernel.pod.cpu.throttled.time")
    points = scene.exported.series(instance(scene.spun), "otel_kernel.pod.cpu.throttled.time")
    later = [point for point in points if scene.restarted_ns < point.time_ns < scene.second_agent_ns]
    assert later
    assert all(point.value is not None and point.value >= before for point in later)


def test_a_pods_end_ends_all_of_its_series(scene: Scene) -> None:
    """Each has one point without a value, and none after it."""
    uid = scene.grown.pod.uid
    last: dict[Key, Point] = {point.key: point for point in scene.exported.points if uid in point.key.instance}
    assert len(last) > 20
    assert [key for key, point in last.items() if point.value is not None] == []
    assert all(point.time_ns < scene.second_agent_ns for point in last.values())


def test_starts(scene: Scene) -> None:
    """What is born before our eyes counts from its making; what was there, and all with another agent, from a look."""
    spun = scene.exported.series(instance(scene.spun), "k8s.pod.cpu.time")
    older = scene.exported.series(instance(scene.older), "k8s.pod.cpu.time")
    assert spun[0].start_ns < spun[0].time_ns
    assert older[0].start_ns == older[0].time_ns
    for points in (spun, older):
        starts = [
            {point.start_ns for point in points if point.time_ns < scene.second_agent_ns},
            {point.start_ns for point in points if point.time_ns > scene.second_agent_ns},
        ]
        assert [len(each) for each in starts] == [1, 1]
        assert starts[0] != starts[1]
        assert min(starts[1]) > scene.second_agent_ns


# Births, events, the agent


def test_births_are_counted_from_zero(scene: Scene) -> None:
    """The first collection tells none; in the end each birth is counted, so that a rate is not zero."""
    points = of_first(scene, "otel_kernel.births")
    assert points[0].value == 0
    assert points[-1].value == len(scene.births)
    assert {each.pod.uid.replace("-", "") for each in (scene.spun, scene.grown)} <= scene.births
    assert {point.start_ns for point in points} == {points[0].start_ns}


def test_durations_of_births_point_at_their_traces(scene: Scene) -> None:
    """The histogram begins at zero and has exemplars with the births' trace ids."""
    points = [
        point for point in of_first(scene, "otel_kernel.pod.start.duration") if {*point.key.attributes} >= DEFAULT
    ]
    assert points[0].value == 0
    value = points[-1].value
    assert value is not None
    assert 2 <= value <= len(scene.births)
    assert sum(int(count) for count in points[-1].raw["bucketCounts"]) == value
    found = {exemplar["traceId"] for point in points for exemplar in point.raw.get("exemplars", ())}
    assert found
    assert found <= scene.births


DEFAULT = {("k8s.namespace.name", "default")}


def of_first(scene: Scene, metric: str) -> list[Point]:
    """Return what the first agent told of births that ended as they should; others may bear pods on this machine."""
    points = scene.exported.series(scene.node, metric, completion="quiet")
    return [point for point in points if point.time_ns < scene.second_agent_ns]


def test_events_are_in_the_trace_of_the_birth(scene: Scene) -> None:
    """Throttling on crossing and on leaving, with all figures; kills with their number."""
    trace_ids = {
        each.pod.uid: each.pod.uid.replace("-", "") for each in (scene.spun, scene.grown)
    }  # a birth seen from its start
    second_ns = scene.second_agent_ns  # which has not seen the births
    events = [event for event in scene.exported.events if event.resource["k8s.pod.uid"] in trace_ids]
    assert all((event.trace_id != "") == (event.time_ns < second_ns) for event in events)
    events = [event for event in events if event.time_ns < second_ns]
    assert all(event.trace_id == trace_ids[event.resource["k8s.pod.uid"]] for event in events)
    throttled = [event for event in events if event.resource["container.id"] == scene.spun.container_ids["app"]]
    states = [event.attributes["otel_kernel.throttling.state"] for event in throttled]
    assert states == ["crossed", "left"] * (len(states) // 2)
    assert states
    crossed = throttled[0].attributes
    assert crossed["otel_kernel.throttling.percentage"] >= 25
    assert crossed["otel_kernel.throttling.limit"] == 0.1
    assert 0.05 < crossed["otel_kernel.throttling.usage"] < 0.2
    assert crossed["otel_kernel.throttling.periods"] >= 10
    killed: dict[str, int] = {}
    for event in events:
        if event.name == "otel_kernel.oom_kill":
            name = event.resource["k8s.container.name"]
            killed[name] = killed.get(name, 0) + event.attributes["otel_kernel.oom_kill.count"]
    assert killed == {"survivor": 2, "victim": 1} or (killed == {"survivor": 2} and victim_unread(scene))


def test_the_agent_tells_of_itself(scene: Scene) -> None:
    """Everything that the catalogue lists for the node and that needs no setting is on the node's resource."""
    node = scene.node
    listed = {metric.name for metric in METRICS if metric.level == "node" and not metric.opt_in}
    listed.remove("otel_kernel.agent.counts")  # for counters that have no row of their own
    listed -= {"otel_kernel.identity.answers", "otel_kernel.identity.failures"}  # nobody is asked here
    assert listed - scene.exported.metrics_of(node) == set()
    assert scene.observed.last(node, "process.memory.usage") > 10_000_000
    assert scene.observed.last(node, "otel_kernel.agent.bpf.map.memory", map="records") > 2_000_000
    assert scene.observed.last(node, "otel_kernel.agent.pods") >= 3
    for kind in ("kernel", "malformed", "watch"):
        assert scene.exported.last(node, "otel_kernel.agent.events.lost", kind=kind) == 0


# Without eBPF


def test_without_ebpf_the_rows_of_files_are_there_and_no_others(lab: Lab, tmp_path: Path) -> None:
    """What files tell is told; what only eBPF tells is absent, not zero."""
    exported = Exported(tmp_path / "exported.jsonl")
    with agent(tmp_path, EBPF="off") as started:
        spinning = Container("app", ("/bin/sh", "-c", "while :; do :; done"), cpu_quota_us=10_000, memory_bytes=1 << 26)
        born = lab.bear(Pod("plain", (spinning,)))
        exported.wait_for_collection()
        lab.remove(born)
        exported.wait_for_collection()
        assert started.stop() == 0
    exported.read()
    listed = {metric for metric in METRICS if metric.source in {"cgroupfs", "procfs"} and metric.level != "node"}
    told = exported.metrics_of(instance(born)) | exported.metrics_of(instance(born, "app"))
    # A pod of the lab has no limit of its own.
    assert {metric.name for metric in listed} - told == {"otel_kernel.pod.cpu.limit", "otel_kernel.pod.memory.limit"}
    assert {point.scope for point in exported.points} == {
        f"otel_kernel.{source}" for source in ("cgroupfs", "procfs", "births", "agent")
    }
    assert list(broken(exported.points)) == []
    node = exported.points[-1].key.instance
    assert "otel_kernel.agent.bpf.map.memory" not in exported.metrics_of(node)
