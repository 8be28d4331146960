"""Whose are the daemons' own calls? Whatever comes first, they find their pod, or are counted."""

import pytest

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.daemon_calls import ids_in
from otel_kernel.births.trace import Trace
from tests.births import invariants
from tests.births.story import (
    KUBELET,
    NEWNET,
    OFFSET,
    SANDBOX,
    SECOND,
    UID,
    Story,
    assemble,
    container_id,
    feed,
    merged,
)

APP = container_id("app")


def beneath(trace: Trace, unit: str) -> list[str]:
    """Return the names of the daemons' own calls of a unit, those in groups too."""
    (span,) = [span for span in trace.spans if span.name == unit]
    own = [
        s for s in trace.spans if s.parent_span_id == span.span_id and s.attributes["otel_kernel.level"] != "process"
    ]
    inside = [s for s in trace.spans for group in own if s.parent_span_id == group.span_id]
    return [s.name for s in sorted([*own, *inside], key=lambda s: s.start_unix_ns) if s.name != "mounts"]


def test_a_snapshot_is_matched_after_the_fact() -> None:
    """A snapshot mounted on a temporary directory belongs to the container whose root it becomes later."""
    story = Story().born_sandbox()
    first_ns = story.now
    story.daemon("mount", source="overlay", target="/tmp/mnt12/x", data=f"lowerdir=/snap/{APP[:6]}/fs:/snap/1/fs")
    story.daemon("umount2", target="/tmp/mnt12/x")
    story.daemon("umount2", target="/tmp/mnt12/x", return_value=-22)
    story.after(5).born_container("app")
    assembly, (told,) = assemble(story)
    invariants.check(told)
    assert beneath(told, "container app")[:3] == ["mount", "umount2", "umount2"]
    (unit,) = [span for span in told.spans if span.name == "container app"]
    assert unit.start_unix_ns == first_ns + OFFSET
    assert assembly.counters.daemon_calls_unmatched == 0


def test_shared_layers_match_nobody() -> None:
    """An image's layers are everybody's: a mount that names only those is not the container's."""
    story = Story().born_sandbox()
    story.born_container("app")
    story.daemon("mount", source="overlay", target="/tmp/mnt12/x", data="lowerdir=/snap/2/fs:/snap/1/fs")
    assembly, (told,) = assemble(story)
    assert beneath(told, "container app").count("mount") == 1
    assert len(assembly._ownership.waiting) == 1


def test_a_bound_snapshot_is_matched_by_its_directory() -> None:
    """Without overlay the source of the root's mount is the snapshot."""
    story = Story().born_sandbox()
    story.daemon("mount", source="/native/snapshots/7", target="/tmp/mnt12/x")
    assert story.shim is not None
    story.daemon("mount", key=story.shim.key, source="/native/snapshots/7", target=f"/run/{APP}/rootfs")
    story.born_container("app")
    _, (told,) = assemble(story)
    assert beneath(told, "container app")[0] == "mount"
    assert beneath(told, "container app").count("mount") == 3


def test_threads_of_several_pods_keep_their_network_namespaces() -> None:
    """A thread that makes one network namespace after the other gives each pod its own unshare and setns."""
    stories = []
    for number in range(2):
        story = Story(
            uid=f"11111111-2222-4333-8444-{number:012d}", sandbox=f"{number}" * 64, netns=f"/n/{number}/x",
            now=1_000 * SECOND + number, pid=1000 + 100 * number,
        )  # fmt: skip
        stories.append(story)
    first, second = stories
    first.daemon("unshare", NEWNET, thread=104)
    first.daemon("mount", thread=104, source="/proc/self/ns/net", target="/n/0/x")
    first.daemon("setns", thread=104)
    second.now = first.now
    second.daemon("unshare", NEWNET, thread=104)
    second.daemon("mount", thread=104, source="/proc/self/ns/net", target="/n/1/x")
    second.daemon("setns", thread=104)
    first.now = second.now
    first.cni()
    second.now = first.now
    second.cni()
    for story in stories:
        story.now = second.now
        story.start_shim()
        _, init = story.create(story.sandbox)
        story.start(story.sandbox, init)
        story.born_container("app", story.sandbox[:-4] + "beef")
        second.now = max(second.now, story.now)
    assembly, traces = assemble(merged(*stories))
    for trace in traces:
        assert beneath(trace, "sandbox")[:3] == ["unshare", "mount", "setns"]
    assert len(traces) == 2
    assert assembly.counters.daemon_calls_unmatched == 0


