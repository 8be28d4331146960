"""A birth in Jaeger: found as people look for it, and as the agent told it."""

from typing import Any

import pytest

from demo.pod import Container, Pod
from tests.agreement.otlp_birth import Birth, Span
from tests.pipeline.asking import eventually, otlp_spans, search, tags, trace
from tests.pipeline.conftest import Pipeline, name

pytestmark = [pytest.mark.containerd, pytest.mark.go]


@pytest.fixture(scope="module")
def birth(pipeline: Pipeline) -> Birth:
    """Return the birth of the pod with two containers as the agent sent it."""
    return pipeline.birth(pipeline.quiet)


@pytest.fixture(scope="module")
def shown(pipeline: Pipeline, birth: Birth) -> dict[str, Any]:
    """Return it as Jaeger shows it, once all of it is there."""
    trace_id = pipeline.quiet.pod.uid.replace("-", "")

    def whole() -> dict[str, Any]:
        found = trace(pipeline.jaeger, trace_id) or {"spans": []}
        return found if len(found["spans"]) >= len(birth.spans) else {}

    return eventually(whole)


def test_no_warnings(shown: dict[str, Any]) -> None:
    """Jaeger has nothing to say about any span, nor about the trace."""
    assert [span["warnings"] for span in shown["spans"] if span.get("warnings")] == []
    assert not shown.get("warnings")


def test_names_nesting_and_times(shown: dict[str, Any], birth: Birth) -> None:
    """Every span is there once, with the id, name, parent, start and duration that the agent gave it."""
    seen = {span["spanID"]: span for span in shown["spans"]}
    assert len(seen) == len(shown["spans"])
    assert seen.keys() == {span.span_id for span in birth.spans}
    for span in birth.spans:
        found = seen[span.span_id]
        parents = [each["spanID"] for each in found["references"] if each["refType"] == "CHILD_OF"]
        assert found["operationName"] == span.name
        assert parents == ([span.parent_id] if span.parent_id else [])
        assert found["startTime"] == span.start_ns // 1000
        assert abs(found["duration"] - (span.end_ns - span.start_ns) / 1000) <= 1
    assert _depth(birth) >= 4


def _depth(birth: Birth) -> int:
    parents = {span.span_id: span.parent_id for span in birth.spans}

    def depth(span_id: str) -> int:
        return 1 + depth(parents[span_id]) if parents[span_id] else 1

    return max(map(depth, parents))


def test_nanoseconds_and_flags(pipeline: Pipeline, birth: Birth) -> None:
    """In OTLP, as Jaeger gives it back, times are exact."""
    told = {(span.span_id, span.start_ns, span.end_ns) for span in birth.spans}
    given = otlp_spans(pipeline.jaeger, birth.root.trace_id)
    assert {(span["spanId"], int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])) for span in given} == told


def test_process_tags(shown: dict[str, Any], birth: Birth) -> None:
    """The resource is each span's process: pod, container, node, and a service for each component."""
    seen = {span["spanID"]: shown["processes"][span["processID"]] for span in shown["spans"]}
    for span in birth.spans:
        resource = {key: value for key, value in span.resource.items() if key != "service.name"}
        assert seen[span.span_id]["serviceName"] == span.resource["service.name"]
        assert tags(seen[span.span_id]).items() >= resource.items()
    assert {process["serviceName"] for process in seen.values()} >= {"otel-kernel", "runc", "cni", "containerd-shim"}


def test_steps_are_logs(shown: dict[str, Any], birth: Birth) -> None:
    """The root's steps are its logs, in order; spans' events stay with their span."""
    seen = {span["spanID"]: span for span in shown["spans"]}
    for span in birth.spans:
        assert len(seen[span.span_id]["logs"]) == len(span.events)
    root = seen[birth.root.span_id]
    actions = [tags(each).get("otel_kernel.step.action") for each in root["logs"]]
    assert "container app: entry point" in actions
    assert [each["timestamp"] for each in root["logs"]] == sorted(each["timestamp"] for each in root["logs"])


def test_calls_say_what_they_did(shown: dict[str, Any], birth: Birth) -> None:
    """A call's attributes are searchable tags."""
    calls = {span.span_id: span for span in birth.at("call")}
    assert len(calls) > 20
    for found in shown["spans"]:
        call: Span | None = calls.get(found["spanID"])
        if call is not None:
            assert tags(found)["otel_kernel.syscall.name"] == call.attributes["otel_kernel.syscall.name"]


def test_found_as_people_look(pipeline: Pipeline, birth: Birth) -> None:
    """By service, by operation, by the pod's name and namespace, by a container's name: this birth and no other."""
    mine, other = (born.pod.uid.replace("-", "") for born in (pipeline.quiet, pipeline.throttled))
    jaeger, called = pipeline.jaeger, pipeline.quiet.pod.name
    assert {mine, other} <= search(jaeger, "otel-kernel")
    assert {mine, other} <= search(jaeger, "otel-kernel", operation="pod birth")
    assert mine in search(jaeger, "runc", operation="runc create")
    assert search(jaeger, "otel-kernel", {"k8s.pod.name": called}) == {mine}
    assert search(jaeger, "otel-kernel", {"k8s.pod.name": called, "k8s.namespace.name": "shop"}) == {mine}
    assert search(jaeger, "otel-kernel", {"k8s.pod.name": called, "k8s.namespace.name": "other"}) == set()
    assert search(jaeger, "runc", {"k8s.container.name": "sidecar", "k8s.pod.name": called}) == {mine}
    assert search(jaeger, "otel-kernel", {"k8s.pod.uid": pipeline.quiet.pod.uid}) == {mine}
    assert birth.root.trace_id == mine


def test_a_link_to_the_birth(pipeline: Pipeline) -> None:
    """A restarted container is a trace of its own that links to the birth of its pod."""
    born = pipeline.lab.bear(Pod(name("restarting"), (Container("app"),), namespace="shop"))
    trace_id = born.pod.uid.replace("-", "")
    eventually(lambda: trace(pipeline.jaeger, trace_id))
    pipeline.lab.restart(born, born.pod.containers[0])
    mine = {"k8s.pod.uid": born.pod.uid}
    found = eventually(lambda: search(pipeline.jaeger, "otel-kernel", mine, operation="container restart"))
    spans = [span for each in found for span in otlp_spans(pipeline.jaeger, each)]
    (root,) = [span for span in spans if not span.get("parentSpanId")]
    (link,) = root["links"]
    (birth,) = [span for span in otlp_spans(pipeline.jaeger, trace_id) if not span.get("parentSpanId")]
    assert (link["traceId"], link["spanId"]) == (trace_id, birth["spanId"])
    assert all(not span.get("warnings") for each in found for span in (trace(pipeline.jaeger, each) or {})["spans"])
