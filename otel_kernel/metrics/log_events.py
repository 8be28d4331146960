"""What is told of a container as a log event, in the trace of its pod's birth."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from otel_kernel.metrics.births import BirthCounts
from otel_kernel.metrics.catalogue import OOM_KILL, THROTTLED, Event
from otel_kernel.metrics.cgroups import Reading
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.pod_tracks import ContainerTrack
from otel_kernel.metrics.points import LogEvent, Value
from otel_kernel.metrics.samples import Intervals
from otel_kernel.metrics.throttling import Throttled

BIRTH_AWAITED_NS = 30_000_000_000

_STATES = {
    "crossed": "is throttled",
    "above": "is still throttled",
    "left": "is no longer throttled",
}


class LogEvents:
    """Events since they were last taken."""

    def __init__(self, births: BirthCounts) -> None:
        self._births = births
        self._events: list[tuple[LogEvent, str, int]] = []  # with the pod's UID, and until when its birth is awaited

    def take(self, now_ns: int | None) -> list[LogEvent]:
        """Return what happened since the last call, or before while its pod's birth was not over; None: all of it."""
        taken: list[LogEvent] = []
        waiting = []
        for event, pod_uid, until_ns in self._events:
            trace_id, span_id = self._births.trace_of(pod_uid)
            if trace_id is None and now_ns is not None and now_ns < until_ns:
                waiting.append((event, pod_uid, until_ns))
            else:
                taken.append(replace(event, trace_id=trace_id, span_id=span_id))
        self._events = waiting
        return taken

    def judge(self, track: ContainerTrack, reading: Reading, now: Moment, intervals: Intervals | None = None) -> None:
        """Tell whether a container began or ceased to be throttled, and whether its processes were killed.

        `intervals` are those of its throttling, where these are known.
        """
        if reading.is_whole:
            told = track.throttling.judge(reading, now.boot_ns)
            if told is not None and intervals is not None:
                told = told._replace(attributes=told.attributes | _of_intervals(intervals, now))
            self._throttled(track, told, now.unix_ns)
        before, kills = track.oom_kills, reading.oom_kills
        if before is not None and kills is not None and kills > before:
            self._killed(track, kills - before, reading.limits.memory_bytes, now.unix_ns)
        track.oom_kills = kills if kills is not None else before

    def ended(self, track: ContainerTrack, now_unix_ns: int, now_boot_ns: int) -> None:
        """Tell that a container is no longer throttled because it is gone."""
        self._throttled(track, track.throttling.leave(now_boot_ns), now_unix_ns)

    def _throttled(self, track: ContainerTrack, told: Throttled | None, at_ns: int) -> None:
        if told is None:
            return
        body = f"{_called(track)} {_STATES[told.state]}: {told.percentage:.0f} % of its CPU periods"
        event = _event(THROTTLED, track, told.attributes, body, at_ns)
        self._add(replace(event, severity="info") if told.state == "left" else event, track)

    def _killed(self, track: ContainerTrack, count: int, limit_bytes: int | None, at_ns: int) -> None:
        attributes: dict[str, Value] = {"otel_kernel.oom_kill.count": count}
        if limit_bytes is not None:
            attributes["otel_kernel.memory.limit"] = limit_bytes
        what = "a process was" if count == 1 else f"{count} processes were"
        body = f"{_called(track)}: {what} killed because memory ran out"
        self._add(_event(OOM_KILL, track, attributes, body, at_ns), track)

    def _add(self, event: LogEvent, track: ContainerTrack) -> None:
        pod = track.pod.pod
        # The trace of a birth has its ids when the birth is over; that of a pod that was there before never comes.
        awaited_ns = BIRTH_AWAITED_NS if pod.cgroup.made_ns is not None else 0
        self._events.append((event, pod.uid, event.time_unix_ns + awaited_ns))


def _of_intervals(intervals: Intervals, now: Moment) -> dict[str, Value]:
    last = tuple(
        f"{_rfc3339(now.unix(start_ns))} {length_ns / 1e9:.9f} s CPU {cpu}"
        for _, start_ns, length_ns, cpu in intervals.last
    )
    prefix = "otel_kernel.throttling."
    told: dict[str, Value] = {f"{prefix}intervals": intervals.number, f"{prefix}last_intervals": last}
    if intervals.stacks is not None:
        told[f"{prefix}stacks"] = tuple(intervals.stacks)
    return told


def _rfc3339(unix_ns: int) -> str:
    seconds, ns = divmod(unix_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ns:09d}Z"


def _event(event: Event, track: ContainerTrack, attributes: Mapping[str, Value], body: str, at_ns: int) -> LogEvent:
    return LogEvent(event.name, at_ns, track.resource, event.scope, attributes, body, "warn")


def _called(track: ContainerTrack) -> str:
    name = track.pod.pod.resource.get("k8s.pod.name", track.pod.pod.uid)
    return f"container {track.container.name or track.container.id[:12]} of pod {name}"
