"""The series of one resource over time: where each starts, whether it went back, and when it has ended.

Prometheus keeps time in milliseconds and knows a series by its labels alone, which a container shares with the one that
follows it: so what ends is stamped a millisecond or more before what comes next.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from otel_kernel.metrics.catalogue import BY_NAME, Metric
from otel_kernel.metrics.points import Attributes, Histogram, Level, Measurement, Number, ResourceMeasurements, Value
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName

STEP_NS = 1_000_000
# Between two collections lie the last value of a series, its end, and what follows it.
CLOSEST_NS = 5 * STEP_NS

# Ended series are remembered, because they may go on. A pod that gives its devices ever new names makes ever more.
_ENDED_KEPT = 256

Point = Number | Histogram


@dataclass(slots=True)
class _Series:
    metric: Metric
    attributes: Attributes
    is_monotonic: bool
    start_ns: int
    value: float | Distribution
    at_ns: int
    look: int = 0  # the last one in which it was told
    live: bool = True


@dataclass(frozen=True, slots=True)
class Start:
    """Since when the counters of a resource count, Unix nanoseconds. None: since they are first seen."""

    files_ns: int | None  # those that the kernel keeps with a cgroup: since that was made
    ebpf_ns: int | None  # ours: since the later of that and our attaching

    def of(self, metric: Metric, now_ns: int) -> int:
        """Return since when a series of this metric counts that is first seen now."""
        known = self.ebpf_ns if metric.source == "ebpf" else self.files_ns
        return now_ns if known is None else min(known, now_ns)


@dataclass(slots=True)
class Points:
    """The points of one resource in one collection, by metric."""

    level: Level
    resource: Attributes
    by_metric: dict[Metric, list[Point]] = field(default_factory=dict)

    def add(self, metric: Metric, point: Point) -> None:
        """Take one more point."""
        points = self.by_metric.get(metric)
        if points is None:
            self.by_metric[metric] = [point]
        else:
            points.append(point)

    def told(self) -> ResourceMeasurements | None:
        """Return them; None when there are none."""
        if not self.by_metric:
            return None
        scopes: dict[str, list[Measurement]] = {}
        for metric, points in self.by_metric.items():
            scopes.setdefault(metric.scope, []).append(Measurement(metric.name, tuple(points)))
        return ResourceMeasurements(
            self.level, self.resource, {scope: tuple(measured) for scope, measured in scopes.items()}
        )


class ResourceSeries:
    """All series of one resource, from its first point to its end."""

    def __init__(self, level: Level, resource: Attributes, start: Start) -> None:
        self.resource = resource
        self._level: Level = level
        self._start = start
        self._series: dict[SeriesName, _Series] = {}
        self._looks = 0
        self.last_ns = 0

    def tell(self, samples: Iterable[Sample], now_ns: int, *, is_whole: bool = True) -> ResourceMeasurements | None:
        """Return the points of these samples; when they are whole, also the ends of series that are not among them."""
        points = Points(self._level, self.resource)
        told = self._take(samples, now_ns, points)
        if is_whole and told < len(self._series):
            for series in self._series.values():
                if series.live and series.look != self._looks:
                    self._end(series, now_ns, points)
            if len(self._series) - told > _ENDED_KEPT:
                self._series = {name: series for name, series in self._series.items() if series.live}
        self.last_ns = now_ns
        return points.told()

    def finish(self, last: Sequence[Sample], last_ns: int, end_ns: int, now_ns: int) -> ResourceMeasurements | None:
        """Return the last values, and the end of every series, stamped before now and after all that was told."""
        points = Points(self._level, self.resource)
        after_ns = self.last_ns
        if last:
            after_ns = min(max(last_ns, self.last_ns + STEP_NS), now_ns - 3 * STEP_NS)
            self._take(last, after_ns, points)
        end_ns = min(max(end_ns, after_ns + STEP_NS), now_ns - STEP_NS)
        for series in self._series.values():
            if series.live:
                self._end(series, end_ns, points)
        self.last_ns = end_ns
        return points.told()

    def _take(self, samples: Iterable[Sample], now_ns: int, points: Points) -> int:
        """Return how many there were."""
        self._looks += 1
        look, known, add = self._looks, self._series, points.add
        count = 0
        for name, value, read_ns in samples:
            count += 1
            series = known.get(name)
            at_ns = now_ns if read_ns is None else _stamp(series, value, read_ns, now_ns)
            if series is None:
                series = self._begin(name, value, now_ns)
                if value != 0 and self._was_zero(series):
                    add(series.metric, self._zero(series, now_ns))
            elif series.is_monotonic and _went_back(series.value, value):
                # Another counter took its place some time after the last look.
                series.start_ns = series.at_ns
            series.value, series.at_ns, series.look, series.live = value, at_ns, look, True
            add(series.metric, _point(series))
        return count

    def _begin(self, name: SeriesName, value: float | Distribution, now_ns: int) -> _Series:
        metric = BY_NAME[name.metric]
        start_ns = self._start.of(metric, now_ns)
        series = _Series(metric, _attributes(name.attributes), metric.monotonic, start_ns, value, now_ns)
        self._series[name] = series
        return series

    def _was_zero(self, series: _Series) -> bool:
        """Whether a series that is first seen now stood at zero before, nobody having known its attributes."""
        return series.metric.source == "births" or (series.metric.source == "ebpf" and self._looks > 1)

    def _zero(self, series: _Series, now_ns: int) -> Point:
        # A rate needs a point before the first birth. That there had been none at the last collection is known.
        at_ns = min(max(series.start_ns, self.last_ns), now_ns - STEP_NS)
        zero = Distribution((0,) * (len(series.metric.bounds) + 1), 0.0) if series.metric.kind == "histogram" else 0
        start_ns = min(series.start_ns, at_ns)
        return _point(_Series(series.metric, series.attributes, series.is_monotonic, start_ns, zero, at_ns))

    @staticmethod
    def _end(series: _Series, at_ns: int, points: Points) -> None:
        series.live = False
        if series.metric.kind == "histogram":
            bounds = series.metric.bounds
            points.add(series.metric, Histogram(series.attributes, series.start_ns, at_ns, bounds, None, None))
        else:
            points.add(series.metric, Number(series.attributes, series.start_ns, at_ns, None))


@lru_cache(maxsize=4096)
def _attributes(pairs: tuple[tuple[str, Value], ...]) -> Attributes:
    """Return attributes as a mapping, which all series share that have them."""
    return MappingProxyType(dict(pairs))


def _stamp(series: _Series | None, value: float | Distribution, read_ns: int, now_ns: int) -> int:
    """Return the time of a value that was read earlier: that, unless something else of its series was told since."""
    if series is None or not series.live:
        return now_ns
    at_ns = max(min(read_ns, now_ns), series.at_ns)
    return at_ns if at_ns > series.at_ns or value == series.value else now_ns


def _point(series: _Series) -> Point:
    value = series.value
    if isinstance(value, Distribution):
        counts, total, exemplars = value
        bounds = series.metric.bounds
        return Histogram(series.attributes, series.start_ns, series.at_ns, bounds, counts, total, exemplars)
    return Number(series.attributes, series.start_ns, series.at_ns, value)


def _went_back(before: float | Distribution, now: float | Distribution) -> bool:
    if not isinstance(before, tuple):  # quicker than to ask for a Distribution, and nearly always so
        if isinstance(now, tuple):
            raise TypeError("a series is either of numbers or of distributions")
        return now < before
    if not isinstance(now, tuple):
        raise TypeError("a series is either of numbers or of distributions")
    return any(ours < theirs for ours, theirs in zip(now.counts, before.counts, strict=True))


class RunningTotal:
    """A sum over containers that keeps what ended ones had, and never goes back."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, ...]] = {}
        self._total: tuple[int, ...] | None = None

    @property
    def value(self) -> tuple[int, ...] | None:
        """The sum of each figure; None while there is nothing to sum."""
        return self._total

    def add(self, whose: str, figures: tuple[int, ...], *, counts: bool = True) -> None:
        """Take over how far one container's figures have come; without `counts` that is only remembered."""
        before = self._last.get(whose, (0,) * len(figures))
        if any(now < then for now, then in zip(figures, before, strict=True)):
            before = (0,) * len(figures)  # they began anew
        self._last[whose] = figures
        if counts:
            total = self._total or (0,) * len(figures)
            grown = zip(total, figures, before, strict=True)
            self._total = tuple(so_far + now - then for so_far, now, then in grown)

    def forget(self, whose: str) -> None:
        """Forget how far a container had come that is gone; what it had stays in the sum."""
        self._last.pop(whose, None)


def measurements(told: Iterable[ResourceMeasurements | None]) -> Iterator[ResourceMeasurements]:
    """Yield those in which something is told."""
    return (each for each in told if each is not None)
