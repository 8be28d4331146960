"""Kernel events and facts in, traces out (design section 3). Pure: a recording replays to the same traces."""

from collections.abc import Callable
from dataclasses import dataclass

from otel_kernel.births import completion, spans, workload
from otel_kernel.births.arguments import Command, Tool
from otel_kernel.births.assembly_settings import AssemblySettings
from otel_kernel.births.facts import ContainerFacts, PodEvents, PodFacts
from otel_kernel.births.identity import Identity
from otel_kernel.births.known import KnownContainers
from otel_kernel.births.kubernetes_view import ConditionChange, EventsQuestion, KubernetesView
from otel_kernel.births.lineage import Lineages
from otel_kernel.births.model import NO_LOSS, Birth, CgroupStep, Completion, Kind, Pod, Unit
from otel_kernel.births.open_births import OpenBirths
from otel_kernel.births.ownership import Ownership
from otel_kernel.births.register import PodRegister
from otel_kernel.births.trace import SpanLink, Trace
from otel_kernel.kernel.events import (
    Call,
    CgroupChange,
    CgroupWrite,
    End,
    Event,
    Exec,
    Fork,
    Loss,
    Role,
    Throttled,
    Wait,
)

__all__ = ["Assembly", "AssemblySettings", "Counters"]

_UNRESOLVED_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Counters:
    """What did not become a span, and why. All cumulative but `open`."""

    open: int
    exported: int
    not_birth: int  # as far as events told: what the kernel side decides without a word is counted there
    not_kubernetes: int
    unresolved: int
    unresolved_dropped: int  # for lack of room
    unattributed: int  # records of processes that nobody told about, or of births that are over
    candidates_dropped: int
    daemon_calls_unmatched: int
    daemon_calls_dropped: int  # of these, for lack of room
    contradicted: int  # pods on which Kubernetes was not believed


