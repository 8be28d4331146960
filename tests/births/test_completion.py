"""When a birth is over, and what is then said about it."""

import pytest

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.trace import Trace
from otel_kernel.kernel.events import Loss, Role
from tests.births import invariants
from tests.births.story import OFFSET, SANDBOX, SECOND, STATE, UID, Story, assemble, container_id, feed, only, pod_facts

COMPLETION = "otel_kernel.birth.completion"
COMPLETE = "otel_kernel.birth.complete"


def fed(story: Story, settings: AssemblySettings | None = None) -> Assembly:
    """Return an assembly that was fed a story of which nothing was due meanwhile."""
    assembly = Assembly(settings or AssemblySettings(), lambda: OFFSET)
    assert feed(assembly, story.events) == []
    return assembly


def root(trace: Trace) -> dict[str, object]:
    """Return the attributes of a trace's root."""
    return dict(trace.spans[0].attributes)


def test_a_birth_is_quiet_five_seconds_after_its_last_event() -> None:
    """Nothing is due a nanosecond before the quiet period is over; completeness is then absent, for nobody knows."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("app")
    assembly = fed(story)
    at_ns = assembly.next_deadline_ns
    assert at_ns is not None
    assert assembly.due(at_ns - 1) == []
    (told,) = assembly.due(at_ns)
    assert root(told)[COMPLETION] == "quiet"
    assert COMPLETE not in root(told)
    assert assembly.next_deadline_ns is None


def test_cgroup_volumes_and_sandbox_never_begin_the_quiet_period() -> None:
    """A pod whose containers have yet to come, say because an image is pulled, is waited for until the timeout."""
    story = Story().pod_cgroup()
    story.volumes()
    story.born_sandbox()
    assembly = fed(story)
    assert assembly.due(story.now + 500 * SECOND) == []
    (told,) = assembly.due(story.now + 601 * SECOND)
    assert root(told)[COMPLETION] == "timeout"
    assert root(told)[COMPLETE] is False
    assert told.spans[0].error is None


def test_a_container_that_is_being_made_keeps_the_birth_open() -> None:
    """While a runtime still runs without an entry point, silence is not quiet."""
    story = Story().born_sandbox()
    story.born_container("one")
    story.create(container_id("two"), "two")
    assembly = fed(story)
    assert assembly.due(story.now + 60 * SECOND) == []
    assert root(assembly.due(story.now + 700 * SECOND)[0])[COMPLETION] == "timeout"


def test_a_lost_end_does_not_keep_a_birth_open() -> None:
    """When events were lost the end of what seems to run may be among them: then quiet is quiet."""
    story = Story().born_sandbox()
    story.born_container("one")
    story.create(container_id("two"), "two")
    story.events.append(Loss(story.now, 3, 0))
    assembly = fed(story)
    (told,) = assembly.due(story.now + 6 * SECOND)
    assert root(told)[COMPLETION] == "quiet"
    assert root(told)["otel_kernel.birth.events.lost"] == 3
    assert told.spans[0].error is None


def test_losses_before_a_birth_are_not_its_own() -> None:
    """The ledger counts what was lost while the birth was open."""
    story = Story()
    story.events.append(Loss(story.now, 7, 2))
    story.born_sandbox()
    story.born_container("app")
    story.events.append(Loss(story.now, 9, 2))
    _, (told,) = assemble(story)
    assert root(told)["otel_kernel.birth.events.lost"] == 2
    assert root(told)["otel_kernel.birth.probe_misses"] == 0


def test_removal_of_the_pod_begins_the_quiet_period() -> None:
    """A pod that is deleted before any container has started is told all the same."""
    story = Story().pod_cgroup().born_sandbox().pod_cgroup("rmdir")
    assembly = fed(story)
    (told,) = assembly.due(story.now + 6 * SECOND)
    assert root(told)[COMPLETION] == "quiet"


def test_shutdown_exports_what_is_open() -> None:
    """At shutdown an unfinished birth is exported as far as it came."""
    story = Story().born_sandbox()
    story.create(container_id("app"), "app")
    (told,) = fed(story).close()
    invariants.check(told)
    assert root(told)[COMPLETION] == "shutdown"
    assert root(told)[COMPLETE] is False
    assert root(told)["otel_kernel.birth.processes.running"] == 1
    assert told.spans[0].error is None
    assert only(told, "container app").error is None


def test_a_birth_is_known_when_all_of_the_spec_has_started() -> None:
    """With the spec known a birth is over with the last of its containers, and complete."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("one")
    story.born_container("two")
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    assembly.feed(pod_facts("one", "two"))
    assert feed(assembly, story.events) == []
    (told,) = assembly.due(story.now)
    assert root(told)[COMPLETION] == "known"
    assert root(told)[COMPLETE] is True


