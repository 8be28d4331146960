"""How long pods and containers were stopped by their CPU limit, one interval each: counted in the kernel."""

import logging
from collections.abc import Iterator, Mapping, Sequence

from otel_kernel.health import Counter, Health
from otel_kernel.kernel.throttles import Throttles, Throttling
from otel_kernel.metrics.samples import Distribution, Intervals, Sample, Samples, SeriesName, Target
from otel_kernel.metrics.stack_names import StackNames
from otel_kernel.pods.directory import Container, Pod, Removed

_OF_POD = SeriesName("otel_kernel.pod.cpu.throttled.duration")
_OF_CONTAINER = SeriesName("otel_kernel.container.cpu.throttled.duration")
# Nobody tells us of the end of a cgroup that is no container's (CRI-O's conmon). So long we wait for word.
_COLLECTIONS_AWAITED = 3

log = logging.getLogger(__name__)


class ThrottleSource:
    """Measures throttled intervals. The tables are the probes'."""

    def __init__(
        self, throttles: Throttles, since_boot_ns: int, health: Health, stacks: StackNames | None = None
    ) -> None:
        """Take over tables in which intervals are counted since then."""
        self._stacks = stacks
        self._throttles = throttles
        self._since_ns = since_boot_ns
        self._health = health
        self._counted: Mapping[int, Throttling] | None = {}  # by cgroup id; None: they could not be read
        self._before: Mapping[int, Throttling] = {}  # in the collection before
        self._gone: dict[int, int] = {}  # cgroup id -> in how many collections it was gone

    @property
    def since_boot_ns(self) -> int | None:
        """When the programs were attached."""
        return self._since_ns

    def begin(self, pods: Sequence[Pod], now_unix_ns: int) -> Iterator[None]:  # noqa: ARG002 - what all sources take
        """Read what was counted of all."""
        self._before, self._counted = self._counted or self._before, None
        try:
            losses = self._throttles.losses()
            self._health.reach(Counter.THROTTLES_UNCOUNTED, losses.no_room)
            self._health.reach(Counter.THROTTLES_MISSED, self._throttles.missed())
            self._counted = self._throttles.read()
            self._forget_gone(self._counted)
            if self._stacks:
                self._stacks.look()
        except OSError as error:
            self._refused(error)
        yield

    def read(self, pod: Pod, now_unix_ns: int) -> Mapping[Target, Samples]:  # noqa: ARG002 - what all sources take
        """Return what was counted of a pod's own limit and of its containers'."""
        if self._counted is None:
            targets = [(pod.uid, None), *((pod.uid, each.id) for each in pod.containers)]
            return dict.fromkeys(targets, Samples((), is_whole=False))
        told: dict[Target, Samples] = {
            (pod.uid, each.id): Samples(_samples(_OF_CONTAINER, self._of(each)), intervals=self._new(each))
            for each in pod.containers
            if not each.is_sandbox
        }
        return told | {(pod.uid, None): Samples(_samples(_OF_POD, self._counted.get(pod.cgroup.id or 0)))}

    def take_last(self, removed: Removed) -> Sequence[Sample]:
        """Return the last counts of a container or pod that is gone."""
        cgroup_id = removed.cgroup.id or 0
        name = _OF_POD if removed.container_id is None else _OF_CONTAINER
        try:
            last = self._throttles.read_one(cgroup_id)
            self._throttles.forget([cgroup_id])
        except OSError as error:
            self._refused(error)
            return ()
        return _samples(name, last)

    def _of(self, container: Container) -> Throttling | None:
        return (self._counted or {}).get(container.cgroup.id or 0)

    def _new(self, container: Container) -> Intervals:
        now, before = self._of(container), self._before.get(container.cgroup.id or 0)
        stacks = self._stacks.of(container.cgroup.id or 0) if self._stacks else None
        if now is None:
            return Intervals(0, (), stacks)
        first = before.intervals if before is not None else 0
        return Intervals(now.intervals - first, [each for each in now.last if each.number >= first], stacks)

    def _forget_gone(self, counted: Mapping[int, Throttling]) -> None:
        gone = [cgroup_id for cgroup_id, each in counted.items() if each.is_gone]
        self._gone = {cgroup_id: self._gone.get(cgroup_id, 0) + 1 for cgroup_id in gone}
        self._throttles.forget(each for each, looks in self._gone.items() if looks > _COLLECTIONS_AWAITED)

    def _refused(self, error: OSError) -> None:
        self._health.add(Counter.MAPS_UNREADABLE)
        log.warning("throttled intervals cannot be read: %s", error.strerror)


def _samples(name: SeriesName, counted: Throttling | None) -> Sequence[Sample]:
    if counted is None or not counted.intervals:
        return ()
    return (Sample(name, Distribution(counted.counts, counted.sum_ns / 1e9)),)
