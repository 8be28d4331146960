"""Births from files: which traces come of what was noticed, and what they say."""

import pytest

from otel_kernel.births import file_spans
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.from_files import FileBirths
from otel_kernel.births.model import Completion
from otel_kernel.births.sightings import Appeared, Emptied, Missed, Program, Vanished
from otel_kernel.births.trace import Span, Trace

UID = "761cc4fe-b9b2-4412-b3b9-a857e0faa23e"
STATIC = "4b53c1a8f3e94d2a9f0e6d5c7b8a9f10"
SANDBOX, APP, SIDE, APP_AGAIN = "5" * 64, "a" * 64, "b" * 64, "c" * 64
MS = 1_000_000
QUIET_NS, TIMEOUT_NS = 5_000 * MS, 600_000 * MS
OFFSET_NS = 1_700_000_000_000_000_000


class Story:
    """A pod's files as they change; times are milliseconds."""

    def __init__(self, uid: str = UID) -> None:
        self.births = FileBirths(AssemblySettings(QUIET_NS, TIMEOUT_NS, node_name="node-1"), lambda: OFFSET_NS)
        self.uid = uid

    def pod(self, ms: int, *, existing: bool = False) -> "Story":
        """Let the pod's cgroup appear."""
        self.births.feed(Appeared(ms * MS, self.uid, None, existing))
        return self

    def unit(self, ms: int, container_id: str, name: str | None, *, existing: bool = False) -> "Story":
        """Let a container's cgroup appear; without a name it is the sandbox."""
        self.births.feed(ContainerFacts(ms * MS, "cgroup-path", container_id, pod_uid=self.uid))
        self.births.feed(Appeared(ms * MS, self.uid, container_id, existing))
        self.births.feed(
            ContainerFacts(
                ms * MS,
                "oci-bundle",
                container_id,
                sandbox_id=SANDBOX,
                is_sandbox=name is None,
                pod_name="probe",
                namespace="default",
                container_name=name,
            )
        )
        return self

    def ran(self, ms: int, container_id: str, *, runtime: bool = False) -> "Story":
        """Let a program be seen in a container."""
        program = "/" if runtime else "/bin/app"
        self.births.feed(Program(ms * MS, self.uid, container_id, 60, program, runtime))
        return self

    def emptied(self, ms: int, container_id: str) -> "Story":
        """Let the last process of a container end."""
        self.births.feed(Emptied(ms * MS, self.uid, container_id))
        return self

    def removed(self, ms: int, container_id: str | None = None) -> "Story":
        """Let a cgroup be removed."""
        self.births.feed(Vanished(ms * MS, self.uid, container_id))
        return self

    def due(self, ms: int) -> list[Trace]:
        """Return the traces that are due."""
        return self.births.due(ms * MS)

    def begun(self) -> "Story":
        """Let a sandbox run and a container be born: over at 140 ms."""
        self.pod(0).unit(1, SANDBOX, None).ran(40, SANDBOX)
        return self.unit(100, APP, "app").ran(120, APP, runtime=True).ran(140, APP)


