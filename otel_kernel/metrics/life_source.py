"""What containers did, as the kernel side counted it: read once in a collection, in one go."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from otel_kernel.health import Counter, Health
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.life import ContainerCounts, Keyed, Life, Owner, Row
from otel_kernel.metrics import life_samples
from otel_kernel.metrics.life_samples import LifeSamples
from otel_kernel.metrics.open_paths import OpenPaths
from otel_kernel.metrics.samples import Sample, Samples, SeriesName, Target
from otel_kernel.metrics.series import RunningTotal
from otel_kernel.pods.directory import Container, Pod, Removed

_POD_SYSCALLS = SeriesName("otel_kernel.pod.syscalls")
_ROWS_IN_ONE_GO = 64
# Nobody tells us of the end of a pod's cgroup that is no container's (CRI-O's conmon): its last counts are in its pod's
# sum by the next collection. So long we wait for word.
_COLLECTIONS_AWAITED = 3

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Track:
    """What is remembered of one container."""

    row: Row
    calls: int  # all of them
    errors: Mapping[bytes, int] = field(default_factory=dict)
    samples: Sequence[Sample] | None = None  # made of these; None: not yet
    paths: OpenPaths = field(default_factory=OpenPaths)

    def take(self, row: Row) -> None:
        """Take over what was counted so far; most containers do nothing between two looks."""
        if row != self.row:
            self.row, self.calls, self.samples = row, life_samples.calls(row), None


class LifeSource:
    """Measures what was counted in the kernel. The tables are the probes'."""

    def __init__(self, counts: ContainerCounts, counting: Counting, since_boot_ns: int, health: Health) -> None:
        """Take over tables in which `counting` is counted since then."""
        self._counts = counts
        self._counting = counting
        self._since_ns = since_boot_ns
        self._health = health
        self._life = LifeSamples(counting, counting.column_names(counts.syscalls))
        self._owners: dict[int, Owner] = {}  # by cgroup id
        self._errors: Keyed = {}
        self._opened: Keyed = {}
        self._tracks: dict[int, _Track] = {}  # by cgroup id
        self._totals: dict[str, RunningTotal] = {}  # by pod UID
        self._by_pod: dict[int, list[Owner]] = {}  # by the id of the pod's cgroup
        self._without: set[int] = set()  # containers that have no slot
        self._gone: dict[int, int] = {}  # cgroup id -> in how many collections it was gone
        self._is_read = False

    @property
    def since_boot_ns(self) -> int | None:
        """When the programs were attached."""
        return self._since_ns

    def begin(self, pods: Sequence[Pod], now_unix_ns: int) -> Iterator[None]:  # noqa: ARG002 - what all sources take
        """Read the tables."""
        self._is_read = False
        try:
            self._look()
            yield
            with self._counts.reading() as rows:
                for at, owner in enumerate(self._owners.values()):
                    self._take(owner, rows.of(owner.slot))
                    if at % _ROWS_IN_ONE_GO == 0:
                        yield
            self._errors, self._opened = self._counts.errors(), self._counts.opened()
            self._is_read = True
        except OSError as error:
            self._refused(error)

    def read(self, pod: Pod, now_unix_ns: int) -> Mapping[Target, Samples]:  # noqa: ARG002 - what all sources take
        """Return what was counted of a pod and its containers."""
        if not self._is_read:
            targets = [(pod.uid, None), *((pod.uid, each.id) for each in pod.containers)]
            return dict.fromkeys(targets, Samples((), is_whole=False))
        try:
            self._find_new(pod.containers)
        except OSError as error:
            self._refused(error)
        told = {
            (pod.uid, each.id): Samples(self._samples(each.cgroup.id))
            for each in pod.containers
            if each.cgroup.id in self._tracks and not each.is_sandbox
        }
        return told | self._of_pod(pod)

    def take_last(self, removed: Removed) -> Sequence[Sample]:
        """Return the last counts of a container or pod that is gone, whose slots then are others' to have."""
        try:
            if removed.container_id is None:
                return self._last_of_pod(removed)
            return self._last_of_container(removed)
        except OSError as error:
            self._refused(error)
            return ()

    # What is there

    def _look(self) -> None:
        """Find out who has a slot; give back those that somebody had of whose end nobody told us."""
        self._owners = {owner.cgroup_id: owner for owner in self._counts.owners()}
        gone = [owner for owner in self._owners.values() if owner.is_gone]
        self._gone = {owner.cgroup_id: self._gone.get(owner.cgroup_id, 0) + 1 for owner in gone}
        for owner in gone:
            if self._gone[owner.cgroup_id] > _COLLECTIONS_AWAITED:
                self._release(owner)
        self._tracks = {cgroup_id: track for cgroup_id, track in self._tracks.items() if cgroup_id in self._owners}
        self._by_pod = {}
        for owner in self._owners.values():
            self._by_pod.setdefault(owner.pod_id, []).append(owner)
        found = self._counts.uncounted()
        self._health.reach(Counter.CONTAINERS_UNCOUNTED, found.containers)
        self._health.reach(Counter.CGROUPS_UNCOUNTED, found.nested_cgroups)
        self._health.reach(Counter.WAITS_UNCOUNTED, found.waits)
        self._health.reach(Counter.DURATIONS_UNCOUNTED, found.durations)

    def _find_new(self, containers: Sequence[Container]) -> None:
        """Read what came after the tables were read."""
        new = {_id(each) for each in containers} - self._tracks.keys() - self._without
        for owner in self._counts.owners() if new else ():
            if owner.cgroup_id in new:
                self._take(owner, self._counts.row(owner.slot))
                self._by_pod.setdefault(owner.pod_id, []).append(owner)
        self._without |= new - self._owners.keys()

    def _take(self, owner: Owner, row: Row) -> None:
        self._owners[owner.cgroup_id] = owner
        track = self._tracks.get(owner.cgroup_id)
        if track is None:
            self._tracks[owner.cgroup_id] = _Track(row, life_samples.calls(row))
        else:
            track.take(row)

    def _samples(self, cgroup_id: int | None) -> Sequence[Sample]:
        track, slot = self._tracks[cgroup_id or 0], self._owners[cgroup_id or 0].slot
        errors = self._errors.get(slot, {})
        if track.samples is None or errors != track.errors:
            track.errors, track.samples = errors, tuple(self._life.of(track.row, errors))
        if not self._counting.open_paths:
            return track.samples
        track.paths.take(self._opened.get(slot, {}), Life.of(track.row.life).opens)
        return (*track.samples, *track.paths.samples())

    def _of_pod(self, pod: Pod) -> dict[Target, Samples]:
        if self._counting.names is None:
            return {}
        pod_ids = {pod.cgroup.id} | {self._owners[at].pod_id for at in map(_id, pod.containers) if at in self._owners}
        total = self._totals.setdefault(pod.uid, RunningTotal())
        for owner in (each for pod_id in pod_ids for each in self._by_pod.get(pod_id or 0, ())):
            track = self._tracks.get(owner.cgroup_id)
            if track is not None:
                total.add(str(owner.cgroup_id), (track.calls,))
        if total.value is None or any(_id(each) in self._without for each in pod.containers):
            return {}
        return {(pod.uid, None): Samples((Sample(_POD_SYSCALLS, total.value[0]),))}

    # What is gone

    def _last_of_container(self, removed: Removed) -> Sequence[Sample]:
        cgroup_id = removed.cgroup.id or 0
        self._without.discard(cgroup_id)
        owner = self._counts.owner(cgroup_id, self._owners.get(cgroup_id))
        if owner is None:
            return ()
        self._take(owner, self._counts.row(owner.slot))
        self._errors, self._opened = self._counts.errors(), self._counts.opened()
        total = self._totals.setdefault(removed.pod_uid, RunningTotal())
        total.add(str(cgroup_id), (self._tracks[cgroup_id].calls,))
        samples = self._samples(cgroup_id)
        if owner.is_gone:
            self._release(owner)
        return samples

    def _last_of_pod(self, removed: Removed) -> Sequence[Sample]:
        total = self._totals.pop(removed.pod_uid, None)
        if total is None or total.value is None or self._counting.names is None:
            return ()
        return (Sample(_POD_SYSCALLS, total.value[0]),)

    def _release(self, owner: Owner) -> None:
        self._counts.release(owner.slot)
        for known in (self._owners, self._tracks, self._gone):
            known.pop(owner.cgroup_id, None)
        for total in self._totals.values():
            total.forget(str(owner.cgroup_id))

    def _refused(self, error: OSError) -> None:
        self._health.add(Counter.MAPS_UNREADABLE)
        log.warning("what containers did cannot be read: %s", error.strerror)


def _id(container: Container) -> int:
    return container.cgroup.id or 0
