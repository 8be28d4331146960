"""Collections in slices, one in each interval, and a last one: of a node of plain files, written to a real file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otel_kernel import periodic_reader
from otel_kernel.births.trace import Span, Trace
from otel_kernel.health import Health
from otel_kernel.metrics.moment import Moment
from otel_kernel.outputs import Outputs
from otel_kernel.periodic_reader import SHORTEST_INTERVAL_NS, PeriodicReader
from otel_kernel.settings import Settings
from otel_kernel.telemetry.encode import Host
from tests.metrics.fake_node import FakeNode, Figures

UID = "7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
INTERVAL_S = 15
BIRTH = Trace(
    bytes.fromhex(UID.replace("-", "")),
    "otel_kernel.ebpf",
    (
        Span(
            b"r" * 8,
            None,
            "pod birth",
            1,
            2,
            "otel-kernel",
            {
                "otel_kernel.level": "birth",
                "otel_kernel.birth.completion": "quiet",
                "otel_kernel.birth.duration": 0.25,
            },
        ),
    ),
    {"k8s.pod.uid": UID, "k8s.pod.name": "web", "k8s.namespace.name": "shop"},
)


class Rig:
    """A reader of a fake node, by the node's clock, and what it wrote."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = FakeNode(root / "node")
        self._file = root / "all.jsonl"
        monkeypatch.setattr(periodic_reader, "boot_ns", lambda: self.node.boot_ns)
        monkeypatch.setattr(periodic_reader, "moment", self._now)
        settings = Settings.load({"OTEL_KERNEL_OUTPUT": f"file:{self._file}"})
        self.outputs = Outputs(settings, Host("node-1"), Health())
        self.collection = self.node.collection()
        self.reader = PeriodicReader(self.collection, self.outputs, INTERVAL_S * 1_000_000_000)
        self._read = 0

    def _now(self) -> Moment:
        return self.node.now

    def work(self) -> int:
        """Call `work` until the round is over; return how often that was."""
        calls = 0
        while calls == 0 or self.reader.next_deadline_ns == 0:
            self.reader.work()
            calls += 1
        return calls

    def written(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return the points written since the last call: instance, metric and point."""
        lines = self._file.read_text().splitlines()
        new, self._read = lines[self._read :], len(lines)
        return [found for line in new for found in _points(json.loads(line))]


def _points(request: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for of_resource in request.get("resourceMetrics", ()):
        names = {each["key"]: each["value"] for each in of_resource["resource"]["attributes"]}
        for scope in of_resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                data = metric.get("sum") or metric["histogram"]
                yield from (
                    (names["service.instance.id"]["stringValue"], metric["name"], point) for point in data["dataPoints"]
                )


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """Return a reader of an empty node."""
    rig = Rig(tmp_path, monkeypatch)
    yield rig
    rig.collection.close()
    rig.outputs.close()


def instances(points: list[tuple[str, str, dict[str, Any]]]) -> set[str]:
    """Return whose points these are."""
    return {instance for instance, _, _ in points}


def test_one_collection_at_once_and_one_in_each_interval(rig: Rig) -> None:
    """What is there at the start is measured then, and again whenever the interval is over."""
    rig.node.container(rig.node.pod(UID), "app", figures=Figures(pids=(5,)))
    rig.work()
    assert instances(rig.written()) == {UID, f"{UID}/app", "node-1"}
    assert rig.reader.next_deadline_ns == rig.node.boot_ns + INTERVAL_S * 1_000_000_000
    rig.node.wait(INTERVAL_S - 1)
    rig.work()
    assert rig.written() == []
    rig.node.wait(1)
    rig.work()
    assert instances(rig.written()) == {UID, f"{UID}/app", "node-1"}


def test_what_was_missed_is_not_made_up_for(rig: Rig) -> None:
    """After a long sleep there is one collection, not one for each interval."""
    rig.work()
    rig.written()
    rig.node.wait(10.5 * INTERVAL_S)
    rig.work()
    assert rig.written() != []
    assert rig.reader.next_deadline_ns == rig.node.boot_ns + INTERVAL_S * 1_000_000_000


def test_a_collection_is_made_in_slices(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two slices others may work, pods come and go; each that was there all the time is told once."""
    monkeypatch.setattr(periodic_reader, "SLICE_NS", 0)
    uids = [f"7d6f1c2e-3a4b-4c5d-8e9f-0000000000{number:02}" for number in range(20)]
    paths = [rig.node.container(rig.node.pod(uid), "app", figures=Figures(pids=(5,))) for uid in uids]
    rig.reader.work()
    assert rig.reader.next_deadline_ns == 0
    rig.node.remove(paths[-1])
    rig.node.remove(paths[-1].rpartition("/")[0])
    rig.node.container(rig.node.pod(UID), "app")
    assert rig.work() > 20
    written = rig.written()
    told = [instance for instance, metric, _ in written if metric == "container.cpu.time"]
    assert told == [f"{uid}/app" for uid in uids[:-1]]
    assert not any("flags" in point for _, _, point in written)
    rig.node.wait(INTERVAL_S)
    rig.work()
    assert f"{UID}/app" in instances(rig.written())


def test_births_are_counted_from_zero_and_point_at_their_traces(rig: Rig) -> None:
    """A birth before the next collection is one more than nothing, with an exemplar that names its trace."""
    rig.work()
    before = rig.written()
    rig.reader.born(BIRTH)
    rig.node.wait(INTERVAL_S)
    rig.work()
    after = rig.written()
    births = [
        [int(point["asInt"]) for _, metric, point in points if metric == "otel_kernel.births"]
        for points in (before, after)
    ]
    assert [sum(counts) for counts in births] == [0, 1]
    zero, one = [point for _, metric, point in after if metric == "otel_kernel.pod.start.duration"]
    assert (zero["count"], one["count"], one["sum"]) == ("0", "1", 0.25)
    assert int(zero["timeUnixNano"]) < int(one["timeUnixNano"])
    (exemplar,) = one["exemplars"]
    assert exemplar["traceId"] == UID.replace("-", "")


def test_the_end_ends_what_has_begun_and_measures_once_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever slice it was in, what was begun is written, and then how things stood at the end."""
    monkeypatch.setattr(periodic_reader, "SLICE_NS", 0)
    app = rig.node.container(rig.node.pod(UID), "app", figures=Figures(usage_us=1_000_000))
    rig.reader.work()
    rig.node.wait(1)
    rig.node.change(app, usage_us=3_000_000)
    rig.reader.stop()
    told = [point["asDouble"] for _, metric, point in rig.written() if metric == "container.cpu.time"]
    assert told[-1] == 3.0
    assert len(told) == 2


def test_an_interval_of_nothing_is_not_obeyed(rig: Rig) -> None:
    """OTEL_METRIC_EXPORT_INTERVAL=1 does not make the agent do nothing but measure."""
    reader = PeriodicReader(rig.collection, rig.outputs, 1_000_000)
    while reader.next_deadline_ns <= rig.node.boot_ns:
        reader.work()
    assert reader.next_deadline_ns == rig.node.boot_ns + SHORTEST_INTERVAL_NS