def told(trace: Trace) -> list[tuple[str, int, int]]:
    """Return name, start and end of each span, in milliseconds of boot time."""
    return [(s.name, (s.start_unix_ns - OFFSET_NS) // MS, (s.end_unix_ns - OFFSET_NS) // MS) for s in trace.spans]


def only(traces: list[Trace]) -> Trace:
    """Return the only trace."""
    (trace,) = traces
    return trace


def root(trace: Trace) -> Span:
    """Return the root."""
    return trace.spans[0]


def test_a_birth() -> None:
    """Pod, sandbox and container become root and units, each from its cgroup to its own program."""
    trace = only(Story().begun().due(5140))
    assert told(trace) == [("pod birth", 0, 140), ("sandbox", 1, 40), ("container app", 100, 140)]
    assert (trace.scope, trace.trace_id.hex()) == ("otel_kernel.cgroupfs", UID.replace("-", ""))
    assert [span.parent_span_id for span in trace.spans] == [None, root(trace).span_id, root(trace).span_id]
    assert len({span.span_id for span in trace.spans}) == 3
    assert [span.attributes["otel_kernel.level"] for span in trace.spans] == ["birth", "unit", "unit"]
    assert root(trace).attributes["otel_kernel.birth.completion"] == "quiet"
    assert root(trace).attributes["otel_kernel.birth.duration"] == 0.14
    assert root(trace).attributes["otel_kernel.birth.identity.source"] == ("cgroup-path", "oci-bundle")
    assert trace.pod == {
        "k8s.pod.uid": UID, "k8s.pod.name": "probe", "k8s.namespace.name": "default", "k8s.node.name": "node-1",
    }  # fmt: skip
    assert trace.containers == {APP: {**trace.pod, "k8s.container.name": "app", "container.id": APP}}
    assert [span.container_id for span in trace.spans] == [None, None, APP]


def test_no_counts() -> None:
    """What files do not tell is absent: no count, no completeness, no error."""
    trace = only(Story().begun().due(5140))
    counts = (
        "syscalls",
        "processes",
        "threads",
        "clones",
        "execs",
        "mounts",
        "namespaces",
        "namespace_ops",
        "cgroup_writes",
    )
    absent = {
        f"otel_kernel.birth.{name}" for name in (*counts, "containers", "complete", "events.lost", "untraced.time")
    }
    assert not absent & set(root(trace).attributes)
    assert [span.error for span in trace.spans] == [None, None, None]


def test_steps() -> None:
    """The root holds the timeline, an entry point is an event of its unit."""
    trace = only(Story().begun().due(5140))
    steps = [(e.attributes["otel_kernel.step.action"], (e.unix_ns - OFFSET_NS) // MS) for e in root(trace).events]
    assert steps == [
        ("pod: cgroup mkdir", 0),
        ("sandbox: cgroup mkdir", 1),
        ("sandbox: entry point", 40),
        ("container app: cgroup mkdir", 100),
        ("container app: entry point", 140),
    ]
    (entry,) = trace.spans[2].events
    assert (entry.name, entry.attributes) == ("entry point", {"process.pid": 60, "process.executable.path": "/bin/app"})


def test_not_before_it_is_quiet() -> None:
    """A birth is over when nothing was noticed for the quiet period, and only then."""
    story = Story().begun()
    assert story.births.next_deadline_ns == 5140 * MS
    assert story.due(5139) == []
    story.unit(5139, SIDE, "side")
    assert story.due(6000) == []
    story.ran(5200, SIDE)
    assert len(only(story.due(10200)).spans) == 4
    assert story.births.open == 0
    assert story.births.due(10**18) == []


def test_cgroup_and_sandbox_never_begin_the_quiet_period() -> None:
    """While images are pulled nothing happens for long: a sandbox alone waits for the timeout."""
    story = Story().pod(0).unit(1, SANDBOX, None).ran(40, SANDBOX)
    assert story.due(599_999) == []
    attributes = root(only(story.due(600_000))).attributes
    assert (attributes["otel_kernel.birth.completion"], attributes["otel_kernel.birth.complete"]) == ("timeout", False)


def test_a_container_in_preparation_keeps_a_birth_open() -> None:
    """A container that is created and not started is still to come."""
    story = Story().begun().unit(200, SIDE, "side").ran(220, SIDE, runtime=True)
    assert story.due(599_999) == []
    story.ran(599_999, SIDE)
    assert root(only(story.due(600_000))).attributes["otel_kernel.birth.completion"] == "timeout"


def test_a_program_that_nobody_saw() -> None:
    """A container that was gone before anybody looked ends without an entry point, which is said and is no error."""
    story = Story().pod(0).unit(1, SANDBOX, None).ran(40, SANDBOX)
    trace = only(story.unit(100, APP, "app").emptied(120, APP).removed(125, APP).due(5125))
    assert told(trace)[2] == ("container app", 100, 120)
    assert trace.spans[2].attributes["otel_kernel.unit.reason"] == file_spans.NOT_SEEN
    assert (trace.spans[2].error, root(trace).error) == (None, None)


def test_a_cgroup_that_is_empty_for_a_moment() -> None:
    """Between two stages of the runtime's a cgroup may be empty: the container is still to come."""
    story = Story().pod(0).unit(1, SANDBOX, None).ran(40, SANDBOX).unit(100, APP, "app")
    story.emptied(110, APP).ran(115, APP, runtime=True).ran(130, APP)
    assert told(only(story.due(5130)))[2] == ("container app", 100, 130)


def test_init_containers_run_inside_a_birth() -> None:
    """A program that ends before the birth does has a span of its own."""
    story = Story().pod(0).unit(1, SANDBOX, None).ran(40, SANDBOX)
    story.unit(100, SIDE, "setup").ran(120, SIDE).emptied(1120, SIDE).removed(1125, SIDE)
    trace = only(story.unit(1200, APP, "app").ran(1240, APP).due(6240))
    assert told(trace)[2:] == [("container setup", 100, 120), ("run setup", 120, 1120), ("container app", 1200, 1240)]
    assert all(span.start_unix_ns >= root(trace).start_unix_ns for span in trace.spans)
    assert all(span.end_unix_ns <= root(trace).end_unix_ns for span in trace.spans)


def test_a_pod_removed_while_it_is_born() -> None:
    """A pod that is removed is over after the quiet period, whatever it still waited for."""
    story = Story().pod(0).unit(1, SANDBOX, None).removed(50, SANDBOX).removed(60)
    assert story.due(5059) == []
    assert told(only(story.due(5060))) == [("pod birth", 0, 50), ("sandbox", 1, 50)]


def test_restarts_and_late_starts() -> None:
    """After its pod's birth a container is a trace of its own, linked to the birth and called after what it is."""
    story = Story().begun()
    birth = only(story.due(5140))
    story.emptied(9000, APP).removed(9001, APP).unit(9100, APP_AGAIN, "app").ran(9140, APP_AGAIN)
    restart = only(story.due(14_140))
    late = only(story.unit(20_000, SIDE, "side").ran(20_040, SIDE).due(25_040))
    assert told(restart) == [("container restart", 9100, 9140)]
    assert told(late) == [("container start", 20_000, 20_040)]
    for trace in (restart, late):
        (link,) = root(trace).links
        assert (link.trace_id, link.span_id) == (birth.trace_id, root(birth).span_id)
        assert root(trace).attributes["otel_kernel.level"] == "unit"
    assert len({birth.trace_id, restart.trace_id, late.trace_id}) == 3


def test_a_sandbox_made_anew() -> None:
    """A second sandbox after the birth is a restart of the sandbox."""
    story = Story().begun()
    story.due(5140)
    trace = only(story.removed(6000, SANDBOX).unit(7000, "d" * 64, None).ran(7040, "d" * 64).due(12_040))
    assert told(trace) == [("sandbox restart", 7000, 7040)]


def test_further_attempts_at_the_sandbox() -> None:
    """Within a birth a further sandbox is a further unit of it."""
    story = Story().pod(0).unit(1, "d" * 64, None).removed(50, "d" * 64).unit(60, SANDBOX, None).ran(90, SANDBOX)
    trace = only(story.unit(100, APP, "app").ran(140, APP).due(5140))
    assert [name for name, _, _ in told(trace)] == ["pod birth", "sandbox", "sandbox", "container app"]


def test_a_pod_that_was_there() -> None:
    """Of a pod that ran before observation began there is no birth, only what starts later."""
    story = Story().pod(0, existing=True)
    story.unit(0, SANDBOX, None, existing=True).ran(0, SANDBOX).unit(0, APP, "app", existing=True).ran(0, APP)
    assert story.births.open == 0
    story.removed(100, APP).unit(200, APP_AGAIN, "app").ran(240, APP_AGAIN)
    trace = only(story.due(5240))
    assert told(trace) == [("container restart", 200, 240)]
    assert root(trace).links == ()


@pytest.mark.parametrize("container_was_there", [False, True])
def test_a_birth_half_seen(container_was_there: bool) -> None:
    """A pod whose containers were still to come when observation began is a birth that was not seen from its start."""
    story = Story().pod(0, existing=True).unit(0, SANDBOX, None, existing=True).ran(0, SANDBOX)
    story.unit(0 if container_was_there else 100, APP, "app", existing=container_was_there)
    trace = only(story.ran(120, APP, runtime=True).ran(140, APP).due(5140))
    assert [name for name, _, _ in told(trace)] == ["pod birth", "sandbox", "container app"]
    attributes = root(trace).attributes
    assert (attributes["otel_kernel.birth.completion"], attributes["otel_kernel.birth.complete"]) == (
        "agent_started",
        False,
    )
    assert trace.trace_id.hex() != UID.replace("-", "")


def test_told_once() -> None:
    """A container whose program comes after its birth was told is not told again."""
    story = Story().pod(0).unit(1, SANDBOX, None).unit(100, APP, "app").ran(110, APP, runtime=True)
    assert len(story.due(600_000)) == 1
    story.ran(600_001, APP, runtime=True).ran(600_002, APP)
    assert story.births.open == 0


def test_static_pods() -> None:
    """The id of a static pod's trace is made from more than its UID, which stays the same at every birth."""
    first, second = (only(Story(STATIC).begun().due(5140)) for _ in range(2))
    assert first == second
    assert first.trace_id.hex() != STATIC
    assert first.pod["k8s.pod.uid"] == STATIC


def test_the_span_in_which_a_pod_was_created_is_linked() -> None:
    """Whoever tells it."""
    story = Story().begun()
    story.births.feed(ContainerFacts(150 * MS, "cri", APP, trace_parent=f"00-{'a' * 32}-{'b' * 16}-01"))
    (link,) = root(only(story.due(5140))).links
    assert link.trace_id.hex() == "a" * 32


def test_names_that_come_late() -> None:
    """What a bundle says once the birth has begun names all of it."""
    story = Story()
    story.births.feed(Appeared(0, UID, None, existing=False))
    story.births.feed(Appeared(1 * MS, UID, SANDBOX, existing=False))
    story.ran(40, SANDBOX)
    story.births.feed(Appeared(100 * MS, UID, APP, existing=False))
    story.ran(140, APP)
    for container_id, name in ((SANDBOX, None), (APP, "app")):
        story.births.feed(ContainerFacts(200 * MS, "cgroup-path", container_id, pod_uid=UID))
        facts = ContainerFacts(
            200 * MS, "oci-bundle", container_id, is_sandbox=name is None, pod_name="probe", container_name=name
        )
        story.births.feed(facts)
    trace = only(story.due(5140))
    assert [name for name, _, _ in told(trace)] == ["pod birth", "sandbox", "container app"]
    assert trace.pod["k8s.pod.name"] == "probe"


def test_without_any_bundle() -> None:
    """Where no bundle can be read, the first unit is the sandbox, names are absent, and the reason is said."""
    story = Story().pod(0)
    for ms, container_id in ((1, SANDBOX), (100, APP)):
        story.births.feed(ContainerFacts(ms * MS, "cgroup-path", container_id, pod_uid=UID))
        story.births.feed(Appeared(ms * MS, UID, container_id, existing=False))
        story.births.feed(ContainerFacts(ms * MS, "oci-bundle", container_id, failure="missing"))
        story.ran(ms + 30, container_id)
    trace = only(story.due(5130))
    assert [name for name, _, _ in told(trace)] == ["pod birth", "sandbox", "container"]
    assert "k8s.pod.name" not in trace.pod
    assert root(trace).attributes["otel_kernel.birth.reason"] == "oci-bundle: missing; oci-bundle: missing"


def test_what_was_missed_is_said() -> None:
    """A birth during which something could not be seen says so; a later one does not."""
    story = Story().begun()
    story.births.feed(Missed(150 * MS, "the queue of inotify was full"))
    story.births.feed(Missed(151 * MS, "the queue of inotify was full"))
    assert root(only(story.due(5140))).attributes["otel_kernel.birth.reason"] == "the queue of inotify was full"


def test_shutdown() -> None:
    """At shutdown what is open is told as far as it came."""
    story = Story().pod(0).unit(1, SANDBOX, None)
    attributes = root(only(story.births.close())).attributes
    assert attributes["otel_kernel.birth.completion"] == Completion.SHUTDOWN
    assert story.births.close() == []


def test_a_pod_without_anything() -> None:
    """A pod's cgroup in which nothing ever appeared is a root alone, longer than nothing."""
    trace = only(Story().pod(0).due(600_000))
    assert told(trace) == [("pod birth", 0, 0)]
    assert root(trace).end_unix_ns > root(trace).start_unix_ns


def test_sightings_of_nobody() -> None:
    """What is told of pods and containers that never appeared changes nothing."""
    story = Story().ran(1, APP).emptied(2, APP).removed(3, APP).removed(4)
    story.births.feed(ContainerFacts(5, "oci-bundle", APP, pod_name="x"))
    assert (story.births.open, story.births.close()) == (0, [])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pods and containers that are not removed the latest are remembered."""
    monkeypatch.setattr("otel_kernel.births.from_files._PODS_KEPT", 10)
    monkeypatch.setattr("otel_kernel.births.from_files._IDENTITIES_KEPT", 10)
    births = FileBirths(AssemblySettings(QUIET_NS, TIMEOUT_NS), lambda: 0)
    for number in range(50):
        births.feed(Appeared(number, f"{number:032x}", None, existing=True))
        births.feed(ContainerFacts(number, "oci-bundle", f"{number:064x}"))
    assert (len(births._pods), len(births._identities)) == (10, 10)
