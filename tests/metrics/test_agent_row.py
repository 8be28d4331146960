"""The agent about itself."""

from pathlib import Path

import psutil
import pytest

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.health import Counter, Health
from otel_kernel.metrics.agent_row import AgentRow, SourceFigures, series_of
from otel_kernel.metrics.catalogue import BY_NAME
from otel_kernel.metrics.identity_lags import IdentityLags
from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.points import Histogram
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName
from tests.metrics.fake_node import FakeNode, container_id, points

LAGS = IdentityLags()
LAGS.add("oci-bundle", "a", 0.0015)
LAGS.add("oci-bundle", "a", 7)  # told again: it was known
LAGS.add("oci-bundle", "b", 0.004)
FIGURES = SourceFigures(
    births_open=3,
    map_bytes={"ring": 1 << 20, "calls": 4096},
    program_runs={"sys_enter": 9},
    program_run_ns={"sys_enter": 1_500_000_000},
    program_misses={"sys_enter": 2},
    identity_lags=LAGS.distributions(),
)


def asked() -> Health:
    """Return the counts of an agent that has asked for identities."""
    health = Health()
    health.answered("kube-api")
    health.failed("kube-api", "forbidden")
    return health


def samples(health: Health | None = None, figures: SourceFigures = FIGURES) -> dict[SeriesName, object]:
    """Return what the agent tells of itself."""
    told = list(AgentRow(health or Health(), Judge()).samples(5, figures))
    assert all(isinstance(each, Sample) for each in told)
    names = [each.name for each in told]
    assert len(names) == len(set(names))
    return {each.name: each.value for each in told}


@pytest.mark.parametrize("counter", Counter, ids=lambda counter: counter.name)
def test_every_counter_is_told(counter: Counter) -> None:
    """Each of the agent's counters has a series of its own, with the attributes of its row."""
    health = Health()
    health.add(counter, 42)
    told = samples(health)
    name = series_of(counter)
    assert told[name] == 42
    assert tuple(key for key, _ in name.attributes) == BY_NAME[name.metric].attributes
    assert [each for each, value in told.items() if value == 42] == [name]


def test_what_the_source_knows() -> None:
    """Births open, memory of maps and runs of programs are told by name; what is not known is not there."""
    told = samples()
    agent = "otel_kernel.agent."
    assert told[SeriesName(f"{agent}births.open")] == 3
    assert told[SeriesName(f"{agent}bpf.map.memory", (("otel_kernel.bpf.map", "ring"),))] == 1 << 20
    assert told[SeriesName(f"{agent}bpf.program.runs", (("otel_kernel.bpf.program", "sys_enter"),))] == 9
    assert told[SeriesName(f"{agent}bpf.program.run.time", (("otel_kernel.bpf.program", "sys_enter"),))] == 1.5
    nothing = samples(figures=SourceFigures())
    assert not [name for name in nothing if "bpf" in name.metric or name.metric.endswith("births.open")]


def test_what_the_agent_uses() -> None:
    """CPU time by mode and resident memory are this process's."""
    told = samples()
    own = psutil.Process()
    user = told[SeriesName("process.cpu.time", (("cpu.mode", "user"),))]
    assert isinstance(user, float)
    assert 0 < user <= own.cpu_times().user
    rss = told[SeriesName("process.memory.usage")]
    assert isinstance(rss, int)
    assert rss == pytest.approx(own.memory_info().rss, rel=0.2)


def test_all_rows_are_told_and_no_others() -> None:
    """The agent's rows of the catalogue are all there once everything is known."""
    judge = Judge()
    judge.call("cpu.stat", int)
    told = {each.name.metric for each in AgentRow(asked(), judge).samples(5, FIGURES)}
    rows = {metric.name for metric in BY_NAME.values() if metric.group == "agent"}
    assert told | {"otel_kernel.agent.counts"} == rows


def test_who_answered_and_how_soon() -> None:
    """Each source of identity by itself, its failures by kind."""
    told = samples(asked())
    source = ("otel_kernel.identity.source", "kube-api")
    assert told[SeriesName("otel_kernel.identity.answers", (source,))] == 1
    failure = (source, ("otel_kernel.failure.kind", "forbidden"))
    assert told[SeriesName("otel_kernel.identity.failures", failure)] == 1
    lag = told[SeriesName("otel_kernel.identity.lag", (("otel_kernel.identity.source", "oci-bundle"),))]
    assert isinstance(lag, Distribution)
    assert sum(lag.counts) == 2
    assert lag.sum == pytest.approx(0.0055)
    assert lag.counts[1:3] == (1, 1)


def test_how_long_names_took(tmp_path: Path) -> None:
    """From a pod's cgroup to its name is one count of a histogram, once for each pod that was seen made."""
    node = FakeNode(tmp_path)
    collection = node.collection()
    pod, of = "/kubepods/pod7d6f1c2e-3a4b-4c5d-8e9f-0a1b2c3d4e5f", container_id("app")
    node.make(pod)
    node.make(f"{pod}/{of}")
    node.wait(0.2)
    node.directory.feed(ContainerFacts(node.boot_ns, "oci-bundle", of, pod_name="web"))
    for _ in range(2):
        node.wait(15)
        (point,) = points(collection.collect(node.now))["node-1", "otel_kernel.agent.identity.lag", ()]
        assert isinstance(point, Histogram)
        assert sum(point.counts or ()) == 1
        assert point.sum == pytest.approx(0.2)
