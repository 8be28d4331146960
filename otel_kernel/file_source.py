"""Births without eBPF: directories and /proc -> sightings -> traces. They say less, and say so by their scope."""

from collections.abc import Iterable, Sequence

from otel_kernel.births import workload
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.facts import ContainerFacts, PodFacts
from otel_kernel.births.from_files import FileBirths
from otel_kernel.births.kubernetes_view import ConditionChange, EventsQuestion
from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter, Health
from otel_kernel.host_files import HostFiles
from otel_kernel.kernel.clock import boot_ns, unix_offset_ns
from otel_kernel.metrics.agent_row import SourceFigures
from otel_kernel.metrics.samples import Source as Meter
from otel_kernel.node import cgroupfs, watch
from otel_kernel.pods import cgroup_path
from otel_kernel.pods.answers import Answer
from otel_kernel.pods.directory import Directory
from otel_kernel.pods.identity import Identifier
from otel_kernel.pods.sightings import LAYOUT, Sightings


class FileSource:
    """Watched directories and the births they tell of. Owns the watches."""

    def __init__(self, settings: AssemblySettings, host: HostFiles, health: Health, directory: Directory) -> None:
        """Begin to watch. What is told of cgroups and containers is fed to the directory. Raises OSError."""
        self._watch = watch.Watch(host.hierarchy, host.proc_root, LAYOUT)
        self._sightings = Sightings(Identifier(str(host.root)))
        self._births = FileBirths(settings, unix_offset_ns)
        self._health = health
        self._directory = directory
        self._host = host
        self._has_new_cgroups = False
        self._take()
        self.words = f"cgroup directories below {host.hierarchy}"

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when directories have changed."""
        return self._watch.fileno()

    @property
    def next_deadline_ns(self) -> int | None:
        """When a birth may be due or a program wants to be looked at, in boot time."""
        times = [at for at in (self._births.next_deadline_ns, self._watch.next_look_ns) if at is not None]
        return min(times, default=None)

    def learn(self, answers: Iterable[Answer]) -> None:
        """Take in what sources with threads of their own have learnt."""
        for told in answers:
            self._directory.feed(told)
            for facts in workload.container_facts(told) if isinstance(told, PodFacts) else (told,):
                if isinstance(facts, ContainerFacts):
                    self._births.feed(facts)

    def take_questions(self) -> list[EventsQuestion]:
        """Return nothing: births from files do not wait for Kubernetes' events."""
        return []

    def take_new_containers(self) -> bool:
        """Return whether containers may have come since the last call."""
        new, self._has_new_cgroups = self._has_new_cgroups, False
        return new

    def take_condition_changes(self) -> list[ConditionChange]:
        """Return nothing: births from files do not hold Kubernetes' conditions."""
        return []

    def traces(self) -> list[Trace]:
        """Take in what has changed and return the births that are over."""
        self._take()
        return self._births.due(boot_ns())

    @property
    def meters(self) -> Sequence[Meter]:
        """Without eBPF nothing counts in the kernel for us."""
        return ()

    def figures(self) -> SourceFigures:
        """Return what only we know of ourselves."""
        return SourceFigures(births_open=self._births.open)

    def stop(self) -> list[Trace]:
        """Take in the rest, and return the births that are open as far as they came."""
        return self.traces() + self._births.close()

    def close(self) -> None:
        """End the watches."""
        self._watch.close()

    def _take(self) -> None:
        for noticed in self._watch.poll(0):
            self._directory.feed(noticed)
            self._has_new_cgroups |= isinstance(noticed, watch.CgroupSeen)
            if isinstance(noticed, watch.Missed):
                self._health.add(Counter.WATCHES_LOST)
                self._directory.reconcile(cgroupfs.walk(self._host.hierarchy, cgroup_path.may_hold_pods), boot_ns())
            for told in self._sightings.of(noticed):
                self._directory.feed(told)
                self._births.feed(told)