def test_a_lost_return_is_not_made_up_for_by_the_next_pod_s() -> None:
    """When a thread's return was lost, the next pod's unshare, bind mount and setns stay the next pod's."""
    first = Story()
    first.daemon("unshare", NEWNET, thread=104)
    first.daemon("mount", thread=104, source="/proc/self/ns/net", target=first.netns)
    second = Story(sandbox="b" * 64, uid="2" * 32, netns="/n/2/x", now=first.now, pid=5000).network_namespace()
    first.events += second.events[:2]
    first.now = second.now
    first.cni()
    first.events += second.events[2:]
    second.events.clear()
    second.now = first.now
    second.cni()
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    feed(assembly, first.events + second.events)
    units = list(assembly._unresolved)
    assert [sorted(call.name for call in unit.daemon_calls) for unit in units] == [
        ["clone", "mount", "unshare"],
        ["clone", "mount", "setns", "unshare"],
    ]


def test_the_setns_may_come_after_the_plugins() -> None:
    """The thread's return is matched even when its record comes after the pod was known."""
    story = Story()
    story.daemon("unshare", NEWNET, thread=104)
    story.daemon("mount", thread=104, source="/proc/self/ns/net", target=story.netns)
    story.cni()
    story.daemon("setns", thread=104)
    story.daemon("setns", thread=104)
    story.start_shim()
    _, init = story.create(SANDBOX)
    story.start(SANDBOX, init)
    story.born_container("app")
    _, (told,) = assemble(story)
    assert beneath(told, "sandbox").count("setns") == 1


def test_volumes_are_matched_by_the_pod_s_directory() -> None:
    """What the kubelet itself mounts below the pod's directory lies in its volumes, also when it came first."""
    path = f"/var/lib/kubelet/pods/{UID}/volume-subpaths/x"
    story = Story()
    story.daemon("mount", key=KUBELET, source="/x", target=path)
    story.pod_cgroup()
    story.daemon("mount", key=KUBELET, source="/y", target=path)
    story.born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story)
    invariants.check(told)
    assert beneath(told, "volumes") == ["mount", "mount"]
    (volumes,) = [span for span in told.spans if span.name == "volumes"]
    assert {s.service for s in told.spans if s.parent_span_id == volumes.span_id} == {"kubelet"}


def test_daemons_writes_to_the_pod_s_cgroups_are_counted() -> None:
    """A daemon's write to a file of the pod's or its container's cgroup is the pod's, whichever comes first."""
    story = Story()
    story.cgroup_write(f"/kubepods/pod{UID}/cpu.max")
    story.pod_cgroup().born_sandbox()
    story.cgroup_write(f"/kubepods/pod{UID}/{SANDBOX}/cgroup.procs")
    story.cgroup_write("/system.slice/cgroup.procs")
    story.cgroup_write(
        f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{SANDBOX}.scope/pids.max"
    )
    story.born_container("app")
    _, (told,) = assemble(story)
    assert told.spans[0].attributes["otel_kernel.birth.cgroup_writes"] == 13 * 3 + 3


def test_what_nobody_claims_is_bounded_and_counted() -> None:
    """A flood of daemons' calls is dropped oldest first, each counted."""
    story = Story()
    for number in range(50):
        story.daemon("mount", source="/x", target=f"/some/where/{number}")
    assembly = Assembly(AssemblySettings(daemon_calls_kept=10), lambda: OFFSET)
    feed(assembly, story.events)
    assert len(assembly._ownership.waiting) == 10
    assert assembly.counters.daemon_calls_unmatched == assembly.counters.daemon_calls_dropped == 40
    assembly.due(story.now + 601 * SECOND)
    assert assembly.counters.daemon_calls_unmatched == 50
    assert assembly.counters.daemon_calls_dropped == 40
    assert not assembly._ownership.waiting._by_token


def test_clones_for_probes_make_no_room_scarce() -> None:
    """A clone whose child begins nothing is given up within seconds."""
    story = Story()
    for number in range(20):
        story.daemon("clone", child_pid=5000 + number)
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    feed(assembly, story.events)
    assembly.due(story.now + 11 * SECOND)
    assert len(assembly._ownership.waiting) == 0
    assert assembly.counters.daemon_calls_unmatched == 20


def test_a_clone_of_an_earlier_owner_of_the_pid_is_not_taken() -> None:
    """PIDs are reused: a clone belongs to the process that began while it ran."""
    story = Story()
    story.daemon("clone", child_pid=1001)
    story.after(50).born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story)
    assert beneath(told, "sandbox").count("clone") == 3


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/kubepods/pod{UID}/{APP}", [UID, APP]),
        (f"/kubepods-pod{UID.replace('-', '_')}.slice/crio-{APP}.scope", [UID, APP]),
        (f"/var/lib/kubelet/pods/{'0' * 32}/volumes", ["0" * 32]),
        (f"/var/lib/kubelet/pods/{UID}/volumes/{APP}/{'0' * 32}", [UID]),
        ("/x/" + "a" * 65, []),
        ("/deadbeef/pods", []),
    ],
)
def test_ids_are_found_in_paths(path: str, expected: list[str]) -> None:
    """Container ids and pod UIDs are found in the paths of every layout."""
    assert ids_in(path) == expected
