"""Whatever is lost, late or made up: nothing raises, and every trace is sound."""

from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.recording import Recorded
from tests.births import invariants
from tests.births.anything import anything
from tests.births.story import OFFSET, SECOND, Story, assemble, merged


def settle(events: list[Recorded], settings: AssemblySettings) -> None:
    """Feed events, asking now and then what is due, and check every trace and what is left."""
    assembly = Assembly(settings, lambda: OFFSET)
    traces = []
    for number, event in enumerate(events):
        assembly.feed(event)
        if number % 7 == 0:
            traces += assembly.due(number * SECOND)
    traces += assembly.due(9 * SECOND)
    traces += assembly.close()
    for trace in traces:
        invariants.check(trace)
    assert assembly.counters.open == 0
    assert assembly.next_deadline_ns is None
    assembly.due(2_000 * SECOND)
    assert len(assembly._lineages) == 0
    assert not assembly._ownership._owners


@given(st.lists(anything(), max_size=60), st.sampled_from(["spans", "folded"]), st.integers(0, 3))
def test_any_soup_of_events_gives_sound_traces(events: list[Recorded], calls: str, started: int) -> None:
    """Events of any content in any order never raise; spans lie inside their parents, and nothing stays behind."""
    settings = AssemblySettings(
        timeout_ns=8 * SECOND, calls="folded" if calls == "folded" else "spans", started_ns=started * SECOND
    )
    settle(events, settings)


@given(st.sets(st.integers(0, 140)), st.booleans())
def test_a_birth_with_holes_gives_sound_traces(lost: set[int], shuffled: bool) -> None:
    """A real birth of which any events are lost, or whose order is upset, still gives sound traces."""
    story = Story().pod_cgroup()
    story.volumes()
    story.born_sandbox()
    story.born_container("nginx")
    story.born_container("sidecar")
    kept = [event for number, event in enumerate(story.events) if number not in lost]
    if shuffled:
        kept = kept[1::2] + kept[::2]
    assembly, traces = assemble(Story(events=kept, now=story.now))
    for trace in traces + assembly.close():
        invariants.check(trace)


@given(st.sets(st.integers(0, 140), max_size=20))
def test_holes_never_attribute_to_another_pod(lost: set[int]) -> None:
    """Whatever is lost of one pod, the other's trace is the same as if it were alone."""
    first = Story().pod_cgroup().born_sandbox()
    first.born_container("app")
    second = Story(
        uid="22222222-2222-4333-8444-555555555555",
        sandbox="b" * 64,
        netns="/n/2/x",
        pid=5000,
        thread=105,
        now=1_000 * SECOND + 1,
    )
    second.pod_cgroup(cgroup_id=8000).born_sandbox()
    second.born_container("app", "d" * 64)
    kept = [event for number, event in enumerate(first.events) if number not in lost]
    _, (alone,) = assemble(second)
    assembly, traces = assemble(merged(Story(events=kept, now=first.now), second))
    (told,) = [trace for trace in traces if trace.trace_id == alone.trace_id]
    assert told == alone
    assert assembly.counters.not_kubernetes == 0
