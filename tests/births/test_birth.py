"""A healthy birth: which spans it has, where they lie, what they are called."""

import hashlib

import pytest

from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.trace import Span, Trace
from otel_kernel.kernel.events import Decision
from tests.births import invariants
from tests.births.story import MS, OFFSET, SANDBOX, UID, Story, assemble, container_id, merged, named, only, parent_of


@pytest.fixture
def trace() -> Trace:
    """Return the trace of a pod with two containers."""
    story = Story().pod_cgroup()
    story.volumes()
    story.after(3).born_sandbox()
    story.born_container("nginx")
    story.born_container("sidecar")
    assembly, traces = assemble(story)
    (told,) = traces
    assert assembly.counters.open == 0
    invariants.check(told)
    return told


def test_one_birth_is_one_trace_named_after_the_pod(trace: Trace) -> None:
    """The trace id is the pod's UID, and the resource says which pod it was."""
    assert trace.trace_id.hex() == UID.replace("-", "")
    assert trace.pod == {"k8s.pod.uid": UID, "k8s.pod.name": "web", "k8s.namespace.name": "shop"}
    assert trace.spans[0].name == "pod birth"
    assert trace.scope == "otel_kernel.ebpf"


def test_units_are_the_children_of_the_root(trace: Trace) -> None:
    """Volumes, sandbox and containers lie directly beneath the birth, in the order of time."""
    units = [span for span in trace.spans if span.attributes["otel_kernel.level"] == "unit"]
    assert [unit.name for unit in units] == ["volumes", "sandbox", "container nginx", "container sidecar"]
    assert {unit.parent_span_id for unit in units} == {trace.spans[0].span_id}


def test_a_container_has_a_resource_of_its_own(trace: Trace) -> None:
    """Spans of a container's unit carry its id; the sandbox's lie on the pod's resource."""
    identifier = container_id("nginx")
    assert only(trace, "container nginx").container_id == identifier
    assert only(trace, "sandbox").container_id is None
    assert trace.containers[identifier] == dict(trace.pod) | {
        "k8s.container.name": "nginx",
        "container.id": identifier,
        "container.image.name": "registry.local/app:1",
        "container.runtime.name": "containerd",
    }
    assert SANDBOX not in trace.containers


def test_the_unit_beats_the_fork(trace: Trace) -> None:
    """The one shim forks every runtime, but each lies in the unit that its arguments name."""
    creates = named(trace, "runc create")
    assert [parent_of(trace, span).name for span in creates] == ["sandbox", "container nginx", "container sidecar"]
    shims = {span.attributes["process.pid"] for span in named(trace, "containerd-shim-runc-v2")}
    assert {span.attributes["process.parent_pid"] for span in creates} == shims


def test_a_parent_that_is_outlived_gives_way_to_the_unit(trace: Trace) -> None:
    """The daemon shim outlives `shim start` which forked it, so it lies beneath the unit."""
    assert parent_of(trace, only(trace, "containerd-shim-runc-v2")).name == "sandbox"


def test_a_child_that_ends_first_lies_in_its_parent() -> None:
    """A plugin's helper that does not outlive the plugin is drawn inside it."""
    story = Story()
    story.network_namespace()
    plugin = story.begin(
        "/opt/cni/ptp",
        Decision.CNI_ADD,
        environment=(("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", SANDBOX), ("CNI_NETNS", story.netns)),
    )
    helper = plugin.fork()
    helper.exec("/opt/cni/host-local")
    helper.exit()
    plugin.exit()
    story.start_shim()
    _, init = story.create(SANDBOX)
    story.start(SANDBOX, init)
    story.born_container("app")
    _, (told,) = assemble(story)
    invariants.check(told)
    assert parent_of(told, only(told, "host-local")).name == "ptp"
    assert only(told, "host-local").service == "cni"


def test_the_stages_of_init_are_one_span(trace: Trace) -> None:
    """All stages of `runc init` are one span beneath the unit: the last one's PID, the sum of all counts."""
    inits = named(trace, "runc init")
    assert [parent_of(trace, span).name for span in inits] == ["sandbox", "container nginx", "container sidecar"]
    first = inits[0].attributes
    pids = first["otel_kernel.process.pids"]
    assert isinstance(pids, tuple)
    assert len(pids) == 3
    assert first["process.pid"] == pids[-1]
    assert first["otel_kernel.process.syscalls"] == 300
    assert "process.exit.code" not in first


