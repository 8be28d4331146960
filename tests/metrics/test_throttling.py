"""When a container's throttling becomes an event."""

import pytest

from otel_kernel.metrics.cgroups import Reading
from otel_kernel.metrics.limits import Limits
from otel_kernel.metrics.throttling import ContainerThrottling, Throttled
from otel_kernel.node.cpu import Throttling

SECOND = 1_000_000_000
PERIODS_IN_15_S = 150


class Container:
    """A container that runs for 15 s at a time."""

    def __init__(self, threshold: int = 25, limit: float | None = 0.1) -> None:
        self.throttling = ContainerThrottling(threshold)
        self.now_ns = 1000 * SECOND
        self.limit = limit
        self.usage_ns = self.periods = self.throttled = 0
        self.runs(0, periods=0)

    def runs(self, throttled: int, *, periods: int = PERIODS_IN_15_S, seconds: float = 15) -> Throttled | None:
        """Run for a while with so many throttled periods, each 50 ms of throttled time, and say what is told of it."""
        self.now_ns += round(seconds * SECOND)
        self.usage_ns += round(seconds * SECOND / 10)
        self.periods += periods
        self.throttled += throttled
        told = Throttling(self.periods, self.throttled, self.throttled * 50_000_000)
        return self.throttling.judge(Reading(self.usage_ns, told, limits=Limits(self.limit, None, 0)), self.now_ns)


def states(container: Container, *shares: int) -> list[str | None]:
    """Return what is told when so many percent of the periods of successive intervals are throttled."""
    told = [container.runs(PERIODS_IN_15_S * share // 100) for share in shares]
    return [each and each.state for each in told]


def test_once_on_crossing_once_a_minute_and_once_on_leaving() -> None:
    """Of a container that is throttled for over two minutes, five events are told."""
    container = Container()
    told = states(container, 0, 90, 90, 90, 90, 90, 90, 90, 90, 90, 0, 0)
    assert told == [None, "crossed", None, None, None, "above", None, None, None, "above", "left", None]


def test_the_threshold_belongs_to_above() -> None:
    """Exactly the threshold is above, one period less is not."""
    assert states(Container(50), 50) == ["crossed"]
    container = Container(50)
    assert container.runs(PERIODS_IN_15_S // 2 - 1) is None


def test_what_is_told() -> None:
    """Share, time, periods, the interval, use in CPUs over the interval and the minute, and the limit."""
    container = Container()
    told = container.runs(75)
    assert told is not None
    assert told.attributes == {
        "otel_kernel.throttling.state": "crossed",
        "otel_kernel.throttling.percentage": 50.0,
        "otel_kernel.throttling.throttled_ns": 75 * 50_000_000,
        "otel_kernel.throttling.periods": 150,
        "otel_kernel.throttling.throttled_periods": 75,
        "otel_kernel.throttling.period": 15.0,
        "otel_kernel.throttling.usage": pytest.approx(0.1),
        "otel_kernel.throttling.usage_60s": pytest.approx(0.1),
        "otel_kernel.throttling.limit": 0.1,
    }


def test_use_over_a_minute() -> None:
    """The mean reaches back a minute and no further."""
    container = Container()
    for _ in range(8):
        container.runs(0)
    container.usage_ns += 3 * SECOND
    told = container.runs(100)
    assert told is not None
    assert told.attributes["otel_kernel.throttling.usage"] == pytest.approx(0.3)
    assert told.attributes["otel_kernel.throttling.usage_60s"] == pytest.approx(0.15)
    for _ in range(4):
        told = container.runs(0) or told
    assert len(container.throttling._marks) <= 6


def test_few_periods_say_nothing() -> None:
    """An interval of fewer than ten periods is not judged, however many of them were throttled."""
    container = Container()
    assert container.runs(9, periods=9) is None
    assert container.runs(10, periods=10) is not None


def test_what_is_not_confirmed_for_a_minute_is_over() -> None:
    """A container that was throttled and hardly runs any more is told as left, once."""
    container = Container()
    assert states(container, 90) == ["crossed"]
    told = [container.runs(0, periods=3) for _ in range(6)]
    assert [each and each.state for each in told] == [None, None, None, "left", None, None]


def test_no_limit_no_throttling() -> None:
    """Without a limit nothing is told; a limit that is taken away ends it."""
    assert states(Container(limit=None), 90, 90) == [None, None]
    container = Container()
    states(container, 90)
    container.limit = None
    told = container.runs(0)
    assert told is not None
    assert told.state == "left"


def test_counters_that_begin_anew_are_no_interval() -> None:
    """Between counters of two cgroups there is no difference to be told of."""
    container = Container()
    states(container, 0)
    container.periods = container.throttled = container.usage_ns = 0
    assert container.runs(140) is None
    assert states(container, 90) == ["crossed"]


def test_an_end_is_told_only_of_what_was_above() -> None:
    """A container that ends is told as left when it was above."""
    container = Container()
    assert container.throttling.leave(container.now_ns) is None
    states(container, 90)
    told = container.throttling.leave(container.now_ns)
    assert told is not None
    assert told.state == "left"
    assert container.throttling.leave(container.now_ns) is None
