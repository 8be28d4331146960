"""Which birth is a unit part of? Births that are open, found and joined as it becomes known whose pod a unit is for."""

from collections.abc import Iterator

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.identity import Identity
from otel_kernel.births.model import Birth, Kind, Pod, Unit
from otel_kernel.births.register import PodRegister
from otel_kernel.births.trace import SpanLink
from otel_kernel.kernel.events import Loss


class OpenBirths:
    """The births that are open. At most one per pod is its birth; restarts are traces of their own."""

    def __init__(self, pods: PodRegister) -> None:
        self._pods = pods
        self._births: dict[Birth, None] = {}

    def __iter__(self) -> Iterator[Birth]:
        return iter(tuple(self._births))

    def __len__(self) -> int:
        return len(self._births)

    def begin(self, facts: ContainerFacts, ns: int, unix_offset_ns: int, loss: Loss) -> Pod:
        """Open the birth of a pod of which nothing but its UID is known."""
        identity = Identity()
        identity.learn(facts)
        pod, _ = self._pods.of(identity)
        self._open(Birth(Kind.BIRTH, pod, ns, unix_offset_ns, loss, last_ns=ns))
        return pod

    def adopt(self, unit: Unit) -> Pod:
        """Make a unit, whose pod is known by now, part of a birth."""
        pod, same = self._pods.of(unit.identity)
        if same is not None:
            self._merge(pod, same)
        birth = pod.birth
        # Volumes alone may be those of a pod that was there before us: its container is not part of a birth.
        if birth is None or (unit.is_container and not birth.is_seen):
            birth = self._begun_by(unit, pod)
        birth.adds(unit)
        return pod

    def learned(self, unit: Unit) -> Pod | None:
        """Take in what became known of a unit that is part of a birth already."""
        birth = unit.birth
        if birth is None or birth.unresolved:
            return None
        before = birth.pod
        pod, same = self._pods.of(unit.identity)
        if same is not None:
            self._merge(pod, same)
        if birth.pod is not pod:
            if before.identity.pod_uid in {None, pod.identity.pod_uid}:
                self._merge(pod, before)
            else:
                self._move(unit, birth)
        return pod

    def unresolved(self, unit: Unit) -> Birth:
        """Open a birth for a unit of which nobody could tell the pod."""
        birth = self._open(Birth(Kind.BIRTH, Pod(unit.identity), unit.first_ns, unit.unix_offset_ns, unit.loss_before))
        birth.unresolved = True
        birth.adds(unit)
        return birth

    def close(self, birth: Birth, root: SpanLink) -> None:
        """Remember of a birth that is over what later traces of its pod need."""
        pod = birth.pod
        if birth.kind is Kind.BIRTH:
            pod.birth, pod.was_born, pod.root = None, True, root
        ran = (unit.identity.container_name for unit in birth.containers if unit.entry is not None)
        pod.names_ran.update(name for name in ran if name is not None)
        del self._births[birth]

    def _open(self, birth: Birth) -> Birth:
        self._births[birth] = None
        if birth.kind is Kind.BIRTH:
            birth.pod.birth = birth
        return birth

    def _begun_by(self, unit: Unit, pod: Pod) -> Birth:
        return self._open(Birth(_kind(unit, pod), pod, unit.first_ns, unit.unix_offset_ns, unit.loss_before))

    def _merge(self, pod: Pod, same: Pod) -> None:
        """Two pods turned out to be one: their open births are one, too."""
        for birth in [birth for birth in self._births if birth.pod is same]:
            birth.pod = pod
            if birth.kind is not Kind.BIRTH:
                continue
            same.birth = None
            if pod.birth is None and not pod.was_born:
                pod.birth = birth
            else:
                self._dissolve(birth, pod)

    def _move(self, unit: Unit, birth: Birth) -> None:
        """A weaker source had named another pod."""
        birth.units.remove(unit)
        if not birth.units and not birth.cgroup_steps:
            del self._births[birth]
            birth.pod.birth = None if birth.pod.birth is birth else birth.pod.birth
        self.adopt(unit)

    def _dissolve(self, birth: Birth, pod: Pod) -> None:
        del self._births[birth]
        for unit in birth.units:
            (pod.birth or self._begun_by(unit, pod)).adds(unit)
        if pod.birth is not None:
            pod.birth.absorbs(birth)


def _kind(unit: Unit, pod: Pod) -> Kind:
    """Return what a unit begins in a pod that has no open birth."""
    if unit.is_sandbox:
        return Kind.SANDBOX_RESTART if pod.was_born or pod.had_containers else Kind.BIRTH
    return Kind.CONTAINER_RESTART if unit.identity.container_name in pod.names_ran else Kind.CONTAINER_START