def test_mount_calls_of_one_thread_are_grouped(trace: Trace) -> None:
    """A run of mount-family calls becomes one span that counts them; its calls lie inside."""
    groups = named(trace, "mounts")
    assert len(groups) == 3
    assert groups[0].attributes["otel_kernel.calls.count"] == 4
    assert groups[0].attributes["otel_kernel.calls.failed"] == 0
    assert groups[0].attributes["otel_kernel.calls.time"] == pytest.approx(0.0002)
    inside = [span.name for span in trace.spans if span.parent_span_id == groups[0].span_id]
    assert inside == ["mount", "mount", "mount", "pivot_root"]


def test_a_gap_of_three_milliseconds_ends_a_group() -> None:
    """Mount calls further apart are two groups; what another thread does meanwhile does not matter."""
    story = Story()
    story.born_sandbox()
    story._bundle_told(container_id("app"), "app")
    runtime, init = story.create(container_id("app"), "app")
    del runtime
    for _ in range(2):
        init.call("mount", target="/a")
    story.after(3)
    for _ in range(3):
        init.call("mount", target="/b")
    story.start(container_id("app"), init)
    _, (told,) = assemble(story)
    unit = only(told, "container app")
    (process,) = [s for s in told.spans if s.name == "runc init" and s.parent_span_id == unit.span_id]
    counts = [
        span.attributes["otel_kernel.calls.count"]
        for span in told.spans
        if span.name == "mounts" and span.parent_span_id == process.span_id
    ]
    assert counts == [6, 3]


def test_waits_are_drawn_and_idling_is_not() -> None:
    """A read that takes long is a span, the futex of a thread pool is not."""
    story = Story()
    story.network_namespace()
    story.cni()
    shim = story.start_shim()
    shim.wait("futex", 4)
    shim.wait("read", 4)
    _, init = story.create(SANDBOX)
    story.start(SANDBOX, init)
    story.born_container("app")
    _, (told,) = assemble(story)
    drawn = [s.name for s in told.spans if parent_is(told, s, "containerd-shim-runc-v2")]
    assert "wait read" in drawn
    assert "wait futex" not in drawn


def test_the_exec_fifo_is_named_on_its_wait(trace: Trace) -> None:
    """A wait in openat tells what was opened."""
    wait = named(trace, "wait openat")[0]
    assert wait.attributes["file.path"] == f"/proc/self/fd/{SANDBOX[:2]}"
    assert wait.attributes["otel_kernel.level"] == "wait"


def test_clone3_is_drawn_as_clone_and_told_exactly() -> None:
    """The span of a clone3 is called clone; the attribute has the exact name."""
    story = Story()
    story.born_sandbox()
    _, init = story.create(container_id("app"), "app")
    init.call("clone3", 0x20000000)
    story.start(container_id("app"), init)
    _, (told,) = assemble(story)
    (span,) = [span for span in told.spans if span.attributes.get("otel_kernel.syscall.name") == "clone3"]
    assert span.name == "clone"
    assert span.attributes["otel_kernel.syscall.flags"] == ("CLONE_NEWPID",)


def test_components_have_services_of_their_own(trace: Trace) -> None:
    """Each component is a service of a closed set."""
    services = {span.name: span.service for span in trace.spans if span.attributes["otel_kernel.level"] == "process"}
    assert services == {
        "mount": "kubelet",
        "ptp": "cni",
        "containerd-shim-runc-v2 start": "containerd-shim",
        "containerd-shim-runc-v2": "containerd-shim",
        "runc create": "runc",
        "runc init": "runc",
        "runc start": "runc",
    }


def test_one_service_on_request() -> None:
    """With `single` everything is one service, by the configured name."""
    story = Story().born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story, AssemblySettings(services="single", service_name="kernel"))
    assert {span.service for span in told.spans} == {"kernel"}