def test_quiet_waits_for_the_containers_of_the_spec() -> None:
    """While the spec says that containers are still to come, only a failed one lets quiet end the birth."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("one")
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    feed(assembly, story.events)
    assembly.feed(pod_facts("one", "two"))
    assert assembly.due(story.now + 60 * SECOND) == []


def test_a_pod_that_was_there_before_the_agent_has_no_birth() -> None:
    """A container that starts in a pod older than the agent is a container start, by a hashed id, without a link."""
    story = Story()
    story.facts(source="cgroup-path", pod_uid=UID, cgroup_id=7000)
    story.facts(source="cgroup-path", container_id=SANDBOX, pod_uid=UID, cgroup_id=7001)
    started_ns = story.now
    story.after(5000)
    story.shim = story.start_shim()
    story.events[2:] = []
    story.shim.role = Role.DAEMON
    story.born_container("late")
    _, (told,) = assemble(story, AssemblySettings(started_ns=started_ns))
    invariants.check(told)
    assert told.spans[0].name == "container start"
    assert told.spans[0].attributes["otel_kernel.level"] == "unit"
    assert told.spans[0].links == ()
    assert told.trace_id.hex() != UID.replace("-", "")


def test_a_sandbox_half_seen_says_so_and_counts_nothing() -> None:
    """A birth that had begun before the agent did is told with `agent_started`: incomplete, and without any count."""
    story = Story()
    story.facts(source="cgroup-path", pod_uid=UID, cgroup_id=7000)
    started_ns = story.now
    story.after(10).born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story, AssemblySettings(started_ns=started_ns))
    assert root(told)[COMPLETION] == "agent_started"
    assert root(told)[COMPLETE] is False
    assert "otel_kernel.birth.syscalls" not in root(told)
    assert "otel_kernel.birth.mounts" not in root(told)
    assert told.trace_id.hex() != UID.replace("-", "")
    assert told.pod["k8s.pod.uid"] == UID


@pytest.mark.parametrize(("after_ms", "completed"), [(100, "agent_started"), (60_000, "quiet")])
def test_a_start_without_its_making_is_not_red(after_ms: int, completed: str) -> None:
    """Of a container that was made before the agent looked, a missing entry point proves nothing."""
    story = Story()
    shim = story.start_shim()
    shim.role = Role.DAEMON
    story.events.clear()
    started_ns = story.now
    story.after(after_ms)
    identifier = container_id("two")
    story._bundle_told(identifier, "two")
    story._runtime(f"runc start {identifier}").exit()
    _, (told,) = assemble(story, AssemblySettings(started_ns=started_ns))
    assert told.spans[0].name == "container start"
    assert told.spans[0].error is None
    assert root(told)[COMPLETION] == completed


def test_what_is_taken_down_within_the_birth_belongs_to_it() -> None:
    """A container that ends before the birth is over is unmounted by its daemon: its unit ends with that."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("setup")
    assert story.shim is not None
    story.after(900).daemon("umount2", key=story.shim.key, target=f"{STATE}/{container_id('setup')}/rootfs")
    taken_down_ns = story.now
    assembly, (told,) = assemble(story)
    assert only(told, "container setup").end_unix_ns == taken_down_ns + OFFSET
    duration = root(told)["otel_kernel.birth.duration"]
    assert isinstance(duration, float)
    assert duration < 0.1
    assert assembly.counters.daemon_calls_unmatched == 0
