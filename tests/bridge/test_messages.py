"""What the operator is told, exactly, and what it is not told."""

import json
from typing import Any

import pytest

from otel_kernel.bridge import otlp_json, otlp_protobuf
from otel_kernel.bridge.messages import Kind, Message, NotPosted, Unpostable, of_birth, of_event
from otel_kernel.bridge.told import Birth, Event, Step
from tests.bridge.births import as_json, as_protobuf, recorded, throttled
from tests.bridge.operator_mock import Operator

RESOURCE = {"k8s.pod.name": "web-1", "k8s.namespace.name": "shop"}
COUNTS = {
    "otel_kernel.level": "birth",
    "otel_kernel.birth.syscalls": 1234,
    "otel_kernel.birth.namespace_ops": 12,
    "otel_kernel.birth.cgroup_writes": 7,
    "otel_kernel.birth.duration": 0.25,
}
START_NS = 1_795_381_167_557_123_456


def made(
    resource: dict[str, Any] | None = None,
    steps: tuple[Step, ...] = (),
    **changed: Any,  # noqa: ANN401  # what no count can be, too
) -> Message | Unpostable:
    """Return what is made of a birth that differs from a sound one in this."""
    attributes = {**COUNTS, **{f"otel_kernel.birth.{name}": value for name, value in changed.items()}}
    attributes = {name: value for name, value in attributes.items() if value is not None}
    end_ns = START_NS + 300_000_000
    return of_birth(Birth("ab" * 16, "cd" * 8, START_NS, end_ns, {**RESOURCE, **(resource or {})}, attributes, steps))


def fields(message: Message | Unpostable | None) -> dict[str, Any]:
    """Return the fields of a message that the operator takes."""
    assert isinstance(message, Message), message
    assert Operator().answer("application/json", message.body).status == 200
    said: dict[str, Any] = json.loads(message.body)[message.kind]
    return said


def test_a_recorded_birth() -> None:
    """A real birth becomes exactly what the operator takes, with the root's own figures and steps."""
    trace = recorded()
    root = trace.spans[0]
    (told,) = otlp_protobuf.births(as_protobuf(trace))
    said = fields(of_birth(told))
    prefix = "otel_kernel.birth."
    duration = root.attributes[f"{prefix}duration"]
    assert isinstance(duration, float)
    assert said.pop("timestamp").startswith("20")
    timeline = said.pop("timeline")
    assert said == {
        "pod_name": trace.pod["k8s.pod.name"],
        "namespace": trace.pod["k8s.namespace.name"],
        "total_syscalls": root.attributes[f"{prefix}syscalls"],
        "namespace_ops": root.attributes[f"{prefix}namespace_ops"],
        "cgroup_writes": root.attributes[f"{prefix}cgroup_writes"],
        "duration_ns": round(duration * 1e9),
        "ebpf_detection": True,
    }
    steps = [event for event in root.events if event.name == "otel_kernel.step"]
    assert [(step["timestamp_ms"], step["action"]) for step in timeline] == [
        (event.unix_ns // 1_000_000, event.attributes["otel_kernel.step.action"]) for event in steps
    ]
    assert len(timeline) > 10


def test_json_tells_what_protobuf_tells() -> None:
    """Both encodings of a real birth tell the same."""
    assert list(otlp_json.births(as_json(recorded()))) == list(otlp_protobuf.births(as_protobuf(recorded())))


def test_timestamps() -> None:
    """The operator parses RFC 3339 and takes milliseconds in the timeline."""
    said = fields(made(steps=(Step(START_NS, "sandbox: start"),)))
    assert said["timestamp"] == "2026-11-22T20:59:27.557Z"
    assert said["timeline"] == [{"timestamp_ms": 1_795_381_167_557, "action": "sandbox: start"}]


def test_integers_are_clamped_to_what_the_operator_keeps() -> None:
    """It would cut 2^32 + 5 to 5."""
    said = fields(made(syscalls=2**32 + 5, namespace_ops=256, cgroup_writes=2**40, duration=1e30))
    assert (said["total_syscalls"], said["cgroup_writes"]) == (2**32 - 1, 2**32 - 1)
    assert said["namespace_ops"] == 255
    assert said["duration_ns"] == 2**63 - 1


@pytest.mark.parametrize("name", ["syscalls", "namespace_ops", "cgroup_writes", "duration"])
def test_a_birth_without_a_count_is_not_posted(name: str) -> None:
    """A birth from files, or one half seen, has no counts; nobody makes them up."""
    changed: dict[str, Any] = {name: None}
    assert made(**changed) == Unpostable(Kind.POD_CREATION, NotPosted.INCOMPLETE)


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ({"k8s.pod.name": ""}, NotPosted.INCOMPLETE),
        ({"k8s.namespace.name": ""}, NotPosted.INCOMPLETE),
        ({"k8s.namespace.name": "kube-system"}, NotPosted.SYSTEM_NAMESPACE),
        ({"k8s.namespace.name": "gmp-system"}, NotPosted.SYSTEM_NAMESPACE),
        ({"k8s.pod.name": "a\nb"}, NotPosted.INVALID),
        ({"k8s.pod.name": "a/b"}, NotPosted.INVALID),
        ({"k8s.pod.name": "web\n"}, NotPosted.INVALID),
        ({"k8s.pod.name": "x" * 250}, NotPosted.INVALID),
        ({"k8s.namespace.name": "a.b"}, NotPosted.INVALID),
        ({"k8s.pod.name": 5}, NotPosted.INVALID),
    ],
)
def test_names(resource: dict[str, Any], reason: NotPosted) -> None:
    """What no pod is called, and what the operator shows to nobody, is not posted."""
    assert made(resource) == Unpostable(Kind.POD_CREATION, reason)


