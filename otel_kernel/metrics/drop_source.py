"""The packets that the kernel dropped of each pod: counted in the kernel (bpf/drops.c), read once in a collection."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from otel_kernel.health import Counter, Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.drops import Drops, Kind, Learned
from otel_kernel.metrics import node_namespaces
from otel_kernel.metrics.samples import Sample, Samples, SeriesName, Target
from otel_kernel.node.cgroup_members import CgroupMembers
from otel_kernel.pods import network
from otel_kernel.pods.directory import Container, Pod, Removed

_METRIC = "otel_kernel.pod.network.drops"

Packets = Mapping[int, Mapping[Kind, int]]  # by the cgroup id of the pod

log = logging.getLogger(__name__)


class NodeNetworkError(OSError):
    """The node's own network is not known, so nobody could tell a pod's drops from the node's."""


class DropSource:
    """Measures dropped packets. The drops are the probes'."""

    def __init__(self, drops: Drops, hierarchy: Path, proc_root: Path, health: Health) -> None:
        self._drops = drops
        self._members = CgroupMembers(hierarchy, proc_root)
        self._health = health
        self._cgroups: dict[str, int] = {}  # by the UID of each pod that was measured
        self._on_node: dict[str, tuple[Container, ...]] = {}  # of pods on the node's network: their containers then
        self._packets: Packets | None = {}  # None: they could not be read
        self._final: Packets | None = None  # of pods that are gone; None: not read since the last collection
        self._since_ns: int | None = None
        self._is_told = False

    @property
    def since_boot_ns(self) -> int | None:
        """When the program was attached."""
        return self._since_ns

    def observe(self, pods: Iterable[Pod]) -> None:
        """Learn the networks of the node and of the pods that are there, and begin to count.

        Raises OSError when the kernel refuses, NodeNetworkError among them.
        """
        node = node_namespaces.open_network(self._members.proc_root)
        if node is None:
            raise NodeNetworkError("the node's network namespace may not be opened")
        try:
            self._drops.learn_node(node)
        finally:
            os.close(node)
        for pod in pods:
            self._learn(pod)
        self._drops.attach()
        self._since_ns = boot_ns()

    def begin(self, pods: Sequence[Pod], now_unix_ns: int) -> Iterator[None]:  # noqa: ARG002 - what all sources take
        """Read what was counted of all pods."""
        # The kernel side learns a network when a container's program begins; of a pod whose birth it did not see, here.
        known: set[int] = set()
        with self._judged():
            known = self._drops.known()
        for pod in pods:
            if pod.cgroup.id not in known and self._on_node.get(pod.uid) != pod.containers:
                with self._judged():
                    self._learn(pod)
                yield
        self._cgroups |= {pod.uid: pod.cgroup.id for pod in pods if pod.cgroup.id is not None}
        self._packets = self._final = None
        with self._judged():
            gone = self._drops.ended() - set(self._cgroups.values())
            if gone:
                self._drops.forget(gone)
            self._packets = self._drops.read()
            missed, unknown, networks = self._drops.losses()
            self._health.reach(Counter.DROPS_MISSED, missed)
            self._health.reach(Counter.DROPS_UNKNOWN, unknown)
            self._health.reach(Counter.NETWORKS_REFUSED, networks)
        yield

    def read(self, pod: Pod, now_unix_ns: int) -> Mapping[Target, Samples]:  # noqa: ARG002 - what all sources take
        """Return what was read of a pod; nothing when it uses the node's network, or its own is not known."""
        if self._packets is None:
            return {(pod.uid, None): Samples((), is_whole=False)}
        packets = self._packets.get(pod.cgroup.id or 0)
        return {} if packets is None else {(pod.uid, None): Samples(_samples(packets))}

    def take_last(self, removed: Removed) -> Sequence[Sample]:
        """Return how many packets of a pod that is gone were dropped in the end; the next collection forgets it."""
        if removed.container_id is not None:
            return ()
        self._on_node.pop(removed.pod_uid, None)
        cgroup_id = self._cgroups.pop(removed.pod_uid, None)
        if cgroup_id is None:
            return ()
        if self._final is None:
            with self._judged():
                self._final = self._drops.read()
        return _samples((self._final or {}).get(cgroup_id, {}))

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Count what the kernel refuses of its own maps: for want of memory it may."""
        try:
            yield
        except OSError as error:
            if not self._is_told:
                log.warning("dropped packets cannot be read: %s (told once, counted from now on)", error.strerror)
            self._is_told = True
            self._health.add(Counter.MAPS_UNREADABLE)

    def _learn(self, pod: Pod) -> None:
        cgroup_id = pod.cgroup.id
        found = None if cgroup_id is None else network.open_namespace(self._members, pod)
        if found is None or cgroup_id is None:
            return
        try:
            if self._drops.learn(found, cgroup_id) is Learned.OF_NODE:
                self._on_node[pod.uid] = pod.containers
        finally:
            os.close(found)


def _samples(packets: Mapping[Kind, int]) -> list[Sample]:
    return [Sample(SeriesName(_METRIC, _attributes(kind)), count) for kind, count in packets.items()]


def _attributes(kind: Kind) -> tuple[tuple[str, str], ...]:
    pairs = (("reason", kind.reason), ("location", kind.location), ("side", kind.side))
    return tuple((f"otel_kernel.drop.{name}", value) for name, value in pairs if value is not None)
