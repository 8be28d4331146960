"""Births as the kernel tells them: probes -> events -> identity -> assembly -> traces."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from otel_kernel.births.assembly import Assembly, AssemblySettings
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.trace import Trace
from otel_kernel.health import Counter, Health
from otel_kernel.kernel.clock import boot_ns, unix_offset_ns
from otel_kernel.kernel.events import Call, Event, Loss
from otel_kernel.kernel.probes import BELOW_POD, KUBELET, POD_LEVEL, RUNTIME_DAEMON, Loading, Probes, ProbesError
from otel_kernel.node import cgroupfs, procfs
from otel_kernel.pods import cgroup_path
from otel_kernel.pods.identity import Identifier

Recorder = Callable[[Event | ContainerFacts], None]


class EbpfSource:
    """Loaded and attached probes and the births they tell of. Owns the probes."""

    def __init__(self, loading: Loading, health: Health, *, runtimes: frozenset[str] = frozenset()) -> None:
        """Take over what was loaded and attach it. Raises ProbesError when not every probe can be attached."""
        self._probes = loading.finish()
        self._health = health
        self._runtimes = runtimes
        self._identifier = Identifier()
        self._containers: set[str] = set()  # that were there already
        self._lost = self._missed = 0
        self._record: Recorder = lambda _: None
        names = dict.fromkeys(procfs.RUNTIMES | procfs.MONITORS | runtimes, RUNTIME_DAEMON) | {procfs.KUBELET: KUBELET}
        try:
            self._probes.name_daemons(names)
            self._attach(self._probes)
        except (OSError, ProbesError):
            self._probes.close()
            raise

    def _attach(self, probes: Probes) -> None:
        failed = [each for each in probes.attach() if each.error]
        if failed:
            msg = f"raw tracepoint {failed[0].tracepoint}: {failed[0].error}"
            raise ProbesError(msg)

    def observe(self, settings: AssemblySettings, proc_root: Path, hierarchy: Path, record: Recorder | None = None) -> str:
        """Learn what is there already, begin, and return in words what is observed. Raises OSError."""
        self._assembly = Assembly(settings, unix_offset_ns)
        if record:
            self._record = record
        pods = self._learn_pods(hierarchy, settings.started_ns)
        daemons = self._learn_daemons(proc_root, settings.started_ns)
        return f"{daemons} runtime daemons, {pods} pods that are there already"

    def _learn_pods(self, hierarchy: Path, ns: int) -> int:
        pods = set()
        for cgroup_id, path in cgroupfs.walk(hierarchy, lambda _: True):
            parsed = cgroup_path.parse(path)
            if parsed is None:
                continue
            pods.add(parsed.pod_uid)
            if parsed.container_id:
                self._containers.add(parsed.container_id)
            self._probes.add_pod_cgroup(cgroup_id, POD_LEVEL if parsed.is_pod else BELOW_POD)
            for facts in self._identifier.of_cgroup(path, cgroup_id, ns):
                self._feed(facts)
        return len(pods)

    def _learn_daemons(self, proc_root: Path, ns: int) -> int:
        found = procfs.daemons(proc_root, self._runtimes, cgroup_path.in_pod)
        for daemon in found:
            self._probes.add_daemon(daemon.pid, KUBELET if daemon.kind is procfs.Kind.KUBELET else RUNTIME_DAEMON)
        for daemon in found:
            for thread_id in procfs.threads(proc_root, daemon.pid):
                self._probes.watch(thread_id)
        shims = [daemon.pid for daemon in found if daemon.kind is procfs.Kind.SHIM]
        self._learn_bundles({procfs.working_directory(proc_root, pid) for pid in shims} - {None}, ns)
        return len(found)

    def _learn_bundles(self, directories: set[str | None], ns: int) -> None:
        """A shim works in its sandbox's bundle; those of the pod's containers lie beside it."""
        for parent in {os.path.dirname(directory or "/") for directory in directories}:
            for container_id in sorted(self._containers):
                bundle = os.path.join(parent, container_id)
                for facts in self._identifier.of_bundle(container_id, bundle, ns) if os.path.isdir(bundle) else ():
                    self._feed(facts)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the kernel has something that should not wait."""
        return self._probes.fd

    @property
    def next_deadline_ns(self) -> int | None:
        """When a birth may be due, in boot time."""
        return self._assembly.next_deadline_ns

    def traces(self) -> list[Trace]:
        """Take in what the kernel told and return the births that are over."""
        self._drain()
        return self._assembly.due(boot_ns())

    def stop(self) -> list[Trace]:
        """Detach, take in the rest, and return the births that are open as far as they came."""
        self._probes.detach()
        self._drain()
        traces = self._assembly.due(boot_ns()) + self._assembly.close()
        self._count()
        self._probes.close()
        return traces

    def _drain(self) -> None:
        for event in self._probes.events():
            for facts in self._identifier.facts(event):
                self._feed(facts)
            self._feed(event)
        for loss in self._losses():
            self._feed(loss)
        self._count()

    def _feed(self, told: Event | ContainerFacts) -> None:
        self._record(told)
        self._assembly.feed(told)
        if isinstance(told, Call) and told.unread:
            self._health.add(Counter.STRINGS_UNREAD, told.unread)

    def _losses(self) -> Iterator[Loss]:
        lost, missed = self._probes.counters().lost + self._probes.undecodable, self._probes.misses()
        if (lost, missed) != (self._lost, self._missed):
            self._lost, self._missed = lost, missed
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
        health.reach(Counter.DAEMON_CALLS_UNMATCHED, assembled.daemon_calls_unmatched)
        health.reach(Counter.DAEMON_CALLS_DROPPED, assembled.daemon_calls_dropped)
