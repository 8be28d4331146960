"""What turns a birth red, and what does not."""

from otel_kernel.kernel.events import Decision, End, Ending
from tests.births import invariants
from tests.births.story import SANDBOX, SECOND, UID, Story, assemble, container_id, named, only

REASON = "otel_kernel.birth.reason"


def failed_container(story: Story, name: str, identifier: str | None = None) -> None:
    """Let a container fail whose entry point does not exist: runc finds that out by itself, no call fails."""
    identifier = identifier or container_id(name)
    story._bundle_told(identifier, name)
    runtime = story._runtime(f"runc create --bundle /b {identifier}")
    init = runtime.fork()
    init.exec("runc init", filename="/proc/self/exe")
    init.exit(1)
    runtime.exit(1)
    story.after(2)


def test_a_missing_entry_point_is_red_with_its_reason() -> None:
    """A container that ended without an entry point turns its unit and the birth red, though every call succeeded."""
    story = Story().pod_cgroup().born_sandbox()
    failed_container(story, "app")
    _, (told,) = assemble(story)
    invariants.check(told)
    assert only(told, "container app").error == "ended without an entry point: runc create: exit code 1"
    assert told.spans[0].error == told.spans[0].attributes[REASON]
    assert "container app ended without an entry point" in str(told.spans[0].error)
    assert named(told, "runc create")[-1].error == "exit code 1"
    assert named(told, "runc create")[-1].attributes["process.exit.code"] == 1


def test_failing_calls_alone_are_not_red() -> None:
    """Masked paths fail in every healthy birth: a call's error is told on the call and nowhere else."""
    story = Story().born_sandbox()
    _, init = story.create(container_id("app"), "app")
    init.call("mount", target="/proc/kcore", return_value=-2)
    story.start(container_id("app"), init)
    _, (told,) = assemble(story)
    (failed,) = [span for span in told.spans if span.attributes.get("error.type") == "ENOENT"]
    assert failed.error is None
    assert failed.attributes["otel_kernel.syscall.return_value"] == -2
    assert all(span.error is None for span in told.spans)
    assert REASON not in told.spans[0].attributes


def test_a_sandbox_that_is_tried_again_is_a_second_unit() -> None:
    """A failed attempt at the sandbox is red; the birth is not when the next attempt succeeds."""
    story = Story().pod_cgroup()
    story.network_namespace()
    story.facts(
        source="cni-env", container_id=SANDBOX, sandbox_id=SANDBOX, is_sandbox=True, pod_uid=UID, pod_name="web"
    )
    story.cni(code=1)
    story.after(8000)
    second = Story(sandbox="b" * 64, netns="/var/run/netns/cni-0002", now=story.now, pid=story.pid)
    second.born_sandbox()
    second.born_container("app")
    story.events += second.events
    story.now = second.now
    _, (told,) = assemble(story)
    invariants.check(told)
    first, again = named(told, "sandbox")
    assert first.error == "ended without an entry point: ptp: exit code 1"
    assert again.error is None
    assert told.spans[0].error is None
    assert first.attributes["otel_kernel.sandbox.id"] == SANDBOX


def test_a_sandbox_that_fails_for_good_is_red() -> None:
    """When the last attempt failed the birth is red."""
    story = Story().pod_cgroup()
    story.network_namespace()
    story.facts(
        source="cni-env", container_id=SANDBOX, sandbox_id=SANDBOX, is_sandbox=True, pod_uid=UID, pod_name="web"
    )
    story.cni(code=1)
    story.pod_cgroup("rmdir")
    _, (told,) = assemble(story)
    assert told.spans[0].attributes[REASON] == "sandbox ended without an entry point: ptp: exit code 1"


def test_a_signal_is_told_as_one() -> None:
    """A process that was killed says by which signal."""
    story = Story().born_sandbox()
    story._bundle_told(container_id("app"), "app")
    runtime = story._runtime(f"runc create --bundle /b {container_id('app')}")
    runtime.end(status=9)
    _, (told,) = assemble(story)
    assert named(told, "runc create")[-1].error == "killed by signal 9"
    assert named(told, "runc create")[-1].attributes["process.exit.code"] == 137


def test_an_init_container_s_run_is_a_unit_with_its_exit_code() -> None:
    """A program that ends before the birth is complete is told from its execve to its exit."""
    story = Story().pod_cgroup().born_sandbox()
    init = story.born_container("setup")
    story.after(30)
    story.events.append(End(story.now, *init.key, Ending.EXIT, 0, 0, 0, 0, 0, 0))
    story.born_container("app")
    _, (told,) = assemble(story)
    invariants.check(told)
    run = only(told, "run setup")
    assert run.attributes["process.exit.code"] == 0
    assert run.attributes["otel_kernel.level"] == "unit"
    assert run.parent_span_id == told.spans[0].span_id
    assert run.container_id == container_id("setup")
    assert run.error is None


def test_a_failing_run_is_red() -> None:
    """A run unit is red by its exit code, and the birth with it when that was the last attempt."""
    story = Story().pod_cgroup().born_sandbox()
    init = story.born_container("setup")
    story.after(30)
    story.events.append(End(story.now, *init.key, Ending.EXIT, 3 << 8, 0, 0, 0, 0, 0))
    _, (told,) = assemble(story)
    assert only(told, "run setup").error == "exit code 3"
    assert told.spans[0].attributes[REASON] == "container setup: exit code 3"


