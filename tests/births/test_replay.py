"""Recordings of real births: one trace each, named, sound, with nothing lost."""

from pathlib import Path

import pytest

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.recording import Recorded, decode_lines
from otel_kernel.births.trace import Trace
from tests.births import invariants
from tests.births.story import OFFSET, SECOND, ended_ns

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))


def events_of(recording: Path) -> list[Recorded]:
    """Return the events of a recording."""
    with recording.open(encoding="ascii") as lines:
        return list(decode_lines(lines))


def replayed(recording: Path, settings: AssemblySettings) -> tuple[Assembly, list[Trace]]:
    """Return what a recording gives once all is quiet."""
    events = events_of(recording)
    assembly = Assembly(settings, lambda: OFFSET)
    traces = []
    for event in events:
        assembly.feed(event)
        traces += assembly.due(ended_ns(event))
    traces += assembly.due(max(map(ended_ns, events)) + 20 * SECOND)
    return assembly, traces


def test_there_are_recordings() -> None:
    """A replay of nothing proves nothing."""
    assert RECORDINGS


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_sound_traces(recording: Path) -> None:
    """Every trace of a real birth is named and sound, and all of its processes were told of."""
    assembly, traces = replayed(recording, AssemblySettings())
    assert traces
    for trace in traces:
        invariants.check(trace)
        assert trace.pod.keys() >= {"k8s.pod.uid", "k8s.pod.name", "k8s.namespace.name"}
    assert assembly.counters.unattributed == 0
    assert assembly.counters.open == 0
    assert len(assembly._lineages) == 0


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_replays_to_the_same(recording: Path) -> None:
    """A recording gives the same traces each time, ids and all."""
    assert replayed(recording, AssemblySettings())[1] == replayed(recording, AssemblySettings())[1]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_folding_keeps_the_structure(recording: Path) -> None:
    """Folded, a real birth has the same spans but for its calls, and each call is an event."""
    _, drawn = replayed(recording, AssemblySettings())
    _, folded = replayed(recording, AssemblySettings(calls="folded"))
    for one, other in zip(drawn, folded, strict=True):
        invariants.check(other)
        kept = [span.name for span in one.spans if span.attributes["otel_kernel.level"] != "call"]
        assert [span.name for span in other.spans] == kept
        calls = len(one.spans) - len(kept)
        told = [event for span in other.spans for event in span.events if "otel_kernel.call.time" in event.attributes]
        assert len(told) == calls


def test_two_containers() -> None:
    """The pod of two containers has both, with every program that took part."""
    (recording,) = [path for path in RECORDINGS if path.stem == "two-containers-runc-1.1"]
    _, (trace,) = replayed(recording, AssemblySettings())
    units = [span.name for span in trace.spans if span.attributes["otel_kernel.level"] == "unit"]
    assert units == ["sandbox", "container app", "container sidecar"]
    names = [span.name for span in trace.spans if span.attributes["otel_kernel.level"] == "process"]
    assert sorted(set(names)) == [
        "containerd-shim-runc-v2",
        "containerd-shim-runc-v2 start",
        "host-local",
        "loopback",
        "ptp",
        "runc create",
        "runc init",
        "runc start",
    ]
    assert names.count("runc init") == 3
    root = trace.spans[0].attributes
    assert root["otel_kernel.birth.completion"] == "quiet"
    assert root["otel_kernel.birth.events.lost"] == 0
    assert all(span.error is None for span in trace.spans)
