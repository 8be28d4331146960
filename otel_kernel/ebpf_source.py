"""Births as the kernel tells them: probes -> events -> identity -> assembly -> traces."""

import logging
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from otel_kernel import host_files
from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.kubernetes_view import ConditionChange, EventsQuestion
from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter, Health
from otel_kernel.host_files import HostFiles
from otel_kernel.kernel.clock import boot_ns, unix_offset_ns
from otel_kernel.kernel.events import Call, CgroupChange, Event, Exec, Loss
from otel_kernel.kernel.parts import THROTTLING, WORDS
from otel_kernel.kernel.probes import BELOW_POD, KUBELET, POD_LEVEL, RUNTIME_DAEMON, Probes, ProbesError
from otel_kernel.metrics.agent_row import SourceFigures
from otel_kernel.metrics.drop_source import DropSource
from otel_kernel.metrics.identity_lags import IdentityLags
from otel_kernel.metrics.life_source import LifeSource
from otel_kernel.metrics.samples import Source as Meter
from otel_kernel.metrics.stack_names import StackNames
from otel_kernel.metrics.throttle_source import ThrottleSource
from otel_kernel.node import cgroupfs, pid_namespace, procfs
from otel_kernel.node.watch import CgroupSeen
from otel_kernel.pods import cgroup_path, existing, oci_bundle
from otel_kernel.pods.answers import Answer
from otel_kernel.pods.directory import Directory
from otel_kernel.pods.identity import Identifier

log = logging.getLogger(__name__)

COUNT_INTERVAL_NS = 1_000_000_000  # and before a birth is told: its ledger must be whole
UNNAMED_AFTER_NS = 2_000_000_000  # after a loss: until then bundles may yet tell

Recorder = Callable[[Event | Answer], None]


def attach(probes: Probes) -> None:
    """Attach every program. Raises ProbesError for the first that cannot be."""
    failed = [each.failure for each in probes.attach() if each.failure]
    if failed:
        raise ProbesError(failed[0])


