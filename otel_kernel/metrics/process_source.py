"""What /proc says of a container's processes and of its pod's network. The scope is procfs; `processes` is cgroupfs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import NamedTuple, TypeVar

from otel_kernel.metrics.container_processes import ContainerProcesses
from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.samples import Sample, Samples, SeriesName, Target
from otel_kernel.metrics.seldom import Seldom
from otel_kernel.node import network_devices
from otel_kernel.node.network_devices import LOOPBACK, Device
from otel_kernel.node.process_directory import ProcessDirectory
from otel_kernel.pods.directory import Container, Pod, Removed

T = TypeVar("T")

# A pod may make as many devices as it likes, and call them as it likes.
DEVICES_TOLD = 16
OTHER = "_OTHER"
# What a container has mounted changes rarely, and /proc takes as long to tell it as all files of its cgroup together.
SELDOM_NS = 300_000_000_000

_PROCESSES = SeriesName("otel_kernel.container.processes")
_MOUNTS = SeriesName("otel_kernel.container.mounts")


class _Surroundings(NamedTuple):
    """What a container's first process sees. None: it could not be asked."""

    mounts: int | None
    namespaces: Mapping[str, int] | None


@dataclass(slots=True)
class ProcessSource:
    """Measures what can be seen through a container's processes. `groups` are those of the settings."""

    processes: ContainerProcesses
    judge: Judge
    groups: frozenset[str]
    node_namespaces: Mapping[str, int]  # what is not in it is not known
    _surroundings: Seldom[_Surroundings] = field(default_factory=lambda: Seldom(SELDOM_NS))
    _shared: dict[str, tuple[object, tuple[tuple[SeriesName, int], ...]]] = field(default_factory=dict)

    @property
    def since_boot_ns(self) -> int | None:
        """The kernel's own counters count since the namespace was made."""
        return None

    def begin(self, pods: Sequence[Pod], now_unix_ns: int) -> Iterator[None]:  # noqa: ARG002 - what all sources take
        """Each pod is read by itself."""
        return iter(())

    def read(self, pod: Pod, now_unix_ns: int) -> dict[Target, Samples]:
        """Return what is measured now, of a pod and its containers."""
        return dict(self._of_pod(pod, now_unix_ns))

    def take_last(self, removed: Removed) -> Sequence[Sample]:
        """Forget a container that is gone; there is nothing to be read through it any more."""
        if removed.container_id is not None:
            self.processes.forget(removed.container_id)
            self._surroundings.forget(removed.container_id)
            self._shared.pop(removed.container_id, None)
        return ()

    def _of_pod(self, pod: Pod, now_ns: int) -> Iterator[tuple[Target, Samples]]:
        failures = self.judge.failures
        # The pause process is not counted, only looked through.
        counted = [each for each in pod.containers if not (each.is_sandbox and self.processes.holds(each.id))]
        counts = {each.id: self.processes.count(each.id, each.cgroup.path) for each in counted}
        if "network" in self.groups:
            network = tuple(self._network(pod.containers))
            yield (pod.uid, None), Samples(network, self.judge.failures == failures)
        if "process" in self.groups:
            for container in pod.containers:
                self._surroundings.read(container.id, now_ns, partial(self._look_around, container))
            for container in pod.containers:
                if not container.is_sandbox:
                    samples = tuple(self._of_container(container, pod, counts[container.id]))
                    yield (pod.uid, container.id), Samples(samples, self.judge.failures == failures)

    def _of_container(self, container: Container, pod: Pod, count: int | None) -> Iterator[Sample]:
        if count is not None:
            yield Sample(_PROCESSES, count)
        found = self._surroundings.get(container.id)
        if found is None:
            return
        if found.value.mounts is not None:
            yield Sample(_MOUNTS, found.value.mounts, found.read_ns)
        others = [self._surroundings.get(other.id) for other in pod.containers if other is not container]
        for name, number in self._sharing(container.id, found.value, [each.value for each in others if each]):
            yield Sample(name, number, found.read_ns)

    def _sharing(
        self, container_id: str, own: _Surroundings, others: list[_Surroundings]
    ) -> Sequence[tuple[SeriesName, int]]:
        before, known = self._shared.get(container_id, (None, ()))
        if before == (own, others):
            return known
        namespaces = [other.namespaces for other in others if other.namespaces]
        known = tuple(_sharing(own.namespaces or {}, namespaces, self.node_namespaces))
        self._shared[container_id] = (own, others), known
        return known

    def _look_around(self, container: Container) -> tuple[_Surroundings, bool]:
        mounts = None
        if not container.is_sandbox:  # nobody asks for those of the pause process
            mounts = self._look(container, "/proc/PID/mountinfo", ProcessDirectory.mounts)
        namespaces = self._look(container, "/proc/PID/ns", ProcessDirectory.namespaces)
        return _Surroundings(mounts, namespaces), bool(namespaces)

    def _network(self, containers: Iterable[Container]) -> Iterator[Sample]:
        host = self.node_namespaces.get("net")
        # All of a pod's containers share its network; pause lives as long as that does.
        for container in sorted(containers, key=lambda each: not each.is_sandbox):
            own = self._look(container, "/proc/PID/ns/net", ProcessDirectory.network_namespace)
            if own is None:
                continue
            if host is not None and own != host:
                devices = self._look(container, "/proc/PID/net/dev", _devices)
                yield from _traffic(devices or ())
            return

    def _look(self, container: Container, what: str, read: Callable[[ProcessDirectory], T]) -> T | None:
        return self.processes.look(container.id, what, read)


def _devices(process: ProcessDirectory) -> list[Device]:
    return network_devices.parse(process.read("net/dev"))


def _traffic(devices: Iterable[Device]) -> Iterator[Sample]:
    told: dict[SeriesName, int] = {}
    for at, device in enumerate(device for device in devices if device.name != LOOPBACK):
        name = device.name if at < DEVICES_TOLD else OTHER
        for metric, direction, value in (
            ("io", "receive", device.receive_bytes),
            ("io", "transmit", device.transmit_bytes),
            ("errors", "receive", device.receive_errors),
            ("errors", "transmit", device.transmit_errors),
        ):
            attributes = (("network.interface.name", name), ("network.io.direction", direction))
            series = SeriesName(f"k8s.pod.network.{metric}", attributes)
            told[series] = told.get(series, 0) + value
    return (Sample(series, value) for series, value in told.items())


def _sharing(
    own: Mapping[str, int], others: Sequence[Mapping[str, int]], host: Mapping[str, int]
) -> Iterator[tuple[SeriesName, int]]:
    kinds: dict[str, list[str]] = {}
    for kind, inode in own.items():
        if kind not in host:
            continue
        in_pod = any(other.get(kind) == inode for other in others)
        sharing = "host" if host.get(kind) == inode else "pod" if in_pod else "own"
        kinds.setdefault(sharing, []).append(kind)
    for sharing, found in kinds.items():
        yield _of_namespaces(sharing, tuple(found)), len(found)


@lru_cache(maxsize=256)
def _of_namespaces(sharing: str, kinds: tuple[str, ...]) -> SeriesName:
    # Most containers share the same kinds of namespaces.
    attributes = (("otel_kernel.namespace.sharing", sharing), ("otel_kernel.namespace.types", kinds))
    return SeriesName("otel_kernel.container.namespaces", attributes)
