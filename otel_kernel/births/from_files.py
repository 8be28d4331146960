"""Births without eBPF: facts and sightings in, traces out. Pure, as the assembly of kernel events is.

Files do not show what comes and goes between two looks: a program that was not seen may have run all the same. So
nothing here is called an error, and no count is told.
"""

from collections import OrderedDict
from collections.abc import Callable

from otel_kernel.births import file_spans
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.file_birth import FileBirth, FilePod, FileUnit
from otel_kernel.births.identity import Identity
from otel_kernel.births.model import Completion
from otel_kernel.births.sightings import Appeared, Emptied, Missed, Program, Sighting, Vanished
from otel_kernel.births.trace import SpanLink, Trace

# Several times what a kubelet runs; the oldest are forgotten first.
_PODS_KEPT = 1024
_IDENTITIES_KEPT = 2048


class FileBirths:
    """Open births. `unix_offset_ns` tells what to add to boot time at this moment; it is asked once for each birth."""

    def __init__(self, settings: AssemblySettings, unix_offset_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._unix_offset_ns = unix_offset_ns
        self._pods: OrderedDict[str, FilePod] = OrderedDict()
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._births: dict[FileBirth, None] = {}

    def feed(self, told: ContainerFacts | Sighting) -> None:
        """Take in one fact or sighting, in the order in which they were told."""
        match told:
            case ContainerFacts():
                self._learn(told)
            case Appeared(container_id=None):
                self._pod_appeared(told)
            case Appeared():
                self._unit_appeared(told)
            case Program():
                self._ran(told)
            case Emptied() | Vanished():
                self._ended(told)
            case Missed():
                for birth in self._births:
                    birth.missed[told.reason] = None

    def due(self, now_ns: int) -> list[Trace]:
        """Return the traces of the births that are over by now (boot time), oldest first."""
        over = [(birth, why) for birth in self._births for at_ns, why in [self._deadline(birth)] if at_ns <= now_ns]
        return [self._export(birth, why) for birth, why in over]

    def close(self, completed: Completion = Completion.SHUTDOWN) -> list[Trace]:
        """Return the traces of all births that are open, as far as they came."""
        return [self._export(birth, completed) for birth in tuple(self._births)]

    @property
    def open(self) -> int:
        """How many births are open."""
        return len(self._births)

    @property
    def next_deadline_ns(self) -> int | None:
        """Boot time at which a birth will be due if nothing more is fed; None while none is open."""
        return min((self._deadline(birth)[0] for birth in self._births), default=None)

    # Facts

    def _learn(self, facts: ContainerFacts) -> None:
        if facts.container_id is None:
            return
        identity = self._identity(facts.container_id)
        identity.learn(facts)
        pod = self._pods.get(identity.pod_uid or "")
        if pod is not None and facts.container_id in pod.units:
            pod.identity.absorb(identity)

    def _identity(self, container_id: str) -> Identity:
        identity = self._identities.setdefault(container_id, Identity(container_id))
        self._identities.move_to_end(container_id)
        if len(self._identities) > _IDENTITIES_KEPT:
            self._identities.popitem(last=False)
        return identity

    # Sightings

    def _pod_appeared(self, seen: Appeared) -> None:
        pod = self._pod(seen)
        if pod.birth is None and not pod.was_born and not pod.existing:
            self._open(pod, seen.ns, whole=True)

    def _unit_appeared(self, seen: Appeared) -> None:
        pod = self._pod(seen)
        if seen.container_id is None or seen.container_id in pod.units:
            return
        identity = self._identity(seen.container_id)
        unit = pod.units[seen.container_id] = FileUnit(identity, seen.ns, seen.existing)
        pod.identity.absorb(identity)
        if not seen.existing:
            self._begin(unit, pod)

    def _ran(self, seen: Program) -> None:
        unit = self._unit(seen.pod_uid, seen.container_id)
        if unit is None:
            return
        pod = self._pods[seen.pod_uid]
        if seen.is_runtime:
            # Its cgroup was there before observation began, its own program was not.
            if unit.existing and unit.birth is None and unit.program is None and not unit.was_told:
                self._begin(unit, pod)
            unit.emptied_ns = None
            self._touch(unit.birth, seen.ns)
            return
        if unit.program is None:
            unit.program = seen
            self._touch(unit.birth, seen.ns)
            if unit.birth is None and unit.identity.container_name:
                pod.names_ran.add(unit.identity.container_name)

    def _ended(self, seen: Emptied | Vanished) -> None:
        if seen.container_id is None:
            self._pod_vanished(seen)
            return
        unit = self._unit(seen.pod_uid, seen.container_id)
        if unit is None:
            return
        if isinstance(seen, Emptied):
            unit.emptied_ns = seen.ns
        else:
            pod = self._pods[seen.pod_uid]
            pod.was_born = pod.was_born or _ran_before(unit)
            unit.removed_ns = seen.ns
            del pod.units[seen.container_id]
        self._touch(unit.birth, seen.ns)

    def _pod_vanished(self, seen: Emptied | Vanished) -> None:
        pod = self._pods.get(seen.pod_uid)
        if pod is None:
            return
        pod.units.clear()
        for birth in [birth for birth in self._births if birth.pod is pod]:
            birth.removed = True
            self._touch(birth, seen.ns)

    def _pod(self, seen: Appeared) -> FilePod:
        pod = self._pods.get(seen.pod_uid)
        if pod is None:
            pod = self._pods[seen.pod_uid] = FilePod(Identity(pod_uid=seen.pod_uid), seen.existing)
        self._pods.move_to_end(seen.pod_uid)
        if len(self._pods) > _PODS_KEPT:
            self._pods.popitem(last=False)
        return pod

    def _unit(self, pod_uid: str, container_id: str) -> FileUnit | None:
        pod = self._pods.get(pod_uid)
        return pod.units.get(container_id) if pod is not None else None

    # Births

    def _begin(self, unit: FileUnit, pod: FilePod) -> None:
        birth = pod.birth
        if birth is None:
            was_born = pod.was_born or any(_ran_before(other) for other in pod.units.values())
            birth = self._open(pod, unit.first_ns, whole=not was_born)
            birth.half_seen = unit.existing or (birth.is_whole_pod and pod.existing)
            if birth.is_whole_pod:
                for earlier in pod.units.values():
                    self._add(earlier, birth)
        if unit.birth is None:
            self._add(unit, birth)

    def _open(self, pod: FilePod, ns: int, *, whole: bool) -> FileBirth:
        birth = FileBirth(pod, ns, ns, self._unix_offset_ns(), whole)
        self._births[birth] = None
        if whole:
            pod.birth = birth
        self._touch(birth, ns)
        return birth

    def _add(self, unit: FileUnit, birth: FileBirth) -> None:
        unit.birth = birth
        birth.units.append(unit)
        birth.first_ns = min(birth.first_ns, unit.first_ns)
        self._touch(birth, unit.first_ns)

    def _touch(self, birth: FileBirth | None, ns: int) -> None:
        if birth is not None:
            birth.last_ns = max(birth.last_ns, ns)
            birth.sightings += 1

    def _deadline(self, birth: FileBirth) -> tuple[int, Completion]:
        return birth.deadline_ns(self._settings.quiet_ns, self._settings.timeout_ns)

    def _export(self, birth: FileBirth, completed: Completion) -> Trace:
        trace = file_spans.build(birth, Completion.AGENT_STARTED if birth.half_seen else completed, self._settings)
        pod = birth.pod
        if birth.is_whole_pod:
            pod.birth, pod.was_born = None, True
            pod.root = SpanLink(trace.trace_id, trace.spans[0].span_id, {})
        del self._births[birth]
        for unit in birth.units:
            unit.birth, unit.was_told = None, True
            if unit.program is not None and unit.identity.container_name:
                pod.names_ran.add(unit.identity.container_name)
        return trace


def _ran_before(unit: FileUnit) -> bool:
    """Whether a container's own program was there before observation began: then its pod's birth was over."""
    return unit.existing and unit.birth is None and unit.program is not None and not unit.identity.is_sandbox
