"""A birth made by hand, small, with one of everything a trace can hold."""

import pytest

from otel_kernel.births.trace import Attributes, Span, SpanEvent, SpanLink, Trace

UID = "4645395f-96ab-4c85-8645-395f96ab1c85"
START_NS = 1_795_347_051_812_253_676


@pytest.fixture
def birth() -> Trace:
    """Return a birth with a sandbox, one container, a failed process, an event, a link and every type of value."""
    pod: Attributes = {"k8s.pod.uid": UID, "k8s.pod.name": "web-0", "k8s.namespace.name": "shop"}
    container: Attributes = {**pod, "k8s.container.name": "app", "container.id": "c" * 64}
    root, unit, process, call = (bytes([number]) * 8 for number in range(1, 5))
    ready = SpanEvent("otel_kernel.step", START_NS + 5, {"otel_kernel.step.name": "sandbox", "otel_kernel.step.pid": 7})
    counts: Attributes = {
        "otel_kernel.level": "birth",
        "otel_kernel.birth.syscalls": 21_345,
        "otel_kernel.birth.complete": True,
        "otel_kernel.birth.untraced.time": 0.25,
        "otel_kernel.birth.identity.source": ("cgroup-path", "oci-bundle"),
        "otel_kernel.process.pids": (11, 12),
    }
    spans = (
        Span(root, None, "pod birth", START_NS, START_NS + 100, "otel-kernel", counts, events=(ready,)),
        Span(unit, root, "container app", START_NS + 1, START_NS + 90, "otel-kernel", {}, "c" * 64),
        Span(process, unit, "runc init", START_NS + 2, START_NS + 80, "runc", {}, "c" * 64, error="exit code 1"),
        Span(call, process, "mount", START_NS + 3, START_NS + 4, "runc", {"process.pid": 11}, "c" * 64,
             links=(SpanLink(b"t" * 16, b"s" * 8, {"why": "restart"}),)),
    )  # fmt: skip
    return Trace(bytes.fromhex(UID.replace("-", "")), "otel_kernel.ebpf", spans, pod, {"c" * 64: container})
