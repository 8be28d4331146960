"""What comes after a birth: traces of their own, linked to it."""

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.trace import Trace
from tests.births import invariants
from tests.births.story import OFFSET, SANDBOX, SECOND, UID, Story, assemble, container_id, feed, only


def told_of(story: Story) -> list[Trace]:
    """Return all traces of a story, each checked."""
    _, traces = assemble(story)
    for trace in traces:
        invariants.check(trace)
    return traces


def born(name: str = "app") -> Story:
    """Return a pod that was born half a minute ago."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container(name)
    return story.after(30_000)


def test_a_container_that_ran_before_is_restarted() -> None:
    """A restart is a trace of its own: the unit is its root, linked to the birth, its processes directly beneath."""
    story = born()
    story.born_container("app", container_id("app-2"))
    birth, restart = told_of(story)
    root = restart.spans[0]
    assert root.name == "container restart"
    assert root.attributes["otel_kernel.level"] == "unit"
    assert root.container_id == container_id("app-2")
    (link,) = root.links
    assert (link.trace_id, link.span_id) == (birth.trace_id, birth.spans[0].span_id)
    assert restart.trace_id != birth.trace_id
    assert restart.pod == birth.pod
    assert only(restart, "runc init").parent_span_id == root.span_id
    assert not [span for span in restart.spans if span.attributes["otel_kernel.level"] == "birth"]


def test_a_container_that_is_new_is_started() -> None:
    """A container that comes after its pod's birth, an ephemeral one say, is a container start."""
    story = born()
    story.born_container("debugger")
    _, late = told_of(story)
    assert late.spans[0].name == "container start"
    assert late.spans[0].links


def test_a_restart_within_the_open_birth_is_a_unit_of_it() -> None:
    """A container that is made twice before the birth is over is two units of one trace."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("app")
    story.born_container("app", container_id("app-2"))
    (birth,) = told_of(story)
    assert [span.name for span in birth.spans].count("container app") == 2
    assert birth.spans[0].attributes["otel_kernel.birth.containers"] == 2


def test_a_sandbox_made_anew_is_a_restart() -> None:
    """A sandbox made after its birth was exported is a trace of its own; its containers are restarts."""
    story = born()
    second = Story(sandbox="b" * 64, netns="/var/run/netns/cni-0002", now=story.now, pid=story.pid).born_sandbox()
    second.born_container("app", container_id("app-2"))
    story.events += second.events
    story.now = second.now
    birth, *later = told_of(story)
    assert sorted(trace.spans[0].name for trace in later) == ["container restart", "sandbox restart"]
    assert all(trace.spans[0].links[0].trace_id == birth.trace_id for trace in later)
    assert all(trace.pod["k8s.pod.uid"] == UID for trace in later)


def test_a_birth_is_told_once_per_pod() -> None:
    """Neither volumes nor a cgroup made again begin a second birth."""
    story = born()
    story.volumes()
    story.pod_cgroup(cgroup_id=7050)
    story.volumes("umount")
    assert [trace.spans[0].name for trace in told_of(story)] == ["pod birth"]


def test_a_static_pod_that_comes_back_is_remembered() -> None:
    """A pod whose cgroup is made again is not forgotten when others go."""
    story = Story(uid="0" * 32).pod_cgroup().born_sandbox()
    story.born_container("app")
    story.after(30_000).pod_cgroup("rmdir").pod_cgroup("mkdir", 7001)
    assembly, (birth,) = assemble(story)
    for number in range(300):
        other = Story(uid=f"11111111-2222-4333-8444-{number:012d}", now=story.now)
        feed(assembly, other.pod_cgroup(cgroup_id=90_000 + number).pod_cgroup("rmdir", 90_000 + number).events)
    story.events.clear()
    story.after(30_000)
    story.born_container("app", container_id("app-2"))
    traces = feed(assembly, story.events) + assembly.due(story.now + 20 * SECOND)
    (restart,) = [trace for trace in traces if trace.pod["k8s.pod.uid"] == story.uid]
    assert restart.spans[0].name == "container restart"
    assert restart.spans[0].links[0].trace_id == birth.trace_id


def test_names_told_before_the_uid_join_the_open_birth() -> None:
    """A sandbox that CNI names, without UID, becomes part of its pod's birth once the bundle tells the UID."""
    story = Story().pod_cgroup()
    story.facts(source="cni-env", container_id=SANDBOX, sandbox_id=SANDBOX, is_sandbox=True, pod_name="web")
    story.born_sandbox()
    story.born_container("app")
    (birth,) = told_of(story)
    assert birth.trace_id.hex() == UID.replace("-", "")
    assert "pod: cgroup mkdir" in [event.attributes["otel_kernel.step.action"] for event in birth.spans[0].events]


def test_names_told_before_the_uid_do_not_hide_a_restart() -> None:
    """A sandbox made anew that is first known by name alone is a restart once its UID is told."""
    story = born()
    sandbox = "b" * 64
    second = Story(sandbox=sandbox, netns="/n/2/x", now=story.now, pid=story.pid)
    second.facts(source="cni-env", container_id=sandbox, sandbox_id=sandbox, is_sandbox=True, pod_name="web")
    second.born_sandbox()
    story.events += second.events
    story.now = second.now
    _, restart = told_of(story)
    assert restart.spans[0].name == "sandbox restart"
    assert restart.spans[0].links


def test_unmounting_begins_no_birth() -> None:
    """The kubelet unmounts the volumes of a pod that nobody knows: nothing is born."""
    story = Story()
    story.volumes("umount")
    assembly, traces = assemble(story)
    assert traces == []
    assert assembly.counters.open == 0
    assert assembly.counters.not_birth == 1


def test_a_container_in_a_pod_of_which_only_volumes_were_seen_is_no_birth() -> None:
    """A volume mounted again in a running pod does not turn its next container into a birth."""
    story = Story()
    story.volumes()
    shim = story.start_shim()
    shim.role = shim.role.DAEMON
    story.events[-20:] = [event for event in story.events[-20:] if type(event).__name__ == "ContainerFacts"]
    story.born_container("late")
    traces = told_of(story)
    assert [trace.spans[0].name for trace in traces] == ["container start"]


def test_what_is_over_is_forgotten() -> None:
    """Ten thousand births leave nothing behind but the bounded memory of their pods."""
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    now = 1_000 * SECOND
    for number in range(300):
        story = Story(
            uid=f"11111111-2222-4333-8444-{number:012d}",
            sandbox=f"{number:064x}",
            netns=f"/n/{number}",
            now=now,
            pid=1000 + 40 * number,
        )
        story.pod_cgroup(cgroup_id=100_000 + number).born_sandbox().pod_cgroup("rmdir", 100_000 + number)
        feed(assembly, story.events)
        now = story.now + 6 * SECOND
        assert len(assembly.due(now)) == 1
    assert len(assembly._lineages) == 0
    assert not assembly._units
    assert not assembly._ownership._owners
    assert len(assembly._pods._by_uid) <= 256
    assert len(assembly._ownership.waiting) == 0


def test_events_after_the_export_are_counted_not_attributed() -> None:
    """What comes of a birth that is over is counted."""
    story = Story().born_sandbox()
    init = story.born_container("app")
    assembly, _ = assemble(story)
    init.call("setns")
    assembly.feed(story.events[-1])
    assert assembly.counters.unattributed == 1
