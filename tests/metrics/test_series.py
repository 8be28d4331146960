"""The series of one resource."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.metrics.points import Exemplar, Histogram, Number, ResourceMeasurements
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName
from otel_kernel.metrics.series import STEP_NS, ResourceSeries, RunningTotal, Start

SYSCALLS = SeriesName("otel_kernel.container.syscalls", (("otel_kernel.syscall.name", "read"),))
WAITS = SeriesName("otel_kernel.container.run_queue.duration")
USAGE = SeriesName("container.memory.usage")
BIRTHS = SeriesName("otel_kernel.births", (("otel_kernel.birth.completion", "quiet"),))
DROPS = SeriesName("otel_kernel.pod.network.drops", (("otel_kernel.drop.reason", "NO_SOCKET"),))
OTHER_DROPS = SeriesName("otel_kernel.pod.network.drops", (("otel_kernel.drop.reason", "_OTHER"),))
RESOURCE = {"service.instance.id": "x"}
T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def told(measured: ResourceMeasurements | None) -> list[Number | Histogram]:
    """Return all points."""
    if measured is None:
        return []
    return [point for scope in measured.scopes.values() for each in scope for point in each.points]


def series(start: Start = Start(T0, T0 + 5)) -> ResourceSeries:  # noqa: B008 - frozen
    """Return the series of a container."""
    return ResourceSeries("container", RESOURCE, start)


def test_files_and_ebpf_start_apart() -> None:
    """What the kernel counted from a cgroup's making starts there, what we count at our attaching."""
    of = series()
    points = told(of.tell([Sample(SYSCALLS, 0), Sample(USAGE, 7)], T0 + SECOND))
    assert [(point.start_unix_ns, point.time_unix_ns) for point in points] == [(T0 + 5, T0 + SECOND), (T0, T0 + SECOND)]


def test_counters_of_what_is_attached_begin_at_zero() -> None:
    """A count of zero is a point."""
    (point,) = told(series().tell([Sample(SYSCALLS, 0)], T0 + SECOND))
    assert isinstance(point, Number)
    assert (point.value, dict(point.attributes)) == (0, {"otel_kernel.syscall.name": "read"})


def test_a_series_that_is_not_told_any_more_ends_once() -> None:
    """A series that is not among the samples gets one point without a value; when it comes back it keeps its start."""
    of = series()
    of.tell([Sample(SYSCALLS, 3), Sample(USAGE, 1)], T0 + SECOND)
    points = told(of.tell([Sample(USAGE, 2)], T0 + 2 * SECOND))
    assert [point.value for point in points if isinstance(point, Number)] == [2, None]
    assert len(told(of.tell([Sample(USAGE, 3)], T0 + 3 * SECOND))) == 1
    again, _ = told(of.tell([Sample(SYSCALLS, 4), Sample(USAGE, 4)], T0 + 4 * SECOND))
    assert again.start_unix_ns == T0 + 5


def test_ever_new_series_are_forgotten() -> None:
    """A resource whose series never come twice keeps a bounded number of those that ended."""
    of = series()
    for number in range(1000):
        name = SeriesName("otel_kernel.container.syscalls", (("otel_kernel.syscall.name", str(number)),))
        of.tell([Sample(name, number), Sample(USAGE, 1)], T0 + number * SECOND)
    assert len(of._series) <= 260


def test_what_could_not_be_read_does_not_end() -> None:
    """Samples that are not whole end nothing."""
    of = series()
    of.tell([Sample(SYSCALLS, 3)], T0 + SECOND)
    assert told(of.tell([], T0 + 2 * SECOND, is_whole=False)) == []


def test_a_histogram() -> None:
    """Counts and sum are told between the catalogue's bounds; its end has neither."""
    of = series()
    counts = tuple(range(20))
    exemplar = Exemplar(T0, 0.5, b"t" * 16, b"s" * 8, {})
    (point,) = told(of.tell([Sample(WAITS, Distribution(counts, 1.5, (exemplar,)))], T0 + SECOND))
    assert isinstance(point, Histogram)
    assert (point.counts, point.sum, point.exemplars, len(point.bounds)) == (counts, 1.5, (exemplar,), 19)
    (end,) = told(of.finish((), T0, T0, T0 + 2 * SECOND))
    assert isinstance(end, Histogram)
    assert (end.counts, end.sum) == (None, None)


