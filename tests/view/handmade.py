"""A birth made by hand for the pictures: the shape of a real one, with fewer calls."""

from dataclasses import replace

from otel_kernel.births.trace import Attributes, Span, SpanEvent, Trace

UID = "4645395f-96ab-4c85-8645-395f96ab1c85"
START_NS = 1_795_347_051_812_000_000
US = 1_000
POD: Attributes = {
    "k8s.pod.uid": UID,
    "k8s.pod.name": "web-0",
    "k8s.namespace.name": "shop",
    "k8s.node.name": "node-1",
}
CERTIFICATE: Attributes = {
    "otel_kernel.level": "birth",
    "otel_kernel.birth.completion": "known",
    "otel_kernel.birth.complete": True,
    "otel_kernel.birth.duration": 0.0972,
    "otel_kernel.birth.syscalls": 21_345,
    "otel_kernel.birth.processes": 11,
    "otel_kernel.birth.threads": 31,
    "otel_kernel.birth.clones": 17,
    "otel_kernel.birth.execs": 14,
    "otel_kernel.birth.mounts": 105,
    "otel_kernel.birth.namespaces": 9,
    "otel_kernel.birth.namespace_ops": 16,
    "otel_kernel.birth.cgroup_writes": 24,
    "otel_kernel.birth.containers": 1,
    "otel_kernel.birth.events.seen": 1_234,
    "otel_kernel.birth.events.lost": 0,
    "otel_kernel.birth.events.late": 0,
    "otel_kernel.birth.probe_misses": 0,
    "otel_kernel.birth.untraced.time": 0.0312,
    "otel_kernel.birth.identity.source": ("cgroup-path", "oci-bundle"),
    "otel_kernel.birth.slowest": "sandbox: runc init: wait read",
}

# parent, level, service, name, start and end in microseconds after the first event, attributes
Drawn = tuple[str, str, str, str, str, int, int, Attributes]
FAILED: Attributes = {"error.type": "ENOENT"}
PARTS: tuple[Drawn, ...] = (
    ("root", "", "birth", "otel-kernel", "pod birth web", 0, 99_000, CERTIFICATE),
    ("sandbox", "root", "unit", "otel-kernel", "sandbox", 0, 52_100, {}),
    ("netns", "sandbox", "call", "containerd", "unshare", 0, 310, {}),
    ("back", "sandbox", "call", "containerd", "setns", 400, 404, {}),
    ("ptp", "sandbox", "process", "cni", "ptp", 1_200, 10_340, {}),
    ("ptp1", "ptp", "call", "cni", "clone", 2_000, 2_180, {}),
    ("ptp2", "ptp", "call", "cni", "setns", 6_000, 6_012, {}),
    ("ptp3", "ptp", "call", "cni", "setns", 7_000, 7_010, {}),
    ("ipam", "ptp", "process", "cni", "host-local", 2_180, 6_200, {}),
    ("shim", "sandbox", "process", "containerd-shim", "containerd-shim-runc-v2 start", 10_400, 15_300, {}),
    ("create", "sandbox", "process", "runc", "runc create", 20_000, 41_080, {}),
    ("create1", "create", "call", "runc", "clone", 23_000, 23_400, {}),
    ("init", "sandbox", "process", "runc", "runc init", 23_400, 50_000, {"otel_kernel.process.pids": (31, 32, 33)}),
    ("init1", "init", "call", "runc", "execve", 23_500, 24_300, {}),
    ("init2", "init", "call", "runc", "unshare", 25_000, 25_900, {}),
    ("wait1", "init", "wait", "runc", "wait read", 26_000, 38_730, {}),
    ("mounts", "init", "group", "runc", "mounts", 39_000, 42_420, {}),
    ("mount1", "mounts", "call", "runc", "mount", 39_000, 39_090, {}),
    ("mount2", "mounts", "call", "runc", "mount", 40_000, 40_030, FAILED),
    ("mount3", "mounts", "call", "runc", "pivot_root", 42_400, 42_420, {}),
    ("wait2", "init", "wait", "runc", "wait openat", 43_000, 49_300, {}),
    ("entry", "init", "call", "runc", "execve", 49_382, 50_000, {}),
    ("start", "sandbox", "process", "runc", "runc start", 46_000, 50_540, {}),
    ("app", "root", "unit", "otel-kernel", "container app", 60_000, 99_000, {}),
    ("rootfs", "app", "group", "containerd", "mounts", 60_100, 60_141, {}),
    ("rootfs1", "rootfs", "call", "containerd", "mount", 60_100, 60_120, {}),
    ("rootfs2", "rootfs", "call", "containerd", "mount", 60_121, 60_141, {}),
    ("create2", "app", "process", "runc", "runc create", 61_000, 93_990, {}),
    ("init3", "app", "process", "runc", "runc init", 64_000, 97_200, {}),
    ("start2", "app", "process", "runc", "runc start", 92_000, 97_190, {}),
)


def birth() -> Trace:
    """Return the birth of `shop/web-0`: a sandbox and one container."""
    spans = tuple(
        Span(
            _id(key),
            _id(parent) if parent else None,
            name,
            START_NS + start_us * US,
            START_NS + end_us * US,
            service,
            {"otel_kernel.level": level, **({"otel_kernel.syscall.name": name} if level == "call" else {}), **more},
        )
        for key, parent, level, service, name, start_us, end_us, more in PARTS
    )
    return Trace(bytes.fromhex(UID.replace("-", "")), "otel_kernel.ebpf", spans, POD)


def failed() -> Trace:
    """Return the same birth with an entry point that does not exist."""
    reason = "ended without an entry point: runc create exited with 1"
    lost: Attributes = {
        "otel_kernel.birth.completion": "quiet",
        "otel_kernel.birth.reason": f"container app {reason}",
        "otel_kernel.birth.events.lost": 3,
    }
    withdrawn = ("otel_kernel.birth.complete", "otel_kernel.birth.duration")
    root, *others = birth().spans
    told = {**{key: value for key, value in root.attributes.items() if key not in withdrawn}, **lost}
    errors = {_id("app"): reason, _id("create2"): "exit code 1"}
    spans = (
        replace(root, attributes=told, error=f"container app {reason}"),
        *(replace(span, error=errors.get(span.span_id)) for span in others),
    )
    return replace(birth(), spans=spans)


def as_events(trace: Trace) -> Trace:
    """Return the trace as `OTEL_KERNEL_CALLS=folded` exports it: calls are events of what made them."""
    calls = [span for span in trace.spans if span.attributes["otel_kernel.level"] == "call"]
    return replace(trace, spans=tuple(_with_events(span, calls) for span in trace.spans if span not in calls))


def _with_events(span: Span, calls: list[Span]) -> Span:
    made = (call for call in calls if call.parent_span_id == span.span_id)
    return replace(span, events=tuple(_event(call) for call in made))


def _event(call: Span) -> SpanEvent:
    took_s = (call.end_unix_ns - call.start_unix_ns) / 1e9
    return SpanEvent(call.name, call.start_unix_ns, {**call.attributes, "otel_kernel.call.time": took_s})


def _id(key: str) -> bytes:
    return key.encode().ljust(8, b"\0")