def test_folded_calls_are_events_of_the_same_structure(trace: Trace) -> None:
    """Folded, calls become events of their process or group, whatever they took; all other spans stay."""
    story = Story().pod_cgroup()
    story.volumes()
    story.after(3).born_sandbox()
    story.born_container("nginx")
    story.born_container("sidecar")
    _, (folded,) = assemble(story, AssemblySettings(calls="folded"))
    invariants.check(folded)
    expected = [span.name for span in trace.spans if span.attributes["otel_kernel.level"] != "call"]
    assert [span.name for span in folded.spans] == expected
    assert [event.name for event in named(folded, "mounts")[0].events] == ["mount", "mount", "mount", "pivot_root"]


def test_the_entry_point_is_a_call_and_an_event(trace: Trace) -> None:
    """The entry point's execve is the last call of init, and an event on its unit."""
    init = named(trace, "runc init")[1]
    last = [span for span in trace.spans if span.parent_span_id == init.span_id][-1]
    assert (last.name, last.attributes["process.executable.path"]) == ("execve", "/app")
    (entered,) = [event for event in only(trace, "container nginx").events if event.name == "entry point"]
    assert entered.unix_ns == last.end_unix_ns == init.end_unix_ns


def test_the_shim_ends_with_its_first_runtime(trace: Trace) -> None:
    """The daemon shim's span ends at the return of the clone that made its first runtime child."""
    shim = only(trace, "containerd-shim-runc-v2")
    clones = [span for span in trace.spans if span.parent_span_id == shim.span_id and span.name == "clone"]
    assert shim.end_unix_ns == clones[-1].end_unix_ns
    assert shim.attributes["otel_kernel.process.handed_over"] is True


def test_later_calls_of_the_shim_lie_in_the_unit_they_serve(trace: Trace) -> None:
    """After its hand-over the shim's calls are its own service's, directly beneath the container."""
    unit = only(trace, "container nginx")
    beneath = [(span.service, span.name) for span in trace.spans if span.parent_span_id == unit.span_id]
    assert ("containerd-shim", "mount") in beneath
    assert beneath.count(("containerd-shim", "clone")) == 2


def test_the_network_namespace_is_made_in_the_sandbox(trace: Trace) -> None:
    """The daemon's unshare, the bind mount that names it and the setns by which it returns are the sandbox's."""
    sandbox = only(trace, "sandbox")
    own = [s for s in trace.spans if s.parent_span_id == sandbox.span_id and s.service == "containerd"]
    assert [span.name for span in own] == ["unshare", "mount", "setns", "clone", "clone"]
    assert own[0].attributes["otel_kernel.namespace.types"] == ("net",)
    assert sandbox.start_unix_ns == own[0].start_unix_ns


def test_the_certificate_counts_what_was_done(trace: Trace) -> None:
    """The root counts calls, processes and namespaces of lineages, and what daemons did for the pod."""
    told = trace.spans[0].attributes
    calls = [span.attributes for span in trace.spans if span.attributes["otel_kernel.level"] == "call"]
    made = [bag["otel_kernel.syscall.name"] for bag in calls]
    assert told["otel_kernel.birth.containers"] == 2
    assert told["otel_kernel.birth.processes"] == 21
    assert told["otel_kernel.birth.syscalls"] == 20 * 100 + 50
    assert told["otel_kernel.birth.clones"] == made.count("clone")
    assert told["otel_kernel.birth.execs"] == made.count("execve") == 21
    assert told["otel_kernel.birth.mounts"] == made.count("mount")
    assert told["otel_kernel.birth.namespaces"] == 7
    assert told["otel_kernel.birth.namespace_ops"] == 5
    assert told["otel_kernel.birth.cgroup_writes"] == 20 * 3


def test_the_ledger_says_how_well_it_was_seen(trace: Trace) -> None:
    """The root says what was lost, how its pod was named, and where the time went."""
    told = trace.spans[0].attributes
    assert told["otel_kernel.birth.events.lost"] == 0
    assert told["otel_kernel.birth.probe_misses"] == 0
    assert told["otel_kernel.birth.identity.source"] == ("cgroup-path", "cni-env", "oci-bundle")
    assert isinstance(told["otel_kernel.birth.untraced.time"], float)
    assert 0 < told["otel_kernel.birth.untraced.time"] < 0.02
    assert str(told["otel_kernel.birth.slowest"]).startswith("sandbox: ")


