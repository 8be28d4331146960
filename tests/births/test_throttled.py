"""A birth slowed by its own CPU limit says so: intervals without CPU time are spans of what stood still."""

from otel_kernel.births.trace import Span, Trace
from otel_kernel.kernel.events import THROTTLED_TOLD
from tests.births import invariants
from tests.births.story import MS, OFFSET, Story, assemble, container_id, named, only, parent_of

APP = container_id("app")
POD_CGROUP = 7000
INTERVALS, TIME = "otel_kernel.throttled.intervals", "otel_kernel.throttled.time"


def born(story: Story) -> Trace:
    """Return the one trace of a story."""
    _, (trace,) = assemble(story)
    invariants.check(trace)
    return trace


def container_of(story: Story) -> int:
    """Create and start a container; return the id of its cgroup and leave the clock at its entry point."""
    runtime_and_init = story.create(APP, "app")
    story.start(APP, runtime_and_init[1])
    return runtime_and_init[1].cgroup


def throttled(trace: Trace) -> list[Span]:
    """Return the spans of intervals."""
    return named(trace, "throttled")


def test_an_interval_lies_in_the_unit_of_its_container() -> None:
    """It has its exact start, length and CPU, and is a wait of the container's."""
    story = Story().pod_cgroup().born_sandbox()
    began = story.now
    cgroup = container_of(story)
    story.throttled(cgroup, began + 8 * MS, 3.5, cpu=7)
    trace = born(story)
    span = only(trace, "throttled")
    assert (span.start_unix_ns, span.end_unix_ns) == (began + 8 * MS + OFFSET, began + round(11.5 * MS) + OFFSET)
    assert span.attributes == {"otel_kernel.level": "wait", TIME: 0.0035, "cpu.logical_number": 7}
    unit = parent_of(trace, span)
    assert unit.name == "container app"
    assert span.container_id == APP
    assert (unit.attributes[INTERVALS], unit.attributes[TIME]) == (1, 0.0035)
    assert "otel_kernel.throttled.truncated" not in unit.attributes


def test_what_the_pod_s_own_limit_did_lies_beneath_the_birth() -> None:
    """Nobody can say which of its containers would have run."""
    story = Story().pod_cgroup().born_sandbox()
    story.throttled(POD_CGROUP, story.now, 2)
    story.born_container("app")
    trace = born(story)
    root = parent_of(trace, only(trace, "throttled"))
    assert root is trace.spans[0]
    assert (root.attributes[INTERVALS], root.attributes[TIME]) == (1, 0.002)


def test_two_cpus_may_stand_still_at_once() -> None:
    """Their time is the sum over CPUs, as cpu.stat has it."""
    story = Story().pod_cgroup().born_sandbox()
    began = story.now
    cgroup = container_of(story)
    for cpu in (0, 1):
        story.throttled(cgroup, began + 2 * MS, 4, number=cpu, cpu=cpu)
    trace = born(story)
    assert [span.attributes["cpu.logical_number"] for span in throttled(trace)] == [0, 1]
    assert only(trace, "container app").attributes[TIME] == 0.008


def test_an_interval_that_outlasts_its_unit_does_not_stretch_it() -> None:
    """The span is cut where the unit ends; the attribute has the whole length."""
    plain = Story().pod_cgroup().born_sandbox()
    container_of(plain)
    story = Story().pod_cgroup().born_sandbox()
    cgroup = container_of(story)
    story.throttled(cgroup, story.now - 1 * MS, 50)
    trace, expected = born(story), born(plain)
    unit, span = only(trace, "container app"), only(trace, "throttled")
    assert unit.end_unix_ns == only(expected, "container app").end_unix_ns == span.end_unix_ns
    assert span.attributes[TIME] == 0.05


def test_what_comes_after_the_entry_point_is_no_part_of_the_birth() -> None:
    """The container's own life is told by metrics, while other units of the birth are still open."""
    story = Story().pod_cgroup().born_sandbox()
    cgroup = container_of(story)
    story.throttled(cgroup, story.now + 5 * MS, 20)
    story.after(40).born_container("other")
    trace = born(story)
    assert throttled(trace) == []
    assert INTERVALS not in only(trace, "container app").attributes


def test_more_intervals_than_are_told() -> None:
    """The kernel tells the first ones; the unit says that there were more."""
    story = Story().pod_cgroup().born_sandbox()
    began = story.now
    cgroup = container_of(story)
    story.throttled(cgroup, began + 8 * MS, 1, number=THROTTLED_TOLD - 1)
    assert only(born(story), "container app").attributes["otel_kernel.throttled.truncated"] is True


def test_nobody_s_interval_is_no_loss() -> None:
    """A pod whose birth is over, or that was there before, is throttled for the metrics only."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("app")
    story.throttled(99_999, story.now, 3)
    assembly, (trace,) = assemble(story)
    assert throttled(trace) == []
    assert assembly.counters.unattributed == 0
