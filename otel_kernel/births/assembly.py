"""Kernel events and facts in, traces out (design section 3). Pure: no clock, no files; a recording replays to the same traces."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from otel_kernel.births import completion, spans
from otel_kernel.births.arguments import Command, Tool, pod_uid_in
from otel_kernel.births.daemon_calls import DaemonCalls, Item, ids_in, mounted_target, snapshot_of, tokens_of
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.identity import Identity
from otel_kernel.births.lineage import Lineages
from otel_kernel.births.model import NO_LOSS, Birth, CgroupStep, Completion, Kind, Pod, Process, Unit
from otel_kernel.births.register import PodRegister
from otel_kernel.births.trace import SpanLink, Trace
from otel_kernel.kernel.events import Call, CgroupChange, CgroupWrite, End, Event, Exec, Fork, Loss, Role, Wait

_SECOND = 1_000_000_000
_IDENTITIES_KEPT = 4096
_CGROUPS_KEPT = 16384
_UNRESOLVED_KEPT = 1024


@dataclass(frozen=True, slots=True)
class AssemblySettings:
    """How births are told apart and told."""

    quiet_ns: int = 5 * _SECOND
    timeout_ns: int = 600 * _SECOND
    calls: Literal["spans", "folded"] = "spans"
    services: Literal["component", "single"] = "component"
    arguments: Literal["off", "redacted", "full"] = "off"
    service_name: str = "otel-kernel"
    node_name: str | None = None
    started_ns: int = 0  # boot time at which observation began; facts not younger tell what was there before
    cgroup_writes_known: bool = True
    daemon_calls_kept: int = 4096


@dataclass(slots=True)
class Counters:
    """What did not become a span, and why. All cumulative but `open`."""

    open: int = 0
    exported: int = 0
    not_birth: int = 0
    not_kubernetes: int = 0
    unresolved: int = 0
    unresolved_dropped: int = 0  # for lack of room
    unattributed: int = 0  # records of processes that nobody told about, or of births that are over
    candidates_dropped: int = 0
    daemon_calls_unmatched: int = 0
    daemon_calls_dropped: int = 0  # of these, for lack of room


class Assembly:
    """Open births. `unix_offset_ns` tells what to add to boot time at this moment; it is asked once for each birth."""

    def __init__(self, settings: AssemblySettings, unix_offset_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._unix_offset_ns = unix_offset_ns
        self._lineages = Lineages(self._unit_for, self._unit_in_cgroup)
        self._daemons = DaemonCalls(settings.daemon_calls_kept, settings.timeout_ns)
        self._pods = PodRegister()
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._cgroups: OrderedDict[int, tuple[str, str | None]] = OrderedDict()
        self._units: dict[str, Unit] = {}  # open ones, by container id
        self._unresolved: dict[Unit, None] = {}  # open ones that belong to no pod yet
        self._discarded: dict[Unit, None] = {}
        self._births: dict[Birth, None] = {}
        self._owners: dict[str, Unit] = {}
        self._loss = NO_LOSS
        self._counters = Counters()
        self._handlers: dict[type, Callable[..., None]] = {
            Call: self._call,
            Wait: self._lineages.wait,
            Fork: self._lineages.fork,
            Exec: self._exec,
            End: self._end,
            CgroupChange: self._cgroup_change,
            CgroupWrite: self._daemon_item,
            Loss: self._note_loss,
            ContainerFacts: self._facts,
        }

    def feed(self, told: Event | ContainerFacts) -> None:
        """Take in one event or fact, in the order in which they were delivered."""
        self._handlers[type(told)](told)

    def expect(self, pod_uid: str, container_names: frozenset[str]) -> None:
        """Take in which containers a pod's spec has: its birth is `known` once all of them have started."""
        pod = self._pods.find(pod_uid, None)
        if pod is not None:
            pod.expected = container_names

    def due(self, now_ns: int) -> list[Trace]:
        """Return the traces of the births that are over by now (boot time), oldest first."""
        self._daemons.expire(now_ns)
        traces = []
        for birth in tuple(self._births):
            at_ns, why = self._deadline(birth)
            if at_ns <= now_ns:
                traces.append(self._export(birth, why))
        for unit in tuple(self._unresolved):
            if unit.first_ns + self._settings.timeout_ns <= now_ns:
                traces.append(self._export(self._unresolved_birth(unit), Completion.TIMEOUT))
        for unit in tuple(self._discarded):
            if unit.alive == 0 or unit.first_ns + self._settings.timeout_ns <= now_ns:
                self._release(unit)
        return traces

    def close(self, completed: Completion = Completion.SHUTDOWN) -> list[Trace]:
        """Return the traces of all births that are open, as far as they came."""
        births = [*self._births, *(self._unresolved_birth(unit) for unit in tuple(self._unresolved))]
        return [self._export(birth, completed) for birth in births]

    @property
    def next_deadline_ns(self) -> int | None:
        """Boot time at which a birth will be due if nothing more is fed; None while none is open."""
        births = (self._deadline(birth)[0] for birth in self._births)
        units = (unit.first_ns + self._settings.timeout_ns for unit in self._unresolved)
        return min((*births, *units), default=None)

    @property
    def counters(self) -> Counters:
        """What did not become a span so far, and the births that are open."""
        told = self._counters
        told.open = len(self._births) + len(self._unresolved)
        told.not_birth = self._lineages.not_birth
        told.unattributed = self._lineages.unattributed
        told.candidates_dropped = self._lineages.candidates_dropped
        told.daemon_calls_unmatched = self._daemons.unmatched
        told.daemon_calls_dropped = self._daemons.dropped
        return told

    # Events

    def _call(self, event: Call) -> None:
        if event.role is Role.LINEAGE:
            self._lineages.call(event)
        elif event.role is Role.CANDIDATE:
            self._lineages.candidate_call(event)
        elif not self._lineages.takes_hand_over(event):
            self._daemon_item(event)

    def _exec(self, event: Exec) -> None:
        begun = self._lineages.exec(event)
        if begun is None:
            return
        made_by = self._daemons.claim_clone(begun)
        if made_by is not None:
            self._belongs(made_by, begun.unit)

    def _end(self, event: End) -> None:
        process = self._lineages.end(event)
        if process is not None and process.unit.birth is None and not process.unit.discarded:
            self._settle(process.unit)

    def _note_loss(self, event: Loss) -> None:
        self._loss = event

    def _cgroup_change(self, event: CgroupChange) -> None:
        if event.cgroup_id not in self._cgroups:
            return
        pod_uid, container_id = self._cgroups[event.cgroup_id]
        pod = self._pods.find(pod_uid, None)
        if event.action == "mkdir" and container_id is None and (pod is None or not (pod.birth or pod.was_born)):
            pod = self._birth_of_pod(ContainerFacts(event.ns, "cgroup-path", pod_uid=pod_uid), event.ns)
        if event.action == "rmdir":
            del self._cgroups[event.cgroup_id]
        if pod is None:
            return
        if event.action == "rmdir" and container_id is None:
            self._pods.removed(pod)
        birth = pod.birth
        if birth is None:
            return
        birth.cgroup_steps.append(CgroupStep(event.ns, event.action, container_id))
        birth.cgroup_removed = birth.cgroup_removed or (event.action == "rmdir" and container_id is None)
        # Probes and `exec` attach for as long as the pod lives: that is not part of being born.
        if event.action != "attach":
            birth.last_ns = max(birth.last_ns, event.ns)

    # Facts

    def _facts(self, facts: ContainerFacts) -> None:
        if facts.cgroup_id is not None and facts.pod_uid is not None:
            self._cgroups[facts.cgroup_id] = (facts.pod_uid, facts.container_id)
            if len(self._cgroups) > _CGROUPS_KEPT:
                self._cgroups.popitem(last=False)
        before = facts.ns <= self._settings.started_ns
        if facts.container_id is None:
            self._facts_of_pod(facts, before=before)
            return
        identity = self._identity(facts.container_id)
        identity.learn(facts)
        if before and (identity.pod_uid or identity.sandbox):
            pod, _ = self._pods.of(identity)
            pod.had_containers = True
            pod.names_ran |= {identity.container_name} - {None}  # type: ignore[arg-type]
        unit = self._units.get(facts.container_id)
        if unit is not None:
            self._settle(unit)

    def _facts_of_pod(self, facts: ContainerFacts, *, before: bool) -> None:
        if facts.pod_uid is None:
            return
        pod = self._pods.find(facts.pod_uid, None)
        if pod is None and before:
            identity = Identity()
            identity.learn(facts)
            pod, _ = self._pods.of(identity)
        if pod is not None:
            pod.identity.learn(facts)
            pod.had_cgroup = pod.had_cgroup or before

    def _identity(self, container_id: str) -> Identity:
        identity = self._identities.setdefault(container_id, Identity(container_id))
        self._identities.move_to_end(container_id)
        if len(self._identities) > _IDENTITIES_KEPT:
            self._identities.popitem(last=False)
        return identity

    # Units

    def _unit_for(self, event: Exec, told: Command) -> Unit:
        if told.tool is Tool.VOLUMES:
            return self._volumes_for(event, told)
        if told.container_id is None:
            return self._new_unit(Identity(), event.process_start_ns)
        identity = self._identity(told.container_id)
        if told.tool is Tool.CNI:
            identity.learn(
                ContainerFacts(
                    event.ns,
                    "cni-env",
                    told.container_id,
                    is_sandbox=True,
                    network_namespace=told.network_namespace,
                )
            )
        unit = self._units.get(told.container_id)
        if unit is None:
            unit = self._units[told.container_id] = self._new_unit(identity, event.process_start_ns)
            self._own(unit, told.container_id)
        self._settle(unit)
        return unit

    def _new_unit(self, identity: Identity, first_ns: int) -> Unit:
        unit = Unit(identity, first_ns, self._unix_offset_ns(), self._loss, last_ns=first_ns)
        self._unresolved[unit] = None
        if len(self._unresolved) > _UNRESOLVED_KEPT:
            self._counters.unresolved_dropped += 1
            self._discard(next(iter(self._unresolved)))
        return unit

    def _volumes_for(self, event: Exec, told: Command) -> Unit:
        pod = self._pods.find(told.pod_uid, None)
        # Unmounting begins no pod.
        begins = told.pod_uid is not None and told.program != "umount"
        if begins and (pod is None or not (pod.birth or pod.was_born or pod.had_cgroup)):
            facts = ContainerFacts(event.ns, "volume-path", pod_uid=told.pod_uid)
            pod = self._birth_of_pod(facts, event.process_start_ns)
        if pod is not None and pod.birth is not None:
            return self._volumes_of(pod.birth, event.process_start_ns)
        self._lineages.not_birth += 1
        unit = Unit(Identity(), event.process_start_ns, 0, self._loss, volumes=True, discarded=True)
        self._discarded[unit] = None
        return unit

    def _volumes_of(self, birth: Birth, ns: int) -> Unit:
        unit = next((unit for unit in birth.units if unit.volumes), None)
        if unit is None:
            unit = Unit(Identity(), ns, birth.unix_offset_ns, self._loss, volumes=True, birth=birth, last_ns=ns)
            birth.units.append(unit)
        return unit

    def _unit_in_cgroup(self, cgroup_id: int) -> Unit | None:
        _, container_id = self._cgroups.get(cgroup_id, (None, None))
        return self._units.get(container_id) if container_id else None

    def _settle(self, unit: Unit) -> None:
        """Find the pod that a unit is for, once enough is known."""
        identity = unit.identity
        namespace = identity.network_namespace
        if namespace and namespace.startswith("/") and not namespace.startswith("/proc/") and identity.is_sandbox:
            self._own(unit, namespace)
        if unit.discarded:
            return
        if unit.birth is not None:
            self._learned(unit)
            return
        over = unit.entry is not None or (unit.has_ended and unit.was_created)
        if identity.is_kubernetes and (identity.pod_uid or identity.sandbox) and (identity.is_sandbox is not None or over):
            self._adopt(unit)
        elif identity.not_kubernetes and unit.alive == 0 and unit.processes:
            self._counters.not_kubernetes += not identity.counted
            identity.counted = True
            self._discard(unit)

    def _learned(self, unit: Unit) -> None:
        birth = unit.birth
        if birth is None or birth.unresolved:
            return
        pod, same = self._pods.of(unit.identity)
        if pod is not birth.pod and same is None:
            same = birth.pod
        if same is not None and same is not pod:
            self._merge(pod, same)
        self._claim_for_pod(pod)

    # Births

    def _birth_of_pod(self, facts: ContainerFacts, ns: int) -> Pod:
        identity = Identity()
        identity.learn(facts)
        pod, _ = self._pods.of(identity)
        self._open(Kind.BIRTH, pod, ns, self._unix_offset_ns())
        self._claim_for_pod(pod)
        return pod

    def _open(self, kind: Kind, pod: Pod, ns: int, unix_offset_ns: int) -> Birth:
        birth = Birth(kind, pod, ns, unix_offset_ns, self._loss, last_ns=ns)
        self._births[birth] = None
        if kind is Kind.BIRTH:
            pod.birth = birth
        return birth

    def _adopt(self, unit: Unit) -> None:
        pod, same = self._pods.of(unit.identity)
        if same is not None:
            self._merge(pod, same)
        birth = pod.birth
        # Volumes alone may be those of a pod that was there before us: its container is not part of a birth.
        if birth is None or (unit.is_container and not birth.is_seen):
            birth = self._open(_kind(unit, pod), pod, unit.first_ns, unit.unix_offset_ns)
        self._add(unit, birth)
        self._claim_for_pod(pod)

    def _add(self, unit: Unit, birth: Birth) -> None:
        self._unresolved.pop(unit, None)
        unit.birth = birth
        birth.units.append(unit)
        if unit.first_ns < birth.first_ns:
            birth.first_ns, birth.unix_offset_ns = unit.first_ns, unit.unix_offset_ns
        birth.loss_before = min(birth.loss_before, unit.loss_before)

    def _merge(self, pod: Pod, same: Pod) -> None:
        """Two pods turned out to be one: their open births are one, too."""
        for birth in [birth for birth in self._births if birth.pod is same]:
            birth.pod = pod
            if birth.kind is not Kind.BIRTH:
                continue
            same.birth = None
            if pod.birth is None and not pod.was_born:
                pod.birth = birth
                continue
            del self._births[birth]
            self._move_units(birth, pod)

    def _move_units(self, birth: Birth, pod: Pod) -> None:
        for unit in birth.units:
            target = pod.birth or self._open(_kind(unit, pod), pod, unit.first_ns, unit.unix_offset_ns)
            self._add(unit, target)
        if pod.birth is not None:
            pod.birth.cgroup_steps += birth.cgroup_steps
            pod.birth.cgroup_removed = pod.birth.cgroup_removed or birth.cgroup_removed
            pod.birth.first_ns = min(pod.birth.first_ns, birth.first_ns)

    def _unresolved_birth(self, unit: Unit) -> Birth:
        self._counters.unresolved += 1
        birth = self._open(Kind.BIRTH, Pod(unit.identity), unit.first_ns, unit.unix_offset_ns)
        birth.unresolved = True
        self._add(unit, birth)
        return birth

    def _deadline(self, birth: Birth) -> tuple[int, Completion]:
        lossy = self._loss.lost > birth.loss_before.lost
        return completion.deadline_ns(birth, self._settings.quiet_ns, self._settings.timeout_ns, lossy=lossy)

    def _export(self, birth: Birth, completed: Completion) -> Trace:
        if completion.is_half_seen(birth, self._settings.started_ns):
            completed = Completion.AGENT_STARTED
        trace = spans.build(birth, completed, self._settings_of_trace())
        pod = birth.pod
        if birth.kind is Kind.BIRTH:
            pod.birth, pod.was_born = None, True
            pod.root = SpanLink(trace.trace_id, trace.spans[0].span_id, {})
        pod.names_ran |= {c.identity.container_name for c in birth.containers if c.entry} - {None}  # type: ignore[arg-type]
        del self._births[birth]
        for unit in birth.units:
            self._release(unit)
        self._counters.exported += 1
        return trace

    def _settings_of_trace(self) -> spans.TraceSettings:
        told = self._settings
        return spans.TraceSettings(
            folded=told.calls == "folded",
            single_service=told.services == "single",
            arguments=told.arguments,
            service_name=told.service_name,
            node_name=told.node_name,
            cgroup_writes_known=told.cgroup_writes_known,
            loss=self._loss,
            service_of_daemon=self._lineages.service_of,
        )

    def _discard(self, unit: Unit) -> None:
        unit.discarded = True
        self._unresolved.pop(unit, None)
        if unit.alive:
            self._discarded[unit] = None
        else:
            self._release(unit)

    def _release(self, unit: Unit) -> None:
        """Forget an open unit: what comes of it from now on is not attributed."""
        self._discarded.pop(unit, None)
        self._daemons.forget(unit)
        for token in unit.tokens:
            del self._owners[token]
        unit.tokens.clear()
        container_id = unit.identity.container_id
        if container_id is not None and self._units.get(container_id) is unit:
            del self._units[container_id]
        for process in unit.processes:
            self._lineages.remove(process)

    # Daemons' own calls

    def _daemon_item(self, item: Item) -> None:
        tokens = tokens_of(item)
        unit = self._owner(item, tokens)
        if unit is not None:
            self._belongs(item, unit)
            return
        for pod in self._pods_named(tokens):
            if pod.birth is not None and self._belongs_to_pod(item, pod.birth):
                return
        self._daemons.keep(item, tokens)

    def _owner(self, item: Item, tokens: Iterable[str]) -> Unit | None:
        for token in tokens:
            unit = self._owners.get(token)
            if unit is not None:
                return unit
        if not isinstance(item, Call):
            return None
        root: Process | None = self._lineages.root(item) if item.child_pid else None
        return root.unit if root is not None else self._daemons.returned_for(item)

    def _pods_named(self, tokens: Iterable[str]) -> list[Pod]:
        found = (self._pods.find(token, None) for token in tokens)
        return [pod for pod in found if pod is not None]

    def _belongs_to_pod(self, item: Item, birth: Birth) -> bool:
        """Give a birth a daemon's call that names its pod but none of its containers."""
        uid = birth.pod.identity.pod_uid
        if isinstance(item, CgroupWrite):
            birth.daemon_cgroup_writes += 1
            return True
        if uid in {pod_uid_in(item.source or ""), pod_uid_in(item.target or "")}:
            self._belongs(item, self._volumes_of(birth, item.start_ns))
            return True
        if birth.sandboxes:
            self._belongs(item, birth.sandboxes[-1])
        return bool(birth.sandboxes)

    def _claim_for_pod(self, pod: Pod) -> None:
        if pod.identity.pod_uid is None or pod.birth is None:
            return
        for item in self._daemons.claim(pod.identity.pod_uid):
            if not self._belongs_to_pod(item, pod.birth):
                self._daemons.keep(item, tokens_of(item))

    def _own(self, unit: Unit, token: str) -> None:
        """Let a unit be known to daemons' calls by an id or path, and claim those that came before."""
        if token in self._owners:
            return
        self._owners[token] = unit
        unit.tokens.append(token)
        for item in self._daemons.claim(token):
            self._belongs(item, unit)

    def _belongs(self, item: Item, unit: Unit) -> None:
        if isinstance(item, CgroupWrite):
            unit.daemon_cgroup_writes += 1
            return
        unit.daemon_calls.append(item)
        unit.last_ns = max(unit.last_ns, item.end_ns)
        unit.first_ns = min(unit.first_ns, item.start_ns)
        if unit.birth is not None:
            unit.birth.first_ns = min(unit.birth.first_ns, item.start_ns)
        for token in _tokens_taught(item, unit):
            self._own(unit, token)
        if item.name == "mount" and item.return_value == 0 and item.target == unit.identity.network_namespace:
            for call in (self._daemons.claim_unshare(item), self._daemons.claim_return(item, unit)):
                if call is not None:
                    self._belongs(call, unit)


def _tokens_taught(call: Call, unit: Unit) -> list[str]:
    """Return what a matched call teaches of later and earlier ones. (A failing call proves nothing.)"""
    if unit.volumes:
        return []
    told = [mounted_target(call)]
    if unit.identity.container_id in ids_in(call.target or ""):
        told.append(snapshot_of(call))
    return [token for token in told if token is not None]


def _kind(unit: Unit, pod: Pod) -> Kind:
    """Return what a unit begins in a pod that has no open birth."""
    if unit.is_sandbox:
        return Kind.SANDBOX_RESTART if pod.was_born or pod.had_containers else Kind.BIRTH
    return Kind.CONTAINER_RESTART if unit.identity.container_name in pod.names_ran else Kind.CONTAINER_START
