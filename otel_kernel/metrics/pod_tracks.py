"""What is remembered of each pod and container from one collection to the next."""

from dataclasses import dataclass, field

from otel_kernel.metrics.cgroups import Reading
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.points import Attributes
from otel_kernel.metrics.series import ResourceSeries, RunningTotal, Start
from otel_kernel.metrics.throttling import ContainerThrottling
from otel_kernel.node.cpu import Throttling
from otel_kernel.pods.directory import Cgroup, Container, Pod

Key = tuple[str, int]  # a cgroup's path, and when it was first seen: a static pod comes back at the same path


@dataclass(slots=True, eq=False)
class ContainerTrack:
    """A container while its cgroup is there."""

    pod: "PodTrack"
    container: Container
    throttling: ContainerThrottling
    oom_kills: int | None  # as last seen; None: not yet
    series: ResourceSeries | None = None  # once its points have begun
    superseded: bool = False  # another container of the same name has come
    has_cpu_limit: bool | None = None  # None: not known

    @property
    def resource(self) -> Attributes:
        """Its resource. The instance id keeps its series apart where only that is a label."""
        instance = f"{self.pod.pod.uid}/{self.container.name or self.container.id}"
        return {**self.container.resource, "service.instance.id": instance}


@dataclass(slots=True, eq=False)
class PodTrack:
    """A pod while its cgroup is there."""

    pod: Pod
    series: ResourceSeries | None = None
    lag_told: bool = False
    throttled: RunningTotal = field(default_factory=RunningTotal)
    containers: dict[Key, ContainerTrack] = field(default_factory=dict)
    ended_ns: dict[str, int] = field(default_factory=dict)  # by container name: when the last of that name was ended

    @property
    def present(self) -> list[ContainerTrack]:
        """Those of its containers that are there; what of the others has yet to be told is their end."""
        there = [self.containers.get(key(container.cgroup)) for container in self.pod.containers]
        return [track for track in there if track is not None]

    @property
    def resource(self) -> Attributes:
        """Its resource."""
        return {**self.pod.resource, "service.instance.id": self.pod.uid}

    def add_throttling(self, track: ContainerTrack, reading: Reading) -> None:
        """Take over how often one of its containers was throttled."""
        track.has_cpu_limit = reading.limits.cpu is not None
        if reading.limits.cpu is not None and reading.throttling is not None:
            self.throttled.add(track.container.id, reading.throttling)

    def add_own_throttling(self, reading: Reading) -> None:
        """Take over how often the pod's own limit throttled it, where its containers have none.

        The kubelet gives a pod the sum of its containers' limits: both then count the same.
        """
        if reading.limits.cpu is None or reading.throttling is None:
            return
        limited = [track.has_cpu_limit for track in self.containers.values() if not track.container.is_sandbox]
        counts = bool(limited) and all(has_limit is False for has_limit in limited)
        self.throttled.add("", reading.throttling, counts=counts)

    @property
    def throttling(self) -> Throttling | None:
        """The sum over its containers, those that ended among them; None while none had a limit."""
        value = self.throttled.value
        return Throttling(*value) if value is not None else None


def key(cgroup: Cgroup) -> Key:
    """Return what tells a cgroup from all others, also those that bear its name later."""
    return cgroup.path, cgroup.seen_ns


def start(cgroup: Cgroup, attached_boot_ns: int | None, now: Moment) -> Start:
    """Return since when the counters of a cgroup count."""
    made_ns = None if cgroup.made_ns is None else now.unix(cgroup.made_ns)
    counted_ns = None
    if attached_boot_ns is not None:
        counted_ns = now.unix(max(attached_boot_ns, cgroup.made_ns or cgroup.seen_ns))
    return Start(made_ns, counted_ns)
