"""A node's cgroup files in a directory: the same figures as any kind of kernel tells them, and a clock."""

import hashlib
import shutil
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.health import Health
from otel_kernel.kernel.events import CgroupChange
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.points import Histogram, Number, ResourceMeasurements
from otel_kernel.metrics.samples import Source
from otel_kernel.node.process_directory import NAMESPACES
from otel_kernel.pods.directory import Container, Directory
from otel_kernel.settings import METRIC_GROUPS

Kind = Literal["v2", "hybrid", "v1"]
SECOND_NS = 1_000_000_000
EPOCH_NS = 1_700_000_000 * SECOND_NS
UNLIMITED_V1 = 9223372036854771712


def container_id(name: str) -> str:
    """Return an id as runtimes make them."""
    return hashlib.sha256(name.encode()).hexdigest()


@dataclass(frozen=True)
class Figures:
    """What a kernel knows of one cgroup. Times are microseconds."""

    usage_us: int = 0
    periods: int = 0
    throttled: int = 0
    throttled_us: int = 0
    quota_us: int | None = None
    period_us: int = 100_000
    memory: int = 4096
    inactive_file: int = 0
    memory_limit: int | None = None
    oom_kills: int = 0
    some_us: int = 0
    full_us: int = 0
    pids: tuple[int, ...] = ()
    populated: bool = True


