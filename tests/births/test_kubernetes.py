"""What Kubernetes says of a pod is added to its birth where nothing speaks against it."""

from dataclasses import replace

import pytest

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.facts import Condition, ContainerFacts, Owner, PodContainer, PodEvent, PodEvents, PodFacts
from otel_kernel.births.recording import decode, encode
from otel_kernel.births.trace import Trace
from tests.births import invariants
from tests.births.story import OFFSET, SECOND, UID, Story, container_id, feed, only, pod_facts

OTHER = "99999999-8888-4777-8666-555555555555"
OWNERS = (Owner("ReplicaSet", "web-6d4f", OTHER), Owner("Deployment", "web", UID))


def born(*names: str) -> Story:
    """Return the story of a pod with these containers."""
    story = Story().pod_cgroup().born_sandbox()
    for name in names:
        story.born_container(name)
    return story


def told(facts: PodFacts | None, story: Story | None = None, settings: AssemblySettings | None = None) -> Trace:
    """Return the birth of a pod on which Kubernetes said something before all else."""
    story = story or born("app")
    assembly = Assembly(settings or AssemblySettings(), lambda: OFFSET)
    if facts is not None:
        assembly.feed(facts)
    traces = feed(assembly, story.events)
    (trace,) = traces + assembly.due(story.now + 10 * SECOND)
    if settings is None:  # else services have other names
        invariants.check(trace)
    return trace


def test_the_root_is_named_by_the_highest_owner() -> None:
    """A replica set is controlled by a deployment: that is the workload."""
    trace = told(pod_facts("app", owners=OWNERS))
    assert trace.spans[0].name == "pod birth web"
    assert trace.pod["k8s.deployment.name"] == "web"
    assert trace.pod["k8s.replicaset.name"] == "web-6d4f"
    assert trace.pod["k8s.replicaset.uid"] == OTHER
    assert "kube-api" in trace.spans[0].attributes["otel_kernel.birth.identity.source"]  # type: ignore[operator]


def test_without_an_owner_a_birth_keeps_its_name() -> None:
    """A pod that somebody created by hand."""
    assert told(pod_facts("app")).spans[0].name == "pod birth"


def test_what_is_allowed_is_on_every_resource_of_the_pod() -> None:
    """Labels, annotations, the node's UID, the mirror's; images and restarts on the container's."""
    container = PodContainer("app", "regular", "shop/app:1", container_id("app"), "sha256:1", ("shop/app@sha256:2",), 3)
    facts = pod_facts(
        labels=(("team", "a"),), annotations=(("note", "b"),), node_uid=OTHER, mirror_uid=OTHER, containers=(container,)
    )
    trace = told(facts)
    of_container = trace.containers[container_id("app")]
    for bag in (trace.pod, of_container):
        assert bag["k8s.pod.label.team"] == "a"
        assert bag["k8s.pod.annotation.note"] == "b"
        assert bag["k8s.node.uid"] == OTHER
        assert bag["otel_kernel.pod.mirror_uid"] == OTHER
    assert of_container["container.image.id"] == "sha256:1"
    assert of_container["container.image.repo_digests"] == ("shop/app@sha256:2",)
    assert of_container["k8s.container.restart_count"] == 3
    assert "container.image.id" not in trace.pod


def test_a_better_answer_that_comes_before_the_export_counts() -> None:
    """The owner's owner is asked for while the pod is born."""
    story = born("app")
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    assembly.feed(pod_facts("app", "other"))
    assert feed(assembly, story.events) == []
    assembly.feed(pod_facts("app", owners=OWNERS))
    (trace,) = assembly.due(story.now)
    assert trace.spans[0].name == "pod birth web"
    assert trace.spans[0].attributes["otel_kernel.birth.completion"] == "known"