class Assembly:
    """Open births. `unix_offset_ns` tells what to add to boot time at this moment; it is asked once for each unit."""

    def __init__(self, settings: AssemblySettings, unix_offset_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._unix_offset_ns = unix_offset_ns
        self._pods = PodRegister()
        self._births = OpenBirths(self._pods)
        self._lineages = Lineages(self._unit_for, self._unit_in_cgroup)
        self._ownership = Ownership(self._pods, settings.daemon_calls_kept, settings.timeout_ns)
        self._known = KnownContainers()
        self._view = KubernetesView(self._pods, self._known, settings)
        self._units: dict[str, Unit] = {}  # open ones, by container id
        self._unresolved: dict[Unit, None] = {}  # open ones that belong to no pod yet
        self._discarded: dict[Unit, None] = {}  # no births, but still running
        self._loss = NO_LOSS
        self._exported = self._not_kubernetes = self._resolved_never = self._unresolved_dropped = 0
        self._handlers: dict[type, Callable[..., None]] = {
            Call: self._call,
            Wait: self._lineages.wait,
            Fork: self._lineages.fork,
            Exec: self._exec,
            End: self._end,
            CgroupChange: self._cgroup_change,
            CgroupWrite: self._cgroup_write,
            Throttled: self._throttled,
            Loss: self._note_loss,
            ContainerFacts: self._facts,
            PodFacts: self._pod_facts,
            PodEvents: self._view.events,
        }

    def feed(self, told: Event | ContainerFacts | PodFacts | PodEvents) -> None:
        """Take in one event or fact, in the order in which they were delivered."""
        self._handlers[type(told)](told)

    def take_questions(self) -> list[EventsQuestion]:
        """Return of which pods Kubernetes' events are to be asked for; `PodEvents` are the answer."""
        return self._view.take_questions()

    def take_condition_changes(self) -> list[ConditionChange]:
        """Return the conditions of pods that came after their birth was told."""
        return self._view.take_changes()

    def due(self, now_ns: int) -> list[Trace]:
        """Return the traces of the births that are over by now (boot time), oldest first."""
        self._ownership.waiting.expire(now_ns)
        traces = []
        for birth in self._births:
            at_ns, why = self._deadline(birth)
            if at_ns <= now_ns and not self._view.awaits_answers(birth, now_ns):
                traces.append(self._export(birth, why))
        too_old_ns = now_ns - self._settings.timeout_ns
        unresolved = [unit for unit in self._unresolved if unit.first_ns <= too_old_ns]
        traces += [self._export(self._give_up(unit), Completion.TIMEOUT) for unit in unresolved]
        for unit in [unit for unit in self._discarded if unit.alive == 0 or unit.first_ns <= too_old_ns]:
            self._release(unit)
        return traces

    def close(self, completed: Completion = Completion.SHUTDOWN) -> list[Trace]:
        """Return the traces of all births that are open, as far as they came."""
        births = [*self._births, *(self._give_up(unit) for unit in tuple(self._unresolved))]
        return [self._export(birth, completed) for birth in births]

    @property
    def next_deadline_ns(self) -> int | None:
        """Boot time at which a birth will be due if nothing more is fed; None while none is open."""
        births = (self._deadline(birth)[0] for birth in self._births)
        units = (unit.first_ns + self._settings.timeout_ns for unit in self._unresolved)
        return min((*births, *units), default=None)

    @property
    def counters(self) -> Counters:
        """What did not become a span so far, and how many births are open."""
        return Counters(
            open=len(self._births) + len(self._unresolved),
            exported=self._exported,
            not_birth=self._lineages.not_birth,
            not_kubernetes=self._not_kubernetes,
            unresolved=self._resolved_never,
            unresolved_dropped=self._unresolved_dropped,
            unattributed=self._lineages.unattributed,
            candidates_dropped=self._lineages.candidates_dropped,
            daemon_calls_unmatched=self._ownership.waiting.unmatched,
            daemon_calls_dropped=self._ownership.waiting.dropped,
            contradicted=self._view.contradicted,
        )

    def _call(self, event: Call) -> None:
        if event.role is Role.LINEAGE:
            self._lineages.call(event)
        elif event.role is Role.CANDIDATE:
            self._lineages.candidate_call(event)
        elif not self._lineages.takes_hand_over(event):
            self._ownership.take(event, self._lineages.root(event))

    def _exec(self, event: Exec) -> None:
        begun = self._lineages.exec(event)
        if begun is not None:
            self._ownership.begun(begun)

    def _end(self, event: End) -> None:
        process = self._lineages.end(event)
        if process is not None and process.unit.birth is None:
            self._settle(process.unit)

    def _cgroup_write(self, event: CgroupWrite) -> None:
        self._ownership.take(event, None)

    def _throttled(self, event: Throttled) -> None:
        """An interval after the birth is no part of it: the metrics have it."""
        pod_uid, container_id = self._known.in_cgroup(event.cgroup_id)
        if container_id is not None:
            unit = self._units.get(container_id)
            if unit is not None:
                unit.throttled.append(event)
            return
        pod = self._pods.find(pod_uid, None) if pod_uid is not None else None
        if pod is not None and pod.birth is not None:
            pod.birth.throttled.append(event)

    def _note_loss(self, event: Loss) -> None:
        self._loss = event

    def _cgroup_change(self, event: CgroupChange) -> None:
        pod_uid, container_id = self._known.in_cgroup(event.cgroup_id)
        if pod_uid is None:
            return
        pod = self._pods.find(pod_uid, None)
        of_pod = container_id is None
        if event.action == "mkdir" and pod is not None:
            pod.is_gone = False
        if event.action == "mkdir" and of_pod and (pod is None or not pod.is_old):
            pod = self._begin_pod(ContainerFacts(event.ns, "cgroup-path", pod_uid=pod_uid), event.ns)
        if event.action == "rmdir":
            self._known.cgroup_removed(event.cgroup_id)
            if pod is not None and of_pod:
                self._pods.removed(pod)
        if pod is not None and pod.birth is not None:
            pod.birth.steps(CgroupStep(event.ns, event.action, container_id))

    def _facts(self, facts: ContainerFacts) -> None:
        identity = self._known.learn(facts)
        before = facts.ns <= self._settings.started_ns
        if facts.container_id is None:
            self._facts_of_pod(facts, identity, before=before)
            return
        if before and identity.names_pod:
            self._pods.of(identity)[0].had(identity)
        unit = self._units.get(facts.container_id)
        if unit is not None:
            self._settle(unit)

    def _pod_facts(self, facts: PodFacts) -> None:
        pod = self._view.told(facts)
        # A doubted word says nothing of its containers either; of a pod that was not seen yet they will.
        for told in workload.container_facts(facts) if pod is None or pod.doubt is None else ():
            self._facts(told)

    def _facts_of_pod(self, facts: ContainerFacts, identity: Identity, *, before: bool) -> None:
        pod = self._pods.find(facts.pod_uid, None)
        if pod is None and before and facts.pod_uid is not None:
            pod, _ = self._pods.of(identity)
        if pod is not None:
            pod.identity.learn(facts)
            pod.had_cgroup = pod.had_cgroup or before
            self._view.judge(pod)

    def _unit_for(self, event: Exec, told: Command) -> Unit:
        if told.tool is Tool.VOLUMES:
            return self._volumes_for(event, told)
        if told.container_id is None:
            return self._new_unit(Identity(), event.process_start_ns)
        identity = self._known.container(told.container_id)
        if told.tool is Tool.CNI:
            namespace = told.network_namespace
            identity.learn(
                ContainerFacts(event.ns, "cni-env", told.container_id, is_sandbox=True, network_namespace=namespace)
            )
        unit = self._units.get(told.container_id)
        if unit is None:
            unit = self._units[told.container_id] = self._new_unit(identity, event.process_start_ns)
            self._ownership.own(unit, told.container_id)
        self._settle(unit)
        return unit

    def _new_unit(self, identity: Identity, first_ns: int) -> Unit:
        unit = Unit(identity, first_ns, self._unix_offset_ns(), self._loss, last_ns=first_ns)
        self._unresolved[unit] = None
        if len(self._unresolved) > _UNRESOLVED_KEPT:
            self._unresolved_dropped += 1
            self._discard(next(iter(self._unresolved)))
        return unit

    def _volumes_for(self, event: Exec, told: Command) -> Unit:
        pod = self._pods.find(told.pod_uid, None)
        # Unmounting begins no pod.
        if told.pod_uid is not None and told.program != "umount" and (pod is None or not pod.is_old):
            facts = ContainerFacts(event.ns, "volume-path", pod_uid=told.pod_uid)
            pod = self._begin_pod(facts, event.process_start_ns)
        if pod is not None and pod.birth is not None:
            return pod.birth.volumes(event.process_start_ns)
        self._lineages.not_birth += 1
        unit = Unit(Identity(), event.process_start_ns, 0, self._loss, is_volumes=True, discarded=True)
        self._discarded[unit] = None
        return unit

    def _unit_in_cgroup(self, cgroup_id: int) -> Unit | None:
        _, container_id = self._known.in_cgroup(cgroup_id)
        return self._units.get(container_id) if container_id else None

    def _settle(self, unit: Unit) -> None:
        """Find the pod that a unit is for, once enough is known."""
        identity = unit.identity
        namespace = identity.network_namespace
        if namespace and identity.is_sandbox and namespace.startswith("/") and not namespace.startswith("/proc/"):
            self._ownership.own(unit, namespace)
        if unit.discarded:
            return
        if unit.birth is not None:
            pod = self._births.learned(unit)
        elif identity.names_pod and (identity.is_sandbox is not None or unit.is_past_telling):
            del self._unresolved[unit]
            pod = self._births.adopt(unit)
        else:
            pod = None
            if identity.not_kubernetes and unit.processes and unit.alive == 0:
                self._not_kubernetes += not identity.counted
                identity.counted = True
                self._discard(unit)
        if pod is not None:
            self._ownership.named(pod)
            self._view.judge(pod)

    def _begin_pod(self, facts: ContainerFacts, ns: int) -> Pod:
        pod = self._births.begin(facts, ns, self._unix_offset_ns(), self._loss)
        self._ownership.named(pod)
        self._view.judge(pod)
        return pod

    def _deadline(self, birth: Birth) -> tuple[int, Completion]:
        settings = self._settings
        lossy = self._is_lossy(birth)
        at_ns, why = completion.deadline_ns(birth, settings.quiet_ns, settings.timeout_ns, lossy=lossy)
        return max(at_ns, self._view.no_sooner_ns(birth)), why

    def _is_lossy(self, birth: Birth) -> bool:
        return self._loss.lost > birth.loss_before.lost

    def _give_up(self, unit: Unit) -> Birth:
        self._resolved_never += 1
        del self._unresolved[unit]
        return self._births.unresolved(unit)

    def _export(self, birth: Birth, completed: Completion) -> Trace:
        if completion.is_half_seen(birth, self._settings.started_ns, lossy=self._is_lossy(birth)):
            completed = Completion.AGENT_STARTED
        seen = spans.Seen(self._loss, self._lineages.service_of)
        trace = spans.build(birth, completed, self._settings, seen)
        self._births.close(birth, SpanLink(trace.trace_id, trace.spans[0].span_id, {}))
        if birth.kind is Kind.BIRTH:
            self._view.exported(birth.pod)
        for unit in birth.units:
            self._release(unit)
        self._exported += 1
        return trace

    def _discard(self, unit: Unit) -> None:
        unit.discarded = True
        del self._unresolved[unit]
        if unit.alive:
            self._discarded[unit] = None
        else:
            self._release(unit)

    def _release(self, unit: Unit) -> None:
        """Forget an open unit: what comes of it from now on is not attributed."""
        self._discarded.pop(unit, None)
        self._ownership.release(unit)
        container_id = unit.identity.container_id
        if container_id is not None and self._units.get(container_id) is unit:
            del self._units[container_id]
        for process in unit.processes:
            self._lineages.remove(process)
