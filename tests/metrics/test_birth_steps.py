"""What of a birth is a step, and how steps become histograms."""

from collections import Counter, defaultdict
from dataclasses import replace

from otel_kernel.births.trace import Trace
from otel_kernel.metrics import birth_steps
from otel_kernel.metrics.births import BirthCounts
from otel_kernel.metrics.samples import Distribution
from tests.bridge.births import recorded

STEP = "otel_kernel.pod.start.step.duration"


def told(counts: BirthCounts) -> dict[str, Distribution]:
    """Return the distribution of each step."""
    found = {}
    for sample in counts.samples():
        if sample.name.metric == STEP:
            assert isinstance(sample.value, Distribution)
            ((attribute, name),) = sample.name.attributes
            assert attribute == "otel_kernel.step.name"
            found[str(name)] = sample.value
    return found


def renamed(trace: Trace, number: int) -> Trace:
    """Return a birth whose processes have names that nobody else's have."""
    spans = [
        replace(span, name=f"{span.name} {number}") if span.attributes["otel_kernel.level"] == "process" else span
        for span in trace.spans
    ]
    return replace(trace, spans=tuple(spans))


def test_the_steps_of_a_real_birth() -> None:
    """Units by their kind, the processes right beneath them by their name; what those forked is theirs."""
    steps = Counter(name for name, _ in birth_steps.of_birth(recorded()))
    assert steps == {
        "sandbox": 1,
        "container": 2,
        "ptp": 1,  # and host-local is a part of it
        "loopback": 1,
        "containerd-shim-runc-v2 start": 3,
        "containerd-shim-runc-v2": 1,
        "runc create": 3,
        "runc init": 3,
        "runc start": 3,
        "untraced": 1,
    }


def test_a_program_that_had_ended_is_no_step() -> None:
    """What ran after its entry point is not what its birth waited for."""
    trace = recorded()
    spans = tuple(replace(span, name="run app") if span.name == "container app" else span for span in trace.spans)
    steps = Counter(name for name, _ in birth_steps.of_birth(replace(trace, spans=spans)))
    assert steps["container"] == 1
    assert "run" not in steps


def test_steps_are_counted_with_births() -> None:
    """Each in its own histogram, whose sum is the time of all steps of that name; an exemplar leads to the birth."""
    counts = BirthCounts()
    counts.add(recorded())
    found = told(counts)
    seconds: dict[str, float] = defaultdict(float)
    for name, duration_s in birth_steps.of_birth(recorded()):
        seconds[name] += duration_s
    assert {name: round(each.sum, 9) for name, each in found.items()} == {
        name: round(duration_s, 9) for name, duration_s in seconds.items()
    }
    assert sum(found["runc create"].counts) == 3
    assert {exemplar.trace_id for exemplar in found["runc create"].exemplars} == {recorded().trace_id}


def test_names_are_bounded() -> None:
    """However many programs there are: the first 24 names, and one for all others."""
    counts = BirthCounts()
    for number in range(10):
        counts.add(renamed(recorded(), number))
    found = told(counts)
    assert len(found) == 25
    assert sum(found["container"].counts) == 20
    births, steps = 10, sum(1 for _ in birth_steps.of_birth(recorded()))
    assert sum(sum(each.counts) for each in found.values()) == births * steps
    assert sum(found["_OTHER"].counts) > 0
