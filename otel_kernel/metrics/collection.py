"""One collection: all that is measured of the node's pods, of their containers, and of the agent, as points.

For the thread that feeds the directory. `attend` wants to be called whenever something was fed and when `fileno` is
readable, `collect` once in each export interval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from otel_kernel.births.trace import Trace
from otel_kernel.health import Health
from otel_kernel.metrics import node_namespaces
from otel_kernel.metrics.agent_row import AgentRow, SourceFigures
from otel_kernel.metrics.births import BirthCounts
from otel_kernel.metrics.cgroups import CgroupReader
from otel_kernel.metrics.container_processes import ContainerProcesses
from otel_kernel.metrics.endings import Endings
from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.log_events import LogEvents
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.pod_collection import PodCollection
from otel_kernel.metrics.points import Attributes, LogEvent, ResourceMeasurements
from otel_kernel.metrics.process_source import ProcessSource
from otel_kernel.metrics.samples import Sample, Source
from otel_kernel.metrics.series import CLOSEST_NS, ResourceSeries, Start
from otel_kernel.node import controllers
from otel_kernel.node.open_files import OpenFiles
from otel_kernel.pods.directory import Directory

_PROCESS_GROUPS = frozenset({"process", "network"})
_SET_BACK_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and where."""

    cgroup_root: Path
    proc_root: Path
    node_name: str | None  # k8s.node.name; None: not known
    instance: str  # what tells this node's agent from others: the node's name, else the host's
    groups: frozenset[str]  # of settings.METRIC_GROUPS
    throttle_threshold_percent: int


class Collection:
    """What is remembered from one collection to the next. Owns the files, processes and watches it keeps open."""

    def __init__(
        self,
        directory: Directory,
        plan: Plan,
        health: Health,
        sources: Sequence[Source] = (),
        figures: Callable[[], SourceFigures] = SourceFigures,
    ) -> None:
        """Measure what `plan` says, and what further `sources` do. Raises OSError (NoCgroupsError among them)."""
        at = controllers.find(plan.cgroup_root)
        self._directory = directory
        self._groups = plan.groups
        self._figures = figures
        self._judge = Judge()
        self._files = OpenFiles()
        self._processes = ContainerProcesses(at.pods, plan.proc_root, self._files, self._judge)
        self._births = BirthCounts()
        self._events = LogEvents(self._births)
        reader = CgroupReader(at, self._files, self._judge, plan.groups)
        self._endings = Endings(
            at.v2, lambda path, now_ns: reader.read(path, now_ns, of_pod=False), self._judge, health
        )
        self._pods = PodCollection(
            reader,
            self._endings,
            self._events,
            (*self._process_sources(plan), *sources),
            plan.throttle_threshold_percent,
        )
        self._agent = AgentRow(health, self._judge)
        self._resource = _resource(plan)
        self._node: ResourceSeries | None = None
        self._last_ns = 0

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the last values of a container want to be read."""
        return self._endings.fileno()

    def attend(self, now: Moment) -> None:
        """Take note of what has come, and read the last values of what is about to go."""
        self._pods.attend(self._directory.take_changed(), now)
        self._endings.look(now)

    def born(self, trace: Trace) -> None:
        """Count a birth that is over."""
        self._births.add(trace)

    def collect(self, now: Moment) -> list[ResourceMeasurements]:
        """Return the points of all resources, ends before beginnings."""
        return [each for each in self.steps(lambda: now) if each is not None]

    def steps(self, clock: Callable[[], Moment]) -> Iterator[ResourceMeasurements | None]:
        """Yield the points of all resources, ends before beginnings; often None, as a node has thousands of files.

        Between two steps the directory may be fed and `attend` be called. All steps of one collection precede the next.
        """
        now = self._steady(clock())
        self.attend(now)
        pods, removed = self._directory.pods(), self._directory.take_removed()
        yield from self._pods.collect(pods, removed, now, lambda: self._later(clock()))
        for lag_s in self._pods.new_lags_s():
            self._agent.named(lag_s)
        yield self._of_node(len(pods), self._later(clock()))

    def take_events(self, now: Moment | None = None) -> list[LogEvent]:
        """Return the log events since the last call; given the time, one of a pod that is being born waits for that."""
        return self._events.take(None if now is None else now.unix_ns)

    def close(self) -> None:
        """Let go of everything that is kept open."""
        self._endings.close()
        self._processes.close()
        self._files.close()

    def _process_sources(self, plan: Plan) -> tuple[Source, ...]:
        if not plan.groups & _PROCESS_GROUPS:
            return ()
        of_node = node_namespaces.find(plan.proc_root)
        return (ProcessSource(self._processes, self._judge, plan.groups, of_node),)

    def _of_node(self, pods: int, now: Moment) -> ResourceMeasurements | None:
        if self._node is None:
            began_ns = min(self._agent.began_unix_ns, now.unix_ns)
            self._node = ResourceSeries("node", self._resource, Start(began_ns, began_ns))
        samples: list[Sample] = []
        if "births" in self._groups:
            samples += self._births.samples()
        if "agent" in self._groups:
            figures = self._judge.call("figures of BPF", self._figures) or SourceFigures()
            samples += self._agent.samples(pods, figures)
        return self._node.tell(samples, now.unix_ns)

    def _steady(self, now: Moment) -> Moment:
        # A store that gets a point older than the last of its series may refuse the whole request. Where the clock was
        # set back by much, staying ahead would mean telling of the future.
        if now.unix_ns < self._last_ns - _SET_BACK_NS:
            self._pods.forget_series()
            self._node = None
            self._last_ns = now.unix_ns
        else:
            self._last_ns = max(now.unix_ns, self._last_ns + CLOSEST_NS)
        return Moment(self._last_ns, now.boot_ns)

    def _later(self, now: Moment) -> Moment:
        self._last_ns = max(now.unix_ns, self._last_ns)
        return Moment(self._last_ns, now.boot_ns)


def _resource(plan: Plan) -> Attributes:
    known = {} if plan.node_name is None else {"k8s.node.name": plan.node_name}
    return {**known, "service.instance.id": plan.instance}