class EbpfSource:
    """Attached probes and the births they tell of. Owns the probes."""

    def __init__(
        self, probes: Probes, health: Health, host: HostFiles, directory: Directory, record: Recorder | None = None
    ) -> None:
        """Take over loaded probes. What is told of cgroups and containers is fed to the directory."""
        self._probes = probes
        self._health = health
        self._host = host
        self._directory = directory
        self._record = record
        self._identifier = Identifier(str(host.root))
        self._meters: list[Meter] = []
        self._containers_came = False
        self._lags = IdentityLags()
        self._lost = self._missed = 0
        self._counted_ns = 0
        self._named_ns: int | None = None  # when pods without a name are looked for

    def observe(self, settings: AssemblySettings) -> str:
        """Attach, learn what is there already, and return in words what is observed.

        Raises ProbesError when not every probe can be attached, OSError when the cgroup hierarchy cannot be read.
        """
        names = dict.fromkeys(procfs.RUNTIMES | procfs.MONITORS | self._host.runtimes, RUNTIME_DAEMON)
        try:
            self._probes.name_daemons(names | {procfs.KUBELET: KUBELET})
            attach(self._probes)
            self._probes.count_switches()
            self._probes.watch_throttling()
            self._probes.watch_throttle_stacks()
            self._probes.watch_functions()
            self._attached_ns = boot_ns()
            words = self._begin(settings)
        except (ProbesError, OSError):
            self._probes.close()
            raise
        self._meters += self._drop_source()
        self._meters += self._life_source()
        self._meters += self._throttle_source()
        return words

    def _begin(self, settings: AssemblySettings) -> str:
        pods, daemons = self._learn_pods(), self._learn_daemons()
        started_ns = boot_ns()
        self._assembly = Assembly(replace(settings, started_ns=started_ns), unix_offset_ns)
        for facts in existing.facts(self._host.hierarchy, self._host.proc_root, self._identifier, started_ns):
            self._feed(facts)
        return f"{daemons} runtime daemons, {pods} pods that are there already"

    def _drop_source(self) -> Iterator[Meter]:
        """Yield what measures dropped packets, where it works; births do without it."""
        why_not = self._probes.why_no_drops
        if self._probes.drops:
            source = DropSource(self._probes.drops, self._host.hierarchy, self._host.proc_root, self._health)
            try:
                source.observe(self._directory.pods())
            except OSError as error:
                why_not = error.strerror or str(error)
            else:
                yield source
        if why_not:
            log.warning("dropped packets are not counted: %s", why_not)

    def _life_source(self) -> Iterator[Meter]:
        """Yield what measures what containers do; births do without it."""
        for part, why_not in self._probes.not_counted.items():
            # Many kernels have neither fentry nor kprobes: that is no fault, and `otel-kernel check` says it.
            level = logging.DEBUG if part == THROTTLING else logging.WARNING
            log.log(level, "not counted of containers: %s: %s", WORDS[part], why_not)
        if self._probes.containers:
            yield LifeSource(self._probes.containers, self._probes.counting, self._attached_ns, self._health)

    def _throttle_source(self) -> Iterator[Meter]:
        """Yield what measures throttled intervals, where it works."""
        if self._probes.throttles and self._probes.counting.throttled_durations:
            stacks = self._probes.throttle_stacks if self._probes.counting.throttle_stacks else None
            named = StackNames(stacks, self._host.proc_root) if stacks else None
            yield ThrottleSource(self._probes.throttles, self._attached_ns, self._health, named)

    def _learn_pods(self) -> int:
        pods = set()
        ids: dict[str, int] = {}
        for cgroup_id, path in cgroupfs.walk(self._host.hierarchy, lambda _: True):
            parsed = cgroup_path.parse(path)
            if parsed is not None:
                pods.add(parsed.pod_uid)
                ids[path] = cgroup_id
                self._probes.add_pod_cgroup(cgroup_id, POD_LEVEL if parsed.is_pod else BELOW_POD)
                self._directory.feed(CgroupSeen(boot_ns(), "existing", cgroup_id, path))
        self._count_existing(ids)
        return len(pods)

    def _count_existing(self, ids: Mapping[str, int]) -> None:
        """Give slots to what is there already; `ids` are those of cgroups by their path, outer ones first."""
        containers = self._probes.containers
        for path, cgroup_id in ids.items() if containers else ():
            above = posixpath.dirname(path)
            if containers and above in ids:
                parsed = cgroup_path.parse(above)
                containers.adopt(cgroup_id, ids[above], is_below_pod=parsed is not None and parsed.is_pod)
                # Its removal is told to the kernel side only since it knows of it.
                if not (self._host.hierarchy / path.lstrip("/")).exists():
                    containers.disown(cgroup_id)

    def _learn_daemons(self) -> int:
        proc_root = self._host.proc_root
        if not pid_namespace.shows_kernels(proc_root):
            return self._probes.find_daemons()
        found = host_files.daemons(self._host)
        for daemon in found:
            self._probes.add_daemon(daemon.pid, KUBELET if daemon.kind is procfs.Kind.KUBELET else RUNTIME_DAEMON)
        for daemon in found:
            for thread_id in procfs.threads(proc_root, daemon.pid):
                self._probes.watch(thread_id)
        return len(found)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the kernel has something that should not wait."""
        return self._probes.fd

    @property
    def next_deadline_ns(self) -> int | None:
        """When a birth may be due, in boot time."""
        return self._assembly.next_deadline_ns

    def learn(self, answers: Iterable[Answer]) -> None:
        """Take in what sources with threads of their own have learnt."""
        for told in answers:
            self._feed(told)

    def take_questions(self) -> list[EventsQuestion]:
        """Return of which pods Kubernetes' events are wanted."""
        return self._assembly.take_questions()

    def take_new_containers(self) -> bool:
        """Return whether containers have come since the last call."""
        came, self._containers_came = self._containers_came, False
        return came

    def take_condition_changes(self) -> list[ConditionChange]:
        """Return the conditions of pods that came after their birth was told."""
        return self._assembly.take_condition_changes()

    def traces(self) -> list[Trace]:
        """Take in what the kernel told and return the births that are over."""
        self._drain()
        return self._assembly.due(boot_ns())

    @property
    def meters(self) -> Sequence[Meter]:
        """What counts in the kernel for metrics."""
        return self._meters

    def figures(self) -> SourceFigures:
        """Return what only we know of ourselves. Raises OSError."""
        runs = self._probes.runs() if self._probes.has_run_statistics else {}
        return SourceFigures(
            births_open=self._assembly.counters.open,
            map_bytes=self._probes.memory_bytes(),
            program_runs={name: of.runs for name, of in runs.items()},
            program_run_ns={name: of.time_ns for name, of in runs.items()},
            program_misses={name: of.misses for name, of in runs.items()},
            identity_lags=self._lags.distributions(),
        )

    def stop(self) -> list[Trace]:
        """Detach, take in the rest, and return the births that are open as far as they came."""
        self._probes.detach()
        self._drain()
        self._count_losses(boot_ns())
        traces = self._assembly.due(boot_ns()) + self._assembly.close()
        self._count()
        return traces

    def close(self) -> None:
        """Let go of the probes; until then their maps can be read."""
        self._probes.close()

    def _drain(self) -> None:
        # Bundles first: the container they describe may be gone in a moment, while the events are not.
        told = [(event, self._identified(event)) for event in self._probes.events()]
        for event, known in told:
            for facts in known:
                self._feed(facts)
            self._feed(event)
        now_ns, deadline_ns = boot_ns(), self._assembly.next_deadline_ns
        if now_ns >= self._counted_ns + COUNT_INTERVAL_NS or (deadline_ns is not None and now_ns >= deadline_ns):
            self._count_losses(now_ns)

    def _identified(self, event: Event) -> tuple[ContainerFacts, ...]:
        known = self._identifier.facts(event)
        if known and isinstance(event, Exec | CgroupChange):
            lag_s = (boot_ns() - event.ns) / 1e9
            for facts in known:
                self._lags.add(facts.source, facts.container_id or facts.pod_uid or "", lag_s)
        return known

    def _count_losses(self, now_ns: int) -> None:
        self._counted_ns = now_ns
        for loss in self._losses():
            self._feed(loss)
            # Changes of cgroups may be among what was lost, and what names pods.
            self._directory.reconcile(cgroupfs.walk(self._host.hierarchy, cgroup_path.may_hold_pods), boot_ns())
            self._named_ns = self._named_ns or now_ns + UNNAMED_AFTER_NS
        if self._named_ns is not None and now_ns >= self._named_ns:
            self._named_ns = None
            self._name_pods()
        self._count()

    def _name_pods(self) -> None:
        """Look for who the pods are that nobody has named; births may be over by now."""
        unnamed = {pod.uid for pod in self._directory.pods() if pod.named_ns is None}
        host = self._host
        try:
            found = existing.facts(host.hierarchy, host.proc_root, self._identifier, boot_ns(), unnamed.__contains__)
        except OSError as error:
            log.warning("pods that came while something was lost have no names: %s", error.strerror)
            return
        for facts in found:
            self._feed(facts)

    def _feed(self, told: Event | Answer) -> None:
        if self._record:
            self._record(told)
        self._directory.feed(told)
        self._assembly.feed(told)
        if isinstance(told, CgroupChange):
            self._containers_came |= told.action == "mkdir" and cgroup_path.is_container(told.path)
        elif isinstance(told, Call) and told.unread:
            self._health.add(Counter.STRINGS_UNREAD, told.unread)
        elif isinstance(told, ContainerFacts) and told.source == oci_bundle.SOURCE and told.failure:
            self._health.add(Counter.BUNDLES_UNREADABLE)

    def _losses(self) -> Iterator[Loss]:
        counters, missed = self._probes.counters(), self._probes.misses()
        lost = counters.lost + self._probes.undecodable
        if (lost, missed) == (self._lost, self._missed):
            return
        self._lost, self._missed = lost, missed
        kinds = {name: count for name, count in counters._asdict().items() if name.startswith("lost_") and count}
        kinds |= {"undecodable": self._probes.undecodable, "skipped": missed}
        told = ", ".join(f"{name.removeprefix('lost_')} {count}" for name, count in kinds.items() if count)
        log.warning("not seen so far, in the ledger of the births open meanwhile: %s", told)
        yield Loss(boot_ns(), lost, missed)

    def _count(self) -> None:
        health, assembled, kernel = self._health, self._assembly.counters, self._probes.counters()
        health.reach(Counter.EVENTS_RECEIVED, self._probes.received)
        health.reach(Counter.EVENTS_LOST, kernel.lost)
        health.reach(Counter.EVENTS_MALFORMED, self._probes.undecodable)
        health.reach(Counter.PROBE_MISSES, self._missed)
        health.reach(Counter.NOT_BIRTH, kernel.not_birth)
        health.reach(Counter.NOT_KUBERNETES, assembled.not_kubernetes)
        health.reach(Counter.UNRESOLVED, assembled.unresolved)
        health.reach(Counter.CONTRADICTED, assembled.contradicted)
        health.reach(Counter.DAEMON_CALLS_UNMATCHED, assembled.daemon_calls_unmatched)
        health.reach(Counter.DAEMON_CALLS_DROPPED, assembled.daemon_calls_dropped)
