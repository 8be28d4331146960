"""All pods and containers in one collection: what was read of them becomes the points of their series."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from otel_kernel.metrics import cgroup_samples
from otel_kernel.metrics.cgroups import CgroupReader, Reading
from otel_kernel.metrics.endings import Endings
from otel_kernel.metrics.log_events import LogEvents
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.pod_tracks import ContainerTrack, Key, PodTrack, key, start
from otel_kernel.metrics.points import ResourceMeasurements
from otel_kernel.metrics.samples import Intervals, Sample, Samples, Source, Target
from otel_kernel.metrics.series import CLOSEST_NS, ResourceSeries
from otel_kernel.metrics.throttling import ContainerThrottling
from otel_kernel.pods.directory import Cgroup, Container, Pod, Removed

NAME_AWAITED_NS = 30_000_000_000
_NOT_MEASURED = Samples(())

Measured = Sequence[Mapping[Target, Samples]]
Told = Iterator[ResourceMeasurements | None]


class PodCollection:
    """Remembers every pod and container that is there. `sources` measure what cgroups do not tell."""

    def __init__(
        self, reader: CgroupReader, endings: Endings, events: LogEvents, sources: Sequence[Source], threshold: int
    ) -> None:
        self._reader = reader
        self._endings = endings
        self._events = events
        self._sources = sources
        self._threshold_percent = threshold
        self._pods: dict[Key, PodTrack] = {}
        self._containers: dict[Key, ContainerTrack] = {}

    def attend(self, pods: Iterable[Pod], now: Moment) -> None:
        """Begin to remember what has come, and watch for its end. What has gone stays until `collect` is told so."""
        for pod in pods:
            track = self._pods.setdefault(key(pod.cgroup), PodTrack(pod))
            track.pod = pod
            for container in pod.containers:
                self._attend(track, container, now)

    def collect(
        self, pods: Sequence[Pod], removed: Iterable[Removed], now: Moment, clock: Callable[[], Moment]
    ) -> Told:
        """Yield the points of every pod and container, and the ends of those that are gone, these first.

        Between two steps there may be calls of `attend`, not of `collect`: each pod is read at a time of its own.
        """
        for each in removed:
            yield from self._removed(each, now)
        ready = [pod for pod in pods if pod.containers and _is_ready(pod, now)]
        for source in self._sources:
            yield from source.begin(ready, now.unix_ns)
        for pod in pods:
            track = self._pods[key(pod.cgroup)]
            if pod.containers and _is_ready(pod, now):
                yield from self._pod(track, clock())
            elif track.series is not None:  # it holds no container any more, and may get one again
                yield track.series.tell((), now.unix_ns)

    def forget_series(self) -> None:
        """Begin every series anew: the clock was set back, and what was told lies in the future."""
        for pod in self._pods.values():
            pod.series = None
            pod.ended_ns.clear()
        for container in self._containers.values():
            container.series = None

    def new_lags_s(self) -> Iterator[float]:
        """Yield how long it took to know each pod's name that was learned since the last call, of those seen made."""
        for track in self._pods.values():
            if track.pod.named_ns is not None and not track.lag_told:
                track.lag_told = True
                if track.pod.cgroup.made_ns is not None:
                    yield max(0, track.pod.named_ns - track.pod.cgroup.made_ns) / 1e9

    def _attend(self, pod: PodTrack, container: Container, now: Moment) -> None:
        known = self._containers.get(key(container.cgroup))
        if known is None:
            # Of a container that was there before, nobody knows when its processes were killed.
            kills = None if container.cgroup.made_ns is None else 0
            known = ContainerTrack(pod, container, ContainerThrottling(self._threshold_percent), kills)
            self._containers[key(container.cgroup)] = pod.containers[key(container.cgroup)] = known
            self._endings.watch(container, now)
        known.container = container

    # What is there

    def _pod(self, track: PodTrack, now: Moment) -> Told:
        readings: dict[ContainerTrack, Reading] = {}
        for each in track.present:
            reading = self._read(each, now)
            if each.container.is_sandbox or not self._is_gone(each.container.cgroup, reading):
                readings[each] = reading
                self._endings.supersede(each.container.id)
                track.add_throttling(each, reading)
            yield None
        measured = [source.read(track.pod, now.unix_ns) for source in self._sources]
        yield None
        yield from self._of_pod(track, measured, now)
        names = {
            each.container.name: each for each in sorted(readings, key=_age) if each.container.name
        }  # the youngest
        for each, reading in readings.items():
            if each.container.is_sandbox or each.superseded:
                continue
            if each.container.name and names[each.container.name] is not each:
                yield self._finish(each, (), (now.unix_ns, now.unix_ns), now)
                each.superseded = True
                continue
            self._events.judge(each, reading, now, _intervals(each, measured))
            if each.container.name or now.boot_ns - each.container.cgroup.seen_ns >= NAME_AWAITED_NS:
                yield from self._of_container(each, reading, measured, now)

    def _read(self, track: ContainerTrack, now: Moment) -> Reading:
        path = track.container.cgroup.path
        if track.container.is_sandbox:
            return self._reader.read_throttling(path, now.unix_ns)
        return self._reader.read(path, now.unix_ns, of_pod=False)

    def _is_gone(self, cgroup: Cgroup, reading: Reading) -> bool:
        # Its series end with the notice of its removal, which has yet to come: by then its last values are known.
        return reading.is_empty and not self._reader.is_there(cgroup.path)

    def _of_pod(self, track: PodTrack, measured: Measured, now: Moment) -> Told:
        pod = track.pod
        reading = self._reader.read(pod.cgroup.path, now.unix_ns, of_pod=True)
        if self._is_gone(pod.cgroup, reading):
            return
        track.add_own_throttling(reading)
        resource = track.resource
        if track.series is not None and track.series.resource != resource:
            yield track.series.finish((), now.unix_ns, now.unix_ns, now.unix_ns)
            track.series = None
        if track.series is None:
            track.series = ResourceSeries("pod", resource, start(pod.cgroup, self._since_boot_ns, now))
        further = [source.get((pod.uid, None), _NOT_MEASURED) for source in measured]
        samples = chain(cgroup_samples.of_pod(reading, track.throttling), *(each.samples for each in further))
        is_whole = reading.is_whole and all(each.is_whole for each in further)
        yield track.series.tell(samples, now.unix_ns, is_whole=is_whole)

    def _of_container(self, track: ContainerTrack, reading: Reading, measured: Measured, now: Moment) -> Told:
        resource = track.resource
        if track.series is not None and track.series.resource != resource:
            yield track.series.finish((), now.unix_ns, now.unix_ns, now.unix_ns)
            track.series = None
        series = self._series(track, now)
        target = (track.pod.pod.uid, track.container.id)
        further = [source.get(target, _NOT_MEASURED) for source in measured]
        samples = chain(cgroup_samples.of_container(reading), *(each.samples for each in further))
        is_whole = reading.is_whole and all(each.is_whole for each in further)
        yield series.tell(samples, now.unix_ns, is_whole=is_whole)

    def _series(self, track: ContainerTrack, now: Moment) -> ResourceSeries:
        if track.series is None:
            began = start(track.container.cgroup, self._since_boot_ns, now)
            track.series = ResourceSeries("container", track.resource, began)
            track.series.last_ns = track.pod.ended_ns.get(track.container.name or track.container.id, 0)
        return track.series

    @property
    def _since_boot_ns(self) -> int | None:
        attached = [source.since_boot_ns for source in self._sources]
        return max((ns for ns in attached if ns is not None), default=None)

    # What is gone

    def _removed(self, removed: Removed, now: Moment) -> Told:
        last = [*chain(*(source.take_last(removed) for source in self._sources))]
        if removed.container_id is None:
            pod = self._pods.pop(key(removed.cgroup), None)
            if pod is not None and pod.series is not None:
                ns = now.unix(removed.ns)
                yield pod.series.finish(last, ns, ns, now.unix_ns)
        else:
            track = self._containers.pop(key(removed.cgroup), None)
            if track is not None:
                track.pod.containers.pop(key(removed.cgroup), None)
                yield self._container_removed(track, last, removed.ns, now)
        self._reader.forget(removed.cgroup.path)

    def _container_removed(
        self, track: ContainerTrack, samples: list[Sample], removed_ns: int, now: Moment
    ) -> ResourceMeasurements | None:
        read_ns, reading = self._endings.take(track.container) or (removed_ns, None)
        if reading is not None:
            track.pod.add_throttling(track, reading)
            self._events.judge(track, reading, Moment(now.unix(read_ns), read_ns))
            samples += cgroup_samples.of_container(reading)
        track.pod.throttled.forget(track.container.id)
        self._events.ended(track, now.unix(removed_ns), removed_ns)
        return self._finish(track, samples, (now.unix(read_ns), now.unix(removed_ns)), now)

    def _finish(
        self, track: ContainerTrack, last: Sequence[Sample], times_ns: tuple[int, int], now: Moment
    ) -> ResourceMeasurements | None:
        """Tell the last values and the end of a container that was told of, or of one that was gone too soon for it."""
        name = track.container.name or track.container.id
        if track.container.is_sandbox or track.superseded:
            return None
        if track.series is None:
            is_known = track.container.name is not None and track.pod.pod.named_ns is not None
            has_room = track.pod.ended_ns.get(name, 0) < now.unix_ns - CLOSEST_NS
            if not (last and is_known and has_room):
                return None
        series = self._series(track, now)
        finished = series.finish(last, *times_ns, now.unix_ns)
        track.pod.ended_ns[name] = series.last_ns
        track.series = None
        return finished


def _intervals(track: ContainerTrack, measured: Measured) -> Intervals | None:
    target = (track.pod.pod.uid, track.container.id)
    told = (source[target].intervals for source in measured if target in source)
    return next((each for each in told if each is not None), None)


def _age(track: ContainerTrack) -> tuple[int, int]:
    # Two that were there before the agent were seen at one moment; ids rise (fs/kernfs/dir.c).
    cgroup = track.container.cgroup
    return cgroup.seen_ns, cgroup.id or 0


def _is_ready(pod: Pod, now: Moment) -> bool:
    return pod.named_ns is not None or now.boot_ns - pod.cgroup.seen_ns >= NAME_AWAITED_NS
