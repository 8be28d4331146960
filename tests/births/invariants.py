"""What holds for every trace, whatever was fed."""

from otel_kernel.births.trace import Trace

LEVELS = {"birth", "unit", "process", "group", "call", "wait"}
SERVICES = {"otel-kernel", "kubelet", "containerd", "crio", "containerd-shim", "runc", "crun", "cni"}


def check(trace: Trace) -> None:
    """Assert that every span lies inside its parent, lasts, is unique, and is told after its parent."""
    seen = {}
    for span in trace.spans:
        assert span.end_unix_ns > span.start_unix_ns, span
        assert span.span_id not in seen, span
        assert span.attributes["otel_kernel.level"] in LEVELS
        assert span.service in SERVICES
        assert span.container_id is None or span.container_id in trace.containers
        seen[span.span_id] = span
        if span is trace.spans[0]:
            assert span.parent_span_id is None
            continue
        assert span.parent_span_id is not None
        parent = seen[span.parent_span_id]
        assert parent.start_unix_ns <= span.start_unix_ns, (parent, span)
        assert span.end_unix_ns <= parent.end_unix_ns, (parent, span)
    steps = [event for event in trace.spans[0].events if event.name == "otel_kernel.step"]
    assert len(steps) <= 128
    assert [step.unix_ns for step in steps] == sorted(step.unix_ns for step in steps)
