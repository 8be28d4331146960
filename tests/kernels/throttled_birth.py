"""A real pod whose container is slowed by its own CPU limit while it is born: the birth says when.

Not among the tests that are collected by default: it takes a kernel with fentry or kprobes, and the cpu controller in
the cgroup v2 hierarchy.
"""

from pathlib import Path

from demo.containerd import Runtime
from demo.lab import Lab
from demo.pod import Container, Pod
from tests.births_real.observation import observing

QUOTA_US = 2_000  # of each period of 100 ms: `runc init` alone takes more
LIMIT_S = 120


def test_a_birth_slowed_by_its_own_limit(tmp_path: Path) -> None:
    """Its intervals are spans of the container's unit, each within it, and nobody else's."""
    with observing(tmp_path) as observation, Lab(Runtime()) as lab:
        born = lab.bear(Pod("slow", (Container("app", cpu_quota_us=QUOTA_US), Container("free"))))
        (birth,) = observation.wait(born.pod.uid, limit_s=LIMIT_S)
        lines = Path(f"/sys/fs/cgroup{born.pod.cgroup}/{born.container_ids['app']}/cpu.stat").read_text().splitlines()
        kernel_s = int(dict(line.split() for line in lines)["throttled_usec"]) / 1e6
        lab.remove(born)
    units = {span.name: span for span in birth.at("unit")}
    intervals = [span for span in birth.at("wait") if span.name == "throttled"]
    slow = units["container app"]
    assert intervals
    assert {span.parent_id for span in intervals} == {slow.span_id}
    assert slow.attributes["otel_kernel.throttled.intervals"] == len(intervals)
    told_s = sum(span.attributes["otel_kernel.throttled.time"] for span in intervals)
    assert 0 < told_s <= kernel_s + 1e-6
    assert "otel_kernel.throttled.intervals" not in units["container free"].attributes
    for span in intervals:
        assert slow.start_ns <= span.start_ns < span.end_ns <= slow.end_ns
