"""Births and throttling of real pods, through the real collector and the bridge, to the mock of the operator."""

from typing import Any

import pytest

from tests.pipeline.asking import eventually
from tests.pipeline.conftest import Pipeline

pytestmark = [pytest.mark.containerd, pytest.mark.go]


def test_a_birth_is_told_once_with_the_roots_figures(pipeline: Pipeline) -> None:
    """The operator gets what the trace's root says, and gets it once."""
    birth = pipeline.birth(pipeline.quiet)
    mine = pipeline.quiet.pod.name
    eventually(lambda: mine in pipeline.operator.pods())
    (told,) = [
        each["pod_creation"]
        for each in pipeline.operator.attempts
        if each.get("pod_creation", {}).get("pod_name") == mine
    ]
    assert (told["namespace"], told["ebpf_detection"]) == ("shop", True)
    assert told["total_syscalls"] == birth.count("syscalls")
    assert told["namespace_ops"] == birth.count("namespace_ops")
    assert told["cgroup_writes"] == birth.count("cgroup_writes")
    assert told["duration_ns"] == round(birth.count("duration") * 1e9)
    times_ms = [step["timestamp_ms"] for step in told["timeline"]]
    assert times_ms == sorted(times_ms)
    assert birth.root.start_ns // 10**6 <= times_ms[0] <= times_ms[-1] <= birth.root.end_ns // 10**6
    assert "container app: entry point" in {step["action"] for step in told["timeline"]}


def test_throttling_is_told(pipeline: Pipeline) -> None:
    """A container that wants more than its limit gives it is told of, with what it used."""
    mine = pipeline.throttled.pod.name

    def events() -> list[dict[str, Any]]:
        told = [each["cpu_throttle"] for each in pipeline.operator.taken if "cpu_throttle" in each]
        return [each for each in told if each["pod_name"] == mine]

    (told, *_) = eventually(events)
    assert (told["namespace"], told["container_name"], told["ebpf_detection"]) == ("shop", "app", False)
    assert 25 <= told["throttle_percentage"] <= 100  # it crossed the threshold
    assert 0 < told["actual_cpu_usage"] < 0.5
    assert told["throttle_ns"] > 0


def test_nothing_else_is_told(pipeline: Pipeline) -> None:
    """The operator refused nothing, and every message is accounted for."""
    counts = {name: count for name, count in pipeline.bridge.counts().items() if "messages_total" in name}
    outcomes = {name.split('outcome="')[1].rstrip('"}') for name in counts}
    assert outcomes <= {"posted", "duplicate", "incomplete"}  # incomplete: of pods that others bore before
    posted = sum(count for name, count in counts.items() if "posted" in name)
    assert posted == len(pipeline.operator.taken) == len(pipeline.operator.attempts)