@pytest.mark.parametrize(
    "changed",
    [{"syscalls": -1}, {"syscalls": 1.5}, {"syscalls": True}, {"duration": float("nan")}, {"duration": "1"}],
)
def test_what_no_count_can_be(changed: dict[str, Any]) -> None:
    """A count that is none makes no message."""
    assert made(**changed) == Unpostable(Kind.POD_CREATION, NotPosted.INVALID)


def test_a_timeline_is_bounded() -> None:
    """Neither many steps nor a long one make an object that the API server refuses."""
    said = fields(made(steps=tuple(Step(START_NS, "x\n" * 5000) for _ in range(5000))))
    assert len(said["timeline"]) == 128
    assert {len(step["action"]) for step in said["timeline"]} == {256}
    assert "\n" not in said["timeline"][0]["action"]


def test_a_throttling_event() -> None:
    """An event as the agent encodes it becomes exactly what the operator takes."""
    (told,) = otlp_protobuf.events(throttled("web-1", START_NS))
    assert fields(of_event(told)) == {
        "pod_name": "web-1",
        "namespace": "shop",
        "container_name": "app",
        "throttle_percentage": 62.5,
        "actual_cpu_usage": 0.52,
        "reported_cpu_usage": 0.31,
        "period_seconds": 15,
        "ebpf_detection": False,
        "throttle_ns": 1_234_567,
        "timestamp": "2026-11-22T20:59:27.557Z",
    }


def test_other_events_do_not_concern_the_operator() -> None:
    """An OOM kill has no message."""
    assert of_event(Event("otel_kernel.oom_kill", START_NS, RESOURCE, {})) is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"percentage": float("inf")}, NotPosted.INVALID), ({"usage_60s": "much"}, NotPosted.INVALID)],
)
def test_an_event_that_cannot_be(changed: dict[str, Any], reason: NotPosted) -> None:
    """Not a number is no JSON."""
    (told,) = otlp_protobuf.events(throttled("web-1", START_NS, **changed))
    assert of_event(told) == Unpostable(Kind.CPU_THROTTLE, reason)
