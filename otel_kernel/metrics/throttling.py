"""When is a container's throttling worth an event? On crossing the threshold, once a minute above, and on leaving."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from otel_kernel.metrics.cgroups import Reading
from otel_kernel.metrics.points import Value
from otel_kernel.node.cpu import Throttling

# Fewer say nothing: one of three periods is 33 %.
FEWEST_PERIODS = 10
REPEAT_NS = 60_000_000_000
_LONG_NS = 60_000_000_000

State = Literal["crossed", "above", "left"]


class Throttled(NamedTuple):
    """One interval of one container, when it is worth an event."""

    state: State
    percentage: float
    attributes: dict[str, Value]


class _Mark(NamedTuple):
    ns: int
    usage_ns: int
    throttling: Throttling


@dataclass(slots=True)
class ContainerThrottling:
    """What was seen of one container. Times are of one clock that never goes back, in nanoseconds."""

    threshold_percent: int
    _marks: list[_Mark] = field(default_factory=list)  # the last minute's, and one before it
    _is_above: bool = False
    _judged_ns: int = 0
    _told_ns: int = 0
    _last: Throttled | None = None

    def judge(self, reading: Reading, now_ns: int) -> Throttled | None:
        """Return what is to be told of the interval that ends with this reading, None when nothing is."""
        if reading.limits.cpu is None or reading.throttling is None or reading.usage_ns is None:
            return self.leave(now_ns)
        mark = _Mark(now_ns, reading.usage_ns, reading.throttling)
        before = self._marks[-1] if self._marks else None
        if before is not None and _went_back(before, mark):
            before = None
            self._marks.clear()
        self._remember(mark)
        if before is None or mark.ns <= before.ns:
            return None
        if mark.throttling.periods - before.throttling.periods < FEWEST_PERIODS:
            # Neither above nor below, but what nobody has confirmed for a minute is over.
            return self.leave(now_ns) if now_ns - self._judged_ns >= REPEAT_NS else None
        self._judged_ns = now_ns
        return self._decide(self._interval(before, mark, reading.limits.cpu), now_ns)

    def leave(self, now_ns: int) -> Throttled | None:
        """Return that it is over, when it was above: the container ended, its limit is gone, or it hardly runs."""
        if not self._is_above or self._last is None:
            return None
        self._is_above = False
        self._told_ns = now_ns
        return _told(self._last, "left")

    def _decide(self, interval: Throttled, now_ns: int) -> Throttled | None:
        was_above, self._is_above = self._is_above, interval.percentage >= self.threshold_percent
        self._last = interval
        if self._is_above and was_above and now_ns - self._told_ns < REPEAT_NS:
            return None
        if not self._is_above and not was_above:
            return None
        self._told_ns = now_ns
        return _told(interval, ("above" if was_above else "crossed") if self._is_above else "left")

    def _interval(self, before: _Mark, mark: _Mark, limit: float) -> Throttled:
        periods = mark.throttling.periods - before.throttling.periods
        throttled = mark.throttling.throttled_periods - before.throttling.throttled_periods
        percentage = 100 * throttled / periods
        prefix = "otel_kernel.throttling."
        return Throttled(
            "above",
            percentage,
            {
                f"{prefix}percentage": percentage,
                f"{prefix}throttled_ns": mark.throttling.throttled_ns - before.throttling.throttled_ns,
                f"{prefix}periods": periods,
                f"{prefix}throttled_periods": throttled,
                f"{prefix}period": (mark.ns - before.ns) / 1e9,
                f"{prefix}usage": _cores(before, mark),
                f"{prefix}usage_60s": _cores(self._marks[0], mark),
                f"{prefix}limit": limit,
            },
        )

    def _remember(self, mark: _Mark) -> None:
        self._marks.append(mark)
        while len(self._marks) > 2 and mark.ns - self._marks[1].ns >= _LONG_NS:  # noqa: PLR2004 - an interval has two ends
            del self._marks[0]


def _told(interval: Throttled, state: State) -> Throttled:
    attributes: dict[str, Value] = {"otel_kernel.throttling.state": state}
    return Throttled(state, interval.percentage, attributes | interval.attributes)


def _cores(before: _Mark, mark: _Mark) -> float:
    return (mark.usage_ns - before.usage_ns) / (mark.ns - before.ns)


def _went_back(before: _Mark, mark: _Mark) -> bool:
    pairs = zip(before.throttling, mark.throttling, strict=True)
    return mark.usage_ns < before.usage_ns or any(now < then for then, now in pairs)