@dataclass
class FakeNode:
    """Cgroup directories below `root`, and the clock of whoever looks at them."""

    root: Path
    kind: Kind = "v2"
    has_psi: bool = True
    only: frozenset[str] = frozenset()  # files, when not all are wanted
    boot_ns: int = 1000 * SECOND_NS
    unix_offset_ns: int = EPOCH_NS
    directory: Directory = field(default_factory=lambda: Directory("node-1"))
    health: Health = field(default_factory=Health)
    figures: dict[str, Figures] = field(default_factory=dict)
    _ids: int = 100
    _written: dict[Path, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make what an empty node has."""
        (self.root / "proc/1/ns").mkdir(parents=True, exist_ok=True)
        for number, kind in enumerate(NAMESPACES):
            (self.root / "proc/1/ns" / kind).write_text(str(number))
        for controller in self._controllers():
            self._write(controller, "", Figures())
        if self.kind != "v1":
            (self._v2() / "cgroup.controllers").write_text("cpu memory io\n")

    @property
    def now(self) -> Moment:
        """The time."""
        return Moment(self.boot_ns + self.unix_offset_ns, self.boot_ns)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.boot_ns += round(seconds * SECOND_NS)

    def collection(self, *sources: Source, groups: frozenset[str] = frozenset(METRIC_GROUPS)) -> Collection:
        """Return a collection of this node."""
        plan = Plan(self.root / "cgroup", self.root / "proc", "node-1", "node-1", groups, 25)
        return Collection(self.directory, plan, self.health, sources)

    def make(self, path: str, figures: Figures = Figures(), *, told: bool = True) -> None:
        """Make a cgroup; `told`: whoever observes is told so."""
        self.set(path, figures)
        self._ids += 1
        if told:
            self.directory.feed(CgroupChange(self.boot_ns, "mkdir", self._ids, path, 1))

    def set(self, path: str, figures: Figures) -> None:
        """Let the kernel tell these figures of a cgroup."""
        self.figures[path] = figures
        for controller in self._controllers():
            self._write(controller, path, figures)

    def change(self, path: str, **figures: int | bool | None) -> None:
        """Let some figures be others."""
        known = {each.name for each in fields(Figures)}
        assert figures.keys() <= known
        self.set(path, replace(self.figures[path], **figures))  # type: ignore[arg-type]

    def remove(self, path: str, *, told: bool = True) -> None:
        """Remove a cgroup."""
        del self.figures[path]
        for controller in self._controllers():
            directory = self.root / "cgroup" / controller / path.lstrip("/")
            shutil.rmtree(directory, ignore_errors=True)
            self._written.pop(directory, None)
        if told:
            self.directory.feed(CgroupChange(self.boot_ns, "rmdir", 0, path, 1))

    def pod(self, uid: str, name: str = "web") -> str:
        """Make a pod with its sandbox; return the path of its cgroup."""
        path = f"/kubepods/burstable/pod{uid}"
        self.make(path)
        self.container(path, None, name)
        return path

    def container(self, pod: str, name: str | None, pod_name: str = "web", figures: Figures = Figures()) -> str:
        """Make a container, the sandbox when it has no name; return the path of its cgroup."""
        of = container_id(f"{pod}{name}{self._ids}")
        told = ContainerFacts(
            self.boot_ns,
            "oci-bundle",
            of,
            is_sandbox=name is None,
            pod_name=pod_name,
            namespace="shop",
            container_name=name,
        )
        self.directory.feed(told)
        self.make(f"{pod}/{of}", figures)
        return f"{pod}/{of}"

    def name(self, container: Container) -> None:
        """Tell this node's directory of a container what another one knew."""
        told = ContainerFacts(
            self.boot_ns,
            "oci-bundle",
            container.id,
            is_sandbox=container.is_sandbox,
            pod_name=container.resource["k8s.pod.name"],
            namespace=container.resource["k8s.namespace.name"],
            container_name=container.name,
        )
        self.directory.feed(told)

    def _controllers(self) -> tuple[str, ...]:
        v1 = ("cpu,cpuacct", "memory", "pids")
        return {"v2": ("",), "hybrid": ("unified", *v1), "v1": v1}[self.kind]

    def _v2(self) -> Path:
        return self.root / "cgroup" / ("" if self.kind == "v2" else "unified")

    def _write(self, controller: str, path: str, told: Figures) -> None:
        directory = self.root / "cgroup" / controller / path.lstrip("/")
        if directory not in self._written:
            directory.mkdir(parents=True, exist_ok=True)
        written = self._written.setdefault(directory, {})
        for name, content in self._files(controller, told).items():
            if written.get(name) != content:
                written[name] = content
                (directory / name).write_text(content)

    def _files(self, controller: str, told: Figures) -> dict[str, str]:
        procs = {"cgroup.procs": "".join(f"{pid}\n" for pid in told.pids)}
        files = {
            "": procs | _v2(told) | _v2_controllers(told),
            "unified": procs | _v2(told),
            "cpu,cpuacct": _cpu_v1(told),
            "memory": _memory_v1(told),
            "pids": procs,
        }[controller]
        if self.only:
            return {name: content for name, content in files.items() if name in self.only}
        return files if self.has_psi else {name: content for name, content in files.items() if "pressure" not in name}


def _v2(told: Figures) -> dict[str, str]:
    psi = "".join(
        f"{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n"
        for kind, total in (("some", told.some_us), ("full", told.full_us))
    )
    return {f"{resource}.pressure": psi for resource in ("cpu", "memory", "io")} | {
        "cgroup.events": f"populated {told.populated:d}\nfrozen 0\n"
    }


def _v2_controllers(told: Figures) -> dict[str, str]:
    return {
        "cpu.stat": f"usage_usec {told.usage_us}\nuser_usec 0\nsystem_usec 0\nnr_periods {told.periods}\n"
        f"nr_throttled {told.throttled}\nthrottled_usec {told.throttled_us}\nnr_bursts 0\nburst_usec 0\n",
        "cpu.max": f"{'max' if told.quota_us is None else told.quota_us} {told.period_us}\n",
        "memory.current": f"{told.memory}\n",
        "memory.max": f"{'max' if told.memory_limit is None else told.memory_limit}\n",
        "memory.stat": f"anon {told.memory}\ninactive_file {told.inactive_file}\n",
        "memory.events": f"low 0\nhigh 0\nmax 0\noom {told.oom_kills}\noom_kill {told.oom_kills}\n",
    }


def _cpu_v1(told: Figures) -> dict[str, str]:
    return {
        "cpu.stat": f"nr_periods {told.periods}\nnr_throttled {told.throttled}\n"
        f"throttled_time {told.throttled_us * 1000}\nnr_bursts 0\nburst_time 0\n",
        "cpu.cfs_quota_us": f"{-1 if told.quota_us is None else told.quota_us}\n",
        "cpu.cfs_period_us": f"{told.period_us}\n",
        "cpuacct.usage": f"{told.usage_us * 1000}\n",
    }


def _memory_v1(told: Figures) -> dict[str, str]:
    return {
        "memory.usage_in_bytes": f"{told.memory}\n",
        "memory.limit_in_bytes": f"{UNLIMITED_V1 if told.memory_limit is None else told.memory_limit}\n",
        "memory.stat": f"cache 1\ninactive_file 1\ntotal_cache 1\ntotal_inactive_file {told.inactive_file}\n",
        "memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {told.oom_kills}\n",
    }


SeriesKey = tuple[
    str, str, tuple[tuple[str, object], ...]
]  # instance, metric, attributes: as Prometheus tells them apart
Point = Number | Histogram


def points(told: list[ResourceMeasurements]) -> dict[SeriesKey, list[Point]]:
    """Return the points of each series."""
    found: dict[SeriesKey, list[Point]] = {}
    for resource in told:
        for measured in (each for scope in resource.scopes.values() for each in scope):
            for point in measured.points:
                attributes = tuple(sorted(point.attributes.items()))
                key = (str(resource.resource["service.instance.id"]), measured.metric, attributes)
                found.setdefault(key, []).append(point)
    return found


def values(told: list[ResourceMeasurements], instance: str) -> dict[str, Any]:
    """Return the values of one pod or container: by metric, with attributes behind it; the last points count."""
    found: dict[str, Any] = {}
    for (of, metric, attributes), series in points(told).items():
        last = series[-1]
        if of == instance and isinstance(last, Number):
            found[" ".join((metric, *(str(value) for _, value in attributes)))] = last.value
    return found
