"""What is known of containers, whether or not anything of them is open: facts may come first."""

from collections import OrderedDict

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.identity import RANKS, Identity

_IDENTITIES_KEPT = 2048
_CGROUPS_KEPT = 4096

_NOBODY = (None, None)


class KnownContainers:
    """Identities by container id, and whose each cgroup is. Bounded: the oldest are forgotten first."""

    def __init__(self) -> None:
        self._identities: OrderedDict[str, Identity] = OrderedDict()
        self._cgroups: OrderedDict[int, tuple[str, str | None]] = OrderedDict()

    def learn(self, facts: ContainerFacts) -> Identity:
        """Take in facts and return the identity of what they are about; of a pod, one of these facts alone."""
        if facts.cgroup_id is not None and facts.pod_uid is not None:
            self._cgroups[facts.cgroup_id] = (facts.pod_uid, facts.container_id)
            if len(self._cgroups) > _CGROUPS_KEPT:
                self._cgroups.popitem(last=False)
        identity = self.container(facts.container_id) if facts.container_id is not None else Identity()
        identity.learn(facts)
        return identity

    def container(self, container_id: str) -> Identity:
        """Return a container's identity, empty if nothing is known."""
        identity = self._identities.setdefault(container_id, Identity(container_id))
        self._identities.move_to_end(container_id)
        if len(self._identities) > _IDENTITIES_KEPT:
            self._identities.popitem(last=False)
        return identity

    def pod_of(self, container_id: str) -> str | None:
        """Return the UID of the pod that a container's cgroup or bundle proves it to be in."""
        identity = self._identities.get(container_id)
        proven = identity is not None and identity.rank_of("pod_uid") >= RANKS["oci-bundle"]
        return identity.pod_uid if identity is not None and proven else None

    def in_cgroup(self, cgroup_id: int) -> tuple[str | None, str | None]:
        """Return the pod's UID and the container's id of a cgroup; no container: the pod's own."""
        return self._cgroups.get(cgroup_id, _NOBODY)

    def cgroup_removed(self, cgroup_id: int) -> None:
        """Forget a cgroup: its id may be given again."""
        self._cgroups.pop(cgroup_id, None)
