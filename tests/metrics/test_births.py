"""Births, counted."""

from pathlib import Path

import pytest

from otel_kernel.births.trace import Span, Trace
from otel_kernel.metrics.births import BirthCounts
from otel_kernel.metrics.points import Histogram, Number
from otel_kernel.metrics.samples import Distribution
from tests.metrics.fake_node import FakeNode, points

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
NODE = "node-1"
START = "otel_kernel.pod.start.duration"


def birth(
    duration_s: float | None, completion: str = "quiet", *, level: str = "birth", namespace: str | None = "shop"
) -> Trace:
    """Return the trace of a birth."""
    attributes: dict[str, str | float] = {"otel_kernel.level": level, "otel_kernel.birth.completion": completion}
    if duration_s is not None:
        attributes["otel_kernel.birth.duration"] = duration_s
    pod = {"k8s.pod.uid": UID, "k8s.pod.name": "web"} | ({"k8s.namespace.name": namespace} if namespace else {})
    root = Span(b"s" * 8, None, "pod birth", 1000, 2000, "otel-kernel", attributes)
    return Trace(b"t" * 16, "otel_kernel.ebpf", (root,), pod)


def test_births_are_told_from_zero(tmp_path: Path) -> None:
    """All completions are zero in the first collection; then they count."""
    collection = FakeNode(tmp_path).collection()
    node = FakeNode(tmp_path)
    first = points(collection.collect(node.now))
    kinds = {
        dict(attributes)["otel_kernel.birth.completion"]
        for _, metric, attributes in first
        if metric == "otel_kernel.births"
    }
    assert kinds == {"known", "quiet", "timeout", "shutdown", "agent_started"}
    collection.born(birth(0.4))
    collection.born(birth(0.6))
    node.wait(15)
    key = (NODE, "otel_kernel.births", (("otel_kernel.birth.completion", "quiet"),))
    told = [*first[key], *points(collection.collect(node.now))[key]]
    assert [point.value for point in told if isinstance(point, Number)] == [0, 2]


def test_durations_are_told_from_zero_with_exemplars(tmp_path: Path) -> None:
    """The first duration of a namespace is preceded by zero; an exemplar leads to the birth, and is told once."""
    node = FakeNode(tmp_path)
    collection = node.collection()
    collection.collect(node.now)
    before_ns = node.now.unix_ns
    node.wait(15)
    collection.born(birth(0.4))
    key = (NODE, START, (("k8s.namespace.name", "shop"), ("otel_kernel.birth.completion", "quiet")))
    zero, one = points(collection.collect(node.now))[key]
    assert isinstance(zero, Histogram)
    assert isinstance(one, Histogram)
    assert (zero.time_unix_ns, zero.sum, set(zero.counts or ())) == (before_ns, 0.0, {0})
    assert one.counts is not None
    assert (one.counts[one.bounds.index(0.5)], sum(one.counts), one.sum) == (1, 1, 0.4)
    (exemplar,) = one.exemplars
    assert (exemplar.trace_id, exemplar.span_id, exemplar.value) == (b"t" * 16, b"s" * 8, 0.4)
    assert exemplar.attributes == {"k8s.pod.name": "web"}
    node.wait(15)
    (again,) = points(collection.collect(node.now))[key]
    assert isinstance(again, Histogram)
    assert (again.exemplars, again.sum) == ((), 0.4)


@pytest.mark.parametrize(
    "trace",
    [birth(0.4, level="unit"), birth(None), birth(0.4, "agent_started")],
    ids=["restart", "unborn", "half seen"],
)
def test_what_has_no_duration(trace: Trace) -> None:
    """A restart is no birth; a birth without entry point, or seen from its middle, has no duration to be counted."""
    counts = BirthCounts()
    counts.add(trace)
    assert not [sample for sample in counts.samples() if sample.name.metric == START]


def test_a_bound_belongs_to_the_bucket_below_it() -> None:
    """Buckets are closed above, as OTLP has them; a pod without namespace has no such attribute."""
    counts = BirthCounts()
    for duration_s in (0.1, 0.11, 601.0):
        counts.add(birth(duration_s, namespace=None))
    (sample,) = [sample for sample in counts.samples() if sample.name.metric == START]
    assert isinstance(sample.value, Distribution)
    assert (sample.value.counts[0], sample.value.counts[1], sample.value.counts[-1]) == (1, 1, 1)
    assert dict(sample.name.attributes) == {"otel_kernel.birth.completion": "quiet"}


def test_what_is_remembered_is_bounded() -> None:
    """The traces of the latest births are known, and no more than a few nodes can have pods."""
    counts = BirthCounts()
    assert counts.trace_of(UID) == (None, None)
    counts.add(birth(0.4))
    assert counts.trace_of(UID) == (b"t" * 16, b"s" * 8)
    for number in range(3000):
        trace = birth(0.1)
        counts.add(Trace(trace.trace_id, trace.scope, trace.spans, {"k8s.pod.uid": str(number)}))
    assert counts.trace_of(UID) == (None, None)
    assert len(counts._roots) <= 2048
