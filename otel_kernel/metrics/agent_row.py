"""The agent about itself: what it lost, refused and used."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import psutil

from otel_kernel.health import Counter, Health
from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.node_rows import LAG_BOUNDS_S
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName

_PREFIX = "otel_kernel.agent."


def _name(metric: str, prefix: str = _PREFIX, **attributes: str) -> SeriesName:
    pairs = tuple((f"otel_kernel.{key.replace('_', '.')}", value) for key, value in attributes.items())
    return SeriesName(f"{prefix}{metric}", pairs)


_of_identity = partial(_name, prefix="otel_kernel.identity.")


_BY_COUNTER: Mapping[str, SeriesName] = {
    "EVENTS_RECEIVED": _name("events.received"),
    "EVENTS_LOST": _name("events.lost", loss_kind="kernel"),
    "EVENTS_MALFORMED": _name("events.lost", loss_kind="malformed"),
    "DROPS_MISSED": _name("events.lost", loss_kind="drop_missed"),
    "DROPS_UNKNOWN": _name("events.lost", loss_kind="drop_unknown"),
    "NETWORKS_REFUSED": _name("events.lost", loss_kind="network"),
    "CONTAINERS_UNCOUNTED": _name("events.lost", loss_kind="container"),
    "CGROUPS_UNCOUNTED": _name("events.lost", loss_kind="cgroup"),
    "WAITS_UNCOUNTED": _name("events.lost", loss_kind="wait"),
    "DURATIONS_UNCOUNTED": _name("events.lost", loss_kind="duration"),
    "ENDINGS_UNREAD": _name("events.lost", loss_kind="ending"),
    "THROTTLES_UNCOUNTED": _name("events.lost", loss_kind="throttled"),
    "THROTTLES_MISSED": _name("events.lost", loss_kind="throttled_missed"),
    "STRINGS_UNREAD": _name("events.lost", loss_kind="string"),
    "WATCHES_LOST": _name("events.lost", loss_kind="watch"),
    "BUNDLES_UNREADABLE": _name("events.lost", loss_kind="bundle"),
    "RECORDING_FAILURES": _name("events.lost", loss_kind="recording"),
    "PROBE_MISSES": _name("probe.misses"),
    "BIRTHS": _name("births.exported"),
    "UNRESOLVED": _name("births.unresolved"),
    "NOT_BIRTH": _name("lineages.dropped", drop_kind="not_birth"),
    "NOT_KUBERNETES": _name("lineages.dropped", drop_kind="not_kubernetes"),
    "DAEMON_CALLS_UNMATCHED": _name("daemon_calls", drop_kind="unmatched"),
    "DAEMON_CALLS_DROPPED": _name("daemon_calls", drop_kind="dropped"),
    "EXPORT_RETRIES": _name("export.failures", signal="traces", failure_kind="retried"),
    "EXPORT_REFUSED": _name("export.failures", signal="traces", failure_kind="refused"),
    "EXPORT_DROPPED": _name("export.failures", signal="traces", failure_kind="dropped"),
    "SPANS_REJECTED": _name("export.failures", signal="traces", failure_kind="rejected"),
    "METRICS_RETRIES": _name("export.failures", signal="metrics", failure_kind="retried"),
    "METRICS_REFUSED": _name("export.failures", signal="metrics", failure_kind="refused"),
    "METRICS_DROPPED": _name("export.failures", signal="metrics", failure_kind="dropped"),
    "METRICS_EXPIRED": _name("export.failures", signal="metrics", failure_kind="expired"),
    "POINTS_REJECTED": _name("export.failures", signal="metrics", failure_kind="rejected"),
    "LOGS_RETRIES": _name("export.failures", signal="logs", failure_kind="retried"),
    "LOGS_REFUSED": _name("export.failures", signal="logs", failure_kind="refused"),
    "LOGS_DROPPED": _name("export.failures", signal="logs", failure_kind="dropped"),
    "RECORDS_REJECTED": _name("export.failures", signal="logs", failure_kind="rejected"),
    "FILE_FAILURES": _name("export.failures", signal="all", failure_kind="file"),
}


def series_of(counter: Counter) -> SeriesName:
    """Return the series in which a counter is told; one without a place of its own is told by its name."""
    return _BY_COUNTER.get(counter.name) or _name("counts", counter=counter.name.lower())


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """What only the source of events knows of itself."""

    births_open: int | None = None
    map_bytes: Mapping[str, int] = field(default_factory=dict)  # by map
    program_runs: Mapping[str, int] = field(default_factory=dict)  # by program, with OTEL_KERNEL_BPF_STATS
    program_run_ns: Mapping[str, int] = field(default_factory=dict)
    program_misses: Mapping[str, int] = field(default_factory=dict)
    identity_lags: Mapping[str, Distribution] = field(default_factory=dict)  # by source


@dataclass(slots=True)
class AgentRow:
    """Measures the agent."""

    health: Health
    judge: Judge
    process: psutil.Process = field(default_factory=psutil.Process)
    _lags: list[int] = field(default_factory=lambda: [0] * (len(LAG_BOUNDS_S) + 1))
    _lag_sum_s: float = 0.0

    @property
    def began_unix_ns(self) -> int:
        """When the agent began."""
        return round(self.process.create_time() * 1e9)

    def named(self, lag_s: float) -> None:
        """Count how long it took until a pod's name was known."""
        self._lags[bisect_left(LAG_BOUNDS_S, lag_s)] += 1
        self._lag_sum_s += lag_s

    def samples(self, pods: int, figures: SourceFigures) -> Iterator[Sample]:
        """Yield all that is known."""
        for counter, count in self.health.snapshot().items():
            yield Sample(series_of(counter), count)
        yield Sample(_name("identity.lag"), Distribution(tuple(self._lags), self._lag_sum_s))
        yield from self._identity(figures)
        yield Sample(_name("pods"), pods)
        yield from self._readers()
        yield from _of_source(figures)
        yield from self._own()

    def _identity(self, figures: SourceFigures) -> Iterator[Sample]:
        for source, lags in figures.identity_lags.items():
            yield Sample(_of_identity("lag", identity_source=source), lags)
        for source, count in self.health.answers().items():
            yield Sample(_of_identity("answers", identity_source=source), count)
        for (source, kind), count in self.health.failures().items():
            yield Sample(_of_identity("failures", identity_source=source, failure_kind=kind), count)

    def _readers(self) -> Iterator[Sample]:
        for reader, record in self.judge.records.items():
            yield Sample(_name("reader.failures", reader=reader), record.failures)
            yield Sample(_name("reader.time", reader=reader), record.time_ns / 1e9)

    def _own(self) -> Iterator[Sample]:
        times = self.judge.call("psutil cpu_times", self.process.cpu_times)
        if times is not None:
            yield Sample(SeriesName("process.cpu.time", (("cpu.mode", "user"),)), times.user)
            yield Sample(SeriesName("process.cpu.time", (("cpu.mode", "system"),)), times.system)
        memory = self.judge.call("psutil memory_info", self.process.memory_info)
        if memory is not None:
            yield Sample(SeriesName("process.memory.usage"), memory.rss)


def _of_source(figures: SourceFigures) -> Iterator[Sample]:
    if figures.births_open is not None:
        yield Sample(_name("births.open"), figures.births_open)
    for bpf_map, size_bytes in figures.map_bytes.items():
        yield Sample(_name("bpf.map.memory", bpf_map=bpf_map), size_bytes)
    for program, runs in figures.program_runs.items():
        yield Sample(_name("bpf.program.runs", bpf_program=program), runs)
    for program, run_ns in figures.program_run_ns.items():
        yield Sample(_name("bpf.program.run.time", bpf_program=program), run_ns / 1e9)
    for program, misses in figures.program_misses.items():
        yield Sample(_name("bpf.program.misses", bpf_program=program), misses)