def test_a_pod_that_is_deleted_was_born_all_the_same() -> None:
    """Programs that are killed because their pod is deleted within the quiet period leave the birth as it was."""
    story = Story().pod_cgroup()
    story.network_namespace()
    story.cni()
    story.start_shim()
    _, pause = story.create(SANDBOX)
    story.start(SANDBOX, pause)
    app = story.born_container("app")
    for process in (app, pause):
        story.after(100)
        story.events.append(End(story.now, *process.key, Ending.EXIT, 9, 0, 0, 0, 0, 0))
    _, (told,) = assemble(story)
    invariants.check(told)
    assert only(told, "run app").error == "killed by signal 9"
    assert named(told, "run") == []
    assert told.spans[0].error is None
    assert REASON not in told.spans[0].attributes


def test_a_program_that_is_killed_in_a_living_pod_is_red() -> None:
    """Without its pod's end a kill is a failure, of memory say."""
    story = Story().pod_cgroup().born_sandbox()
    app = story.born_container("app")
    story.events.append(End(story.now, *app.key, Ending.EXIT, 9, 0, 0, 0, 0, 0))
    _, (told,) = assemble(story)
    assert told.spans[0].attributes[REASON] == "container app: killed by signal 9"


def test_what_is_not_a_birth_leaves_nothing() -> None:
    """A candidate that decides against it is dropped with all its calls."""
    story = Story()
    process = story.begin("runc", Decision.INHERITED)
    story.events.clear()
    candidate = story.call_of(process.key, process.role.CANDIDATE, "setns")
    story.events += [candidate, End(story.now, *process.key, Ending.NOT_BIRTH, 0, 4, 0, 0, 0, 0)]
    assembly, traces = assemble(story)
    assert traces == []
    assert assembly.counters.not_birth == 1
    assert assembly.counters.unattributed == 0


def test_calls_of_a_candidate_count_once_it_joins() -> None:
    """What a process did before its first exec belongs to the birth it joins."""
    story = Story().born_sandbox()
    identifier = container_id("app")
    story._bundle_told(identifier, "app")
    at = len(story.events)
    runtime = story._runtime(f"runc create --bundle /b {identifier}")
    early = story.call_of(runtime.key, runtime.role.CANDIDATE, "setns", started_ns=runtime.start_ns + 1)
    story.events.insert(at, early._replace(end_ns=runtime.start_ns + 2))
    runtime.exit(1)
    _, (told,) = assemble(story)
    assert len(named(told, "setns")) == 2
    assert [span.service for span in named(told, "setns")] == ["containerd", "runc"]


def test_a_container_without_kubernetes_is_counted_once() -> None:
    """A bundle without Kubernetes annotations is no birth, however many of its processes come by."""
    story = Story(kubernetes=False)
    story.start_shim()
    _, init = story.create(SANDBOX)
    # Without a pod its cgroup tells nothing either.
    story.events = [e for e in story.events if type(e).__name__ != "CgroupChange" and getattr(e, "cgroup_id", 0) != 1]
    story.events = [e for e in story.events if getattr(e, "source", None) != "cgroup-path"]
    story.start(SANDBOX, init)
    assembly, traces = assemble(story)
    assert traces == []
    assert assembly.counters.not_kubernetes == 1
    assert assembly.counters.open == 0
    assert len(assembly._lineages) == 0


def test_an_unreadable_identity_is_told_after_the_timeout() -> None:
    """A lineage whose pod nobody can tell is exported after the timeout, with the reason."""
    story = Story()
    story.facts(source="oci-bundle", container_id=SANDBOX, failure="missing")
    starter = story.begin(f"containerd-shim-runc-v2 -id {SANDBOX} start", Decision.SHIM_START)
    starter.exit()
    assembly, traces = assemble(story)
    assert traces == []
    (told,) = assembly.due(story.now + 601 * SECOND)
    invariants.check(told)
    assert told.spans[0].attributes[REASON] == "unresolved: oci-bundle: missing"
    assert told.spans[0].attributes["otel_kernel.birth.completion"] == "timeout"
    assert told.pod == {}
    assert assembly.counters.unresolved == 1


def test_a_failing_call_never_proves_whose_it_is() -> None:
    """A mount that failed teaches no path: a later call on its target is nobody's."""
    story = Story().born_sandbox()
    story.daemon("mount", source=f"/x/{container_id('app')}", target="/mnt/a/b", return_value=-1)
    story.born_container("app")
    story.daemon("mount", source="/dev/sda", target="/mnt/a/b")
    assembly, (told,) = assemble(story)
    drawn = [span for span in told.spans if span.attributes.get("system.filesystem.mountpoint") == "/mnt/a/b"]
    assert len(drawn) == 1
    assert len(assembly._ownership.waiting) == 1


def test_a_weaker_source_never_renames_a_pod() -> None:
    """What the cgroup or the bundle has proven stays, whatever a weaker source says later."""
    story = Story().pod_cgroup().born_sandbox()
    story.facts(
        source="cni-env", container_id=SANDBOX, sandbox_id=SANDBOX, pod_uid="9" * 32, pod_name="evil", namespace="evil"
    )
    story.born_container("app")
    _, (told,) = assemble(story)
    assert told.pod == {"k8s.pod.uid": UID, "k8s.pod.name": "web", "k8s.namespace.name": "shop"}


def test_the_cgroup_s_pod_beats_the_bundle_s() -> None:
    """The kernel's own word on where a task is decides whose it is."""
    other = "99999999-2222-4333-8444-555555555555"
    story = Story(uid=other)
    story.facts(
        source="oci-bundle", container_id=SANDBOX, sandbox_id=SANDBOX, is_sandbox=True, pod_uid=UID, pod_name="web"
    )
    story.born_sandbox()
    story.born_container("app")
    _, (told,) = assemble(story)
    invariants.check(told)
    assert told.pod["k8s.pod.uid"] == other
    assert told.trace_id.hex() == other.replace("-", "")