@pytest.mark.parametrize(
    "lie",
    [
        {"pod_name": "somebody-else"},
        {"namespace": "elsewhere"},
        {"containers": (PodContainer("app", "regular", None, "f" * 64),)},
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_word_that_the_node_contradicts_is_not_believed(lie: dict[str, object], first: bool) -> None:
    """Name and namespace must be the bundle's, and no container may be in another pod's cgroup, whoever comes first."""
    story = born("app")
    others = ContainerFacts(1, "cgroup-path", "f" * 64, pod_uid=OTHER, cgroup_id=99)
    facts = pod_facts("app", owners=OWNERS, **lie)
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    assembly.feed(others)
    traces = feed(assembly, [facts, *story.events] if first else [*story.events, facts])
    (trace,) = traces + assembly.due(story.now + 10 * SECOND)
    assert trace.spans[0].name == "pod birth"
    assert trace.pod["k8s.pod.name"] == "web"
    assert trace.pod["k8s.namespace.name"] == "shop"
    assert "k8s.deployment.name" not in trace.pod
    assert "kube-api" not in trace.spans[0].attributes["otel_kernel.birth.identity.source"]  # type: ignore[operator]
    assert trace.spans[0].attributes["otel_kernel.birth.completion"] == "quiet"
    assert assembly.counters.contradicted == 1


def test_another_uid_is_another_pod() -> None:
    """What the API says of the same name under another UID is not this pod's."""
    trace = told(pod_facts("app", pod_uid=OTHER, owners=OWNERS))
    assert trace.spans[0].name == "pod birth"
    assert trace.pod["k8s.pod.uid"] == UID


def test_a_source_that_names_another_pod_than_the_cgroup_is_forgotten_whole() -> None:
    """The CRI said first whose container it is; its cgroup says otherwise: no name of the other pod may stay."""
    story = Story().pod_cgroup()
    story.events.insert(
        0, ContainerFacts(1, "cri", container_id("app"), pod_uid=OTHER, pod_name="other", container_name="app")
    )
    story.born_sandbox()
    story.born_container("app")
    trace = told(None, story)
    assert trace.pod["k8s.pod.name"] == "web"
    assert trace.pod["k8s.pod.uid"] == UID


def test_an_init_container_that_runs_for_minutes_does_not_split_a_birth() -> None:
    """Nor does an image that is pulled between two containers."""
    story = Story().pod_cgroup().born_sandbox()
    first = story.born_container("migrate")
    story.after(180_000)
    first.exit()
    story.after(120_000)
    story.born_container("app")
    facts = pod_facts(
        containers=(PodContainer("migrate", "init", None), PodContainer("app", "regular", None)),
    )
    trace = told(facts, story)
    assert trace.spans[0].attributes["otel_kernel.birth.completion"] == "known"
    assert only(trace, "container migrate").start_unix_ns < only(trace, "container app").start_unix_ns


def test_an_ephemeral_container_is_not_awaited() -> None:
    """It comes when somebody debugs the pod, as a container start."""
    containers = (PodContainer("app", "regular", None), PodContainer("debug", "ephemeral", None))
    story = born("app")
    at_ns = story.now
    story.after(60_000)
    story.born_container("debug")
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    assembly.feed(pod_facts(containers=containers))
    birth, start = feed(assembly, story.events) + assembly.due(story.now + 10 * SECOND)
    assert birth.spans[0].attributes["otel_kernel.birth.completion"] == "known"
    assert birth.spans[0].end_unix_ns <= at_ns + OFFSET
    assert start.spans[0].name == "container start"


def test_a_restart_of_one_of_two_containers_is_over_when_it_is_quiet() -> None:
    """The spec's other containers run already: a restart does not wait for them."""
    story = born("one", "two")
    story.after(60_000)
    story.born_container("one", "e" * 64)
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    assembly.feed(pod_facts("one", "two"))
    birth, restart = feed(assembly, story.events) + assembly.due(story.now + 10 * SECOND)
    assert restart.spans[0].name == "container restart"
    assert restart.spans[0].links[0].trace_id == birth.trace_id


def test_conditions_are_steps_and_later_ones_are_told_in_the_births_context() -> None:
    """Each once: on the root when it was known by then, else as a change."""
    scheduled = Condition("PodScheduled", "True", None, OFFSET + 999 * SECOND)
    ready = Condition("Ready", "True", None, OFFSET + 1_003 * SECOND)
    unready = Condition("Ready", "False", "ContainersNotReady", OFFSET + 1_000 * SECOND)
    story = born("app")
    assembly = Assembly(AssemblySettings(), lambda: OFFSET)
    assembly.feed(pod_facts("app", conditions=(scheduled, unready)))
    (trace,) = feed(assembly, story.events) + assembly.due(story.now)
    steps = [str(event.attributes["otel_kernel.step.action"]) for event in trace.spans[0].events]
    assert "condition PodScheduled: True" in steps
    assert "condition Ready: False (ContainersNotReady)" in steps
    assert trace.spans[0].attributes["otel_kernel.birth.scheduled_to_first_event"] == pytest.approx(1, abs=0.1)
    assert assembly.take_condition_changes() == []
    for _ in range(2):
        assembly.feed(pod_facts("app", conditions=(scheduled, ready)))
    (change,) = assembly.take_condition_changes()
    assert change.condition == ready
    assert (change.root.trace_id, change.root.span_id) == (trace.trace_id, trace.spans[0].span_id)


def test_a_pod_that_no_scheduler_bound_has_no_time_since_then() -> None:
    """The kubelet sets that condition itself, after it has begun."""
    later = Condition("PodScheduled", "True", None, OFFSET + 1_001 * SECOND)
    trace = told(pod_facts("app", conditions=(later,)))
    assert "otel_kernel.birth.scheduled_to_first_event" not in trace.spans[0].attributes


@pytest.mark.parametrize("answered", [True, False])
def test_a_birth_waits_for_its_events_and_not_longer_than_allowed(answered: bool) -> None:
    """They are asked for once; without an answer the birth goes without them."""
    story = born("app")
    assembly = Assembly(AssemblySettings(asks_events=True), lambda: OFFSET)
    assembly.feed(pod_facts("app"))
    assert feed(assembly, story.events) == []
    now = story.now
    assert assembly.due(now) == []
    (question,) = assembly.take_questions()
    assert question == (UID, "shop")
    assert assembly.next_deadline_ns == now + 2 * SECOND
    if answered:
        events = (PodEvent(OFFSET + now, "Pulled", "image pulled in 1.2s", 2),)
        assembly.feed(PodEvents(now, UID, events))
        (trace,) = assembly.due(now + 1)
    else:
        assert assembly.due(now + 2 * SECOND - 1) == []
        (trace,) = assembly.due(now + 2 * SECOND)
    assert assembly.take_questions() == []
    steps = [event.attributes["otel_kernel.step.action"] for event in trace.spans[0].events]
    assert ("event Pulled: image pulled in 1.2s (2 times)" in steps) is answered


def test_a_birth_waits_for_the_owner_that_is_being_asked_for() -> None:
    """Not longer than allowed, and only while the question is open."""
    for answered in (True, False):
        story = born("app")
        assembly = Assembly(AssemblySettings(), lambda: OFFSET)
        assembly.feed(pod_facts("app", owners=OWNERS[:1], is_partial=True))
        assert feed(assembly, story.events) == []
        assert assembly.due(story.now) == []
        assert assembly.next_deadline_ns == story.now + 2 * SECOND
        if answered:
            assembly.feed(pod_facts("app", owners=OWNERS))
        (trace,) = assembly.due(story.now + (1 if answered else 2 * SECOND))
        assert trace.spans[0].name == ("pod birth web" if answered else "pod birth web-6d4f")


def test_the_span_in_which_a_pod_was_created_is_linked() -> None:
    """Never a parent: the trace's id is the pod's."""
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    trace = told(pod_facts("app", trace_parent=parent))
    (link,) = trace.spans[0].links
    assert (link.trace_id.hex(), link.span_id.hex()) == ("a" * 32, "b" * 16)
    assert trace.spans[0].parent_span_id is None


@pytest.mark.parametrize("source", ["oci-bundle", "cri"])
def test_that_span_is_linked_whoever_tells_it(source: str) -> None:
    """The runtime is given all annotations of a pod."""
    story = born("app")
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    story.events.append(ContainerFacts(story.now, source, container_id("app"), trace_parent=parent))
    (link,) = told(None, story).spans[0].links
    assert link.trace_id.hex() == "a" * 32


@pytest.mark.parametrize("text", ["", "00-xyz", f"ff-{'a' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'b' * 16}-01"])
def test_what_is_no_trace_parent_is_no_link(text: str) -> None:
    """As the W3C's specification has it."""
    assert told(pod_facts("app", trace_parent=text)).spans[0].links == ()


def test_services_are_named_as_the_semantic_conventions_say() -> None:
    """What annotations and labels tell beats what is derived from owners and images."""
    settings = AssemblySettings(services="workload")
    trace = told(pod_facts(owners=OWNERS, containers=(PodContainer("app", "regular", None),)), settings=settings)
    assert {span.service for span in trace.spans} == {"web"}
    of_container = trace.containers[container_id("app")]
    assert of_container["service.namespace"] == "shop"
    assert of_container["service.instance.id"] == "shop.web.app"
    named = pod_facts("app", owners=OWNERS, service=(("service.name", "cart"), ("service.version", "7")))
    trace = told(named, settings=settings)
    assert {span.service for span in trace.spans} == {"cart"}
    assert trace.pod["service.version"] == "7"


def test_kubernetes_words_are_recorded_and_replayed() -> None:
    """A recording holds what sources over the network said, in order with the events."""
    facts = pod_facts(
        owners=OWNERS,
        containers=(PodContainer("app", "regular", None, "f" * 64, None, ("a@sha256:1",), 1),),
        conditions=(Condition("Ready", "True", None, 5),),
    )
    events = PodEvents(1, UID, (PodEvent(2, "Pulled", "x", 1),))
    assert decode(encode(facts)) == facts
    assert decode(encode(events)) == events
    assert decode(encode(replace(facts, node_uid=OTHER))) != facts