def test_a_histogram_that_goes_back_starts_anew() -> None:
    """One bucket that fell is enough."""
    of = series()
    of.tell([Sample(WAITS, Distribution((5, *[0] * 19), 1.0))], T0 + SECOND)
    (point,) = told(of.tell([Sample(WAITS, Distribution((4, 9, *[0] * 18), 2.0))], T0 + 2 * SECOND))
    assert point.start_unix_ns == T0 + SECOND


def test_what_goes_up_and_down_keeps_its_start() -> None:
    """A smaller amount of memory is no other memory."""
    of = series()
    of.tell([Sample(USAGE, 9)], T0 + SECOND)
    (point,) = told(of.tell([Sample(USAGE, 3)], T0 + 2 * SECOND))
    assert point.start_unix_ns == T0


def test_a_first_birth_has_a_zero_before_it() -> None:
    """A rate over births is not zero: the first of its kind is preceded by a zero at the collection before."""
    of = ResourceSeries("node", RESOURCE, Start(T0, T0))
    of.tell([], T0 + SECOND)
    points = told(of.tell([Sample(BIRTHS, 1)], T0 + 2 * SECOND))
    assert [(point.time_unix_ns, point.value) for point in points if isinstance(point, Number)] == [
        (T0 + SECOND, 0),
        (T0 + 2 * SECOND, 1),
    ]
    assert {point.start_unix_ns for point in points} == {T0}


def test_a_kind_that_is_new_has_a_zero_before_it() -> None:
    """A kind of drops that nobody could name before stood at zero; what is there from the first has no such past."""
    of = series()
    (first,) = told(of.tell([Sample(OTHER_DROPS, 3)], T0 + SECOND))
    assert (first.start_unix_ns, first.time_unix_ns) == (T0 + 5, T0 + SECOND)
    points = told(of.tell([Sample(OTHER_DROPS, 3), Sample(DROPS, 7)], T0 + 2 * SECOND))
    assert [(point.time_unix_ns, point.value) for point in points if isinstance(point, Number)] == [
        (T0 + 2 * SECOND, 3),
        (T0 + SECOND, 0),
        (T0 + 2 * SECOND, 7),
    ]
    assert {point.start_unix_ns for point in points} == {T0 + 5}
    assert len(told(of.tell([Sample(OTHER_DROPS, 3), Sample(DROPS, 8)], T0 + 3 * SECOND))) == 2


@given(st.lists(st.integers(-20, 40), min_size=2, max_size=2), st.integers(1, 20), st.booleans())
def test_an_end_lies_between_what_was_told_and_what_comes(times: list[int], gap: int, has_last: bool) -> None:
    """Whatever times an end is said to have, its points lie after the last told and before now, in their order."""
    of = series()
    of.tell([Sample(SYSCALLS, 1)], T0)
    now_ns = T0 + 5 * STEP_NS * gap
    last = [Sample(SYSCALLS, 2)] if has_last else []
    at = [T0 + each * STEP_NS for each in times]
    stamps = [point.time_unix_ns for point in told(of.finish(last, at[0], at[1], now_ns))]
    assert len(stamps) == 1 + has_last
    for before, after in zip([T0, *stamps], [*stamps, now_ns], strict=True):
        assert after - before >= STEP_NS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans())))
def test_a_running_total_never_goes_back(steps: list[tuple[str, int, bool]]) -> None:
    """However containers come, go and begin anew, the sum only rises."""
    total, before = RunningTotal(), 0
    for whose, figure, gone in steps:
        total.add(whose, (figure,))
        if gone:
            total.forget(whose)
        assert total.value is not None
        assert total.value[0] >= before
        before = total.value[0]


def test_a_running_total_is_the_sum() -> None:
    """It is the sum of what the containers have, and of what those had that are gone."""
    total = RunningTotal()
    total.add("a", (5, 1))
    total.add("b", (7, 2))
    total.add("a", (6, 1))
    total.forget("a")
    total.add("c", (1, 0))
    assert total.value == (14, 3)
    total.add("pod", (100, 50), counts=False)
    assert total.value == (14, 3)


def test_a_sum_of_nothing_is_nothing() -> None:
    """Where no container had anything to be summed there is no sum, rather than zero."""
    total = RunningTotal()
    total.add("pod", (5,), counts=False)
    assert total.value is None


def test_numbers_and_distributions_are_not_mixed() -> None:
    """A series that changes its kind is a mistake, and is said to be one."""
    of = series()
    of.tell([Sample(WAITS, Distribution((1,) * 20, 1.0))], T0 + SECOND)
    with pytest.raises(TypeError):
        of.tell([Sample(WAITS, 3)], T0 + 2 * SECOND)