def test_cgroup_writes_are_absent_when_nobody_counts_them() -> None:
    """Absent is not zero."""
    story = Story().born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story, AssemblySettings(cgroup_writes_known=False))
    assert "otel_kernel.birth.cgroup_writes" not in told.spans[0].attributes


def test_the_duration_ends_with_the_last_entry_point(trace: Trace) -> None:
    """The birth's duration is the time from its first event to the last entry point's execve, in seconds."""
    entered = max(event.unix_ns for span in trace.spans for event in span.events if event.name == "entry point")
    told = trace.spans[0].attributes["otel_kernel.birth.duration"]
    assert told == pytest.approx((entered - trace.spans[0].start_unix_ns) / 1e9)
    assert trace.spans[0].end_unix_ns == entered + round(0.52 * MS)


def test_the_timeline_has_a_step_for_each_beginning(trace: Trace) -> None:
    """The root's events are the timeline: cgroups, beginnings, entry points and ends of units."""
    actions = [event.attributes["otel_kernel.step.action"] for event in trace.spans[0].events]
    for action in ("pod: cgroup mkdir", "sandbox: start", "container nginx: entry point", "container sidecar: end"):
        assert action in actions
    assert actions.count("container nginx: mount") == 1


def test_times_are_those_of_the_first_event_s_clock(trace: Trace) -> None:
    """One offset turns boot time into wall clock time for the whole trace."""
    assert trace.spans[0].start_unix_ns == 1_000_000 * MS + OFFSET


def test_ids_are_the_same_each_time() -> None:
    """The same events give the same ids: sent twice, it is the same span."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("app")
    first, second = (assemble(story)[1][0] for _ in range(2))
    assert first == second
    expected = hashlib.sha256(first.trace_id + b"\0birth\0" + b"0").digest()[:8]
    assert first.spans[0].span_id == expected


def test_a_static_pod_gets_a_hashed_trace_id() -> None:
    """A static pod's UID repeats after each boot, so its trace id is made of more than that."""
    story = Story(uid="0123456789abcdef0123456789abcdef").pod_cgroup().born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story)
    assert told.trace_id.hex() != story.uid
    assert told.pod["k8s.pod.uid"] == story.uid
    later = Story(uid=story.uid, now=story.now).pod_cgroup().born_sandbox()
    later.born_container("app")
    _, (again,) = assemble(later)
    assert again.trace_id != told.trace_id


def test_arguments_are_told_only_on_request() -> None:
    """Command lines stay out unless asked for; redacted they keep names, paths and ids."""
    story = Story().born_sandbox()
    story.born_container("app")
    _, (off,) = assemble(story)
    assert not any("process.command_args" in span.attributes for span in off.spans)
    _, (redacted,) = assemble(story, AssemblySettings(arguments="redacted"))
    told = named(redacted, "runc start")[0].attributes["process.command_args"]
    assert told == ("runc", "--root", "/run/runc", "start", SANDBOX)


def test_twenty_pods_at_once_do_not_mix() -> None:
    """Births that overlap in time stay apart, each with all of its own spans."""
    stories = []
    for number in range(20):
        story = Story(
            uid=f"11111111-2222-4333-8444-{number:012d}",
            sandbox=f"{number:02d}" * 32,
            netns=f"/var/run/netns/cni-{number}",
            pid=1000 * (number + 1),
        )
        story.after(number * 0.7).pod_cgroup(cgroup_id=50_000 + number)
        story.born_sandbox()
        story.born_container("app", f"{number:02d}" * 31 + "ff")
        stories.append(story)
    assembly, traces = assemble(merged(*stories))
    assert {trace.pod["k8s.pod.uid"] for trace in traces} == {story.uid for story in stories}
    assert len(traces) == 20
    for trace in traces:
        invariants.check(trace)
        assert [span.name for span in trace.spans].count("runc init") == 2
        assert trace.spans[0].attributes["otel_kernel.birth.processes"] == 14
    assert assembly.counters.daemon_calls_unmatched == 0


def parent_is(trace: Trace, span: Span, name: str) -> bool:
    """Return whether a span's parent has this name."""
    parents = {other.span_id for other in trace.spans if other.name == name}
    return span.parent_span_id in parents
