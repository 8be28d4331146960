"""Which pods are there? Each is found by its UID or a sandbox's id, and remembered until it is gone."""

from collections import OrderedDict, deque

from otel_kernel.births.facts import PodFacts
from otel_kernel.births.identity import Identity
from otel_kernel.births.model import Pod

_PODS_KEPT = 1024
_REMOVED_KEPT = 256  # late events of a pod that is gone must still find it


class PodRegister:
    """The pods of this node, with what is to be remembered of them after their birth."""

    def __init__(self) -> None:
        self._by_uid: OrderedDict[str, Pod] = OrderedDict()
        self._by_sandbox: OrderedDict[str, Pod] = OrderedDict()
        self._removed: deque[Pod] = deque()
        self._announced: OrderedDict[str, PodFacts] = OrderedDict()  # by UID: nothing of them was seen here yet

    def find(self, pod_uid: str | None, sandbox_id: str | None) -> Pod | None:
        """Return the pod with this UID, or else with this sandbox."""
        pod = self._by_uid.get(pod_uid) if pod_uid else None
        if pod is None and sandbox_id:
            pod = self._by_sandbox.get(sandbox_id)
            # A sandbox known by its id alone may turn out to be this pod's; one with another UID is another's.
            if pod is not None and pod_uid and pod.identity.pod_uid not in {None, pod_uid}:
                return None
        return pod

    def of(self, identity: Identity) -> tuple[Pod, Pod | None]:
        """Return the pod that an identity names, made if need be; and a second one that turned out to be the same."""
        sandbox_id = identity.sandbox
        pod = self.find(identity.pod_uid, sandbox_id) or Pod(Identity())
        other = self._by_sandbox.get(sandbox_id) if sandbox_id else None
        pod.identity.absorb(identity)
        uid = pod.identity.pod_uid
        if uid and self._by_uid.get(uid, pod) is not pod:
            other, pod = pod, self._by_uid[uid]
            pod.identity.absorb(identity)
        if sandbox_id:
            pod.sandbox_ids.add(sandbox_id)
        same = other if other is not None and other is not pod and other.identity.pod_uid in {None, uid} else None
        if same is not None:
            self._join(pod, same)
        self._index(pod)
        return pod, same

    def told(self, facts: PodFacts) -> Pod | None:
        """Take in what Kubernetes says of a pod, and return it; None while nothing of it was seen here."""
        pod = self._by_uid.get(facts.pod_uid)
        if pod is not None:
            pod.told = facts
        elif facts.is_deleted:
            self._announced.pop(facts.pod_uid, None)
        else:
            self._announced[facts.pod_uid] = facts
            if len(self._announced) > _PODS_KEPT:
                self._announced.popitem(last=False)
        return pod

    def removed(self, pod: Pod) -> None:
        """Remember a pod whose cgroup is gone for a little longer."""
        pod.is_gone = True
        self._removed.append(pod)
        while len(self._removed) > _REMOVED_KEPT:
            gone = self._removed.popleft()
            # A static pod comes back under its old UID.
            if gone.is_gone:
                self._forget(gone)

    def _join(self, pod: Pod, same: Pod) -> None:
        pod.sandbox_ids |= same.sandbox_ids
        pod.names_ran |= same.names_ran
        pod.identity.absorb(same.identity)
        pod.root = pod.root or same.root
        pod.was_born = pod.was_born or same.was_born
        pod.had_cgroup = pod.had_cgroup or same.had_cgroup
        pod.had_containers = pod.had_containers or same.had_containers
        pod.told = pod.told or same.told

    def _index(self, pod: Pod) -> None:
        if pod.identity.pod_uid:
            self._by_uid[pod.identity.pod_uid] = pod
            self._by_uid.move_to_end(pod.identity.pod_uid)
            pod.told = self._announced.pop(pod.identity.pod_uid, None) or pod.told
        for sandbox_id in pod.sandbox_ids:
            self._by_sandbox[sandbox_id] = pod
            self._by_sandbox.move_to_end(sandbox_id)
        for index in (self._by_uid, self._by_sandbox):
            if len(index) > _PODS_KEPT:
                self._forget(next(iter(index.values())))

    def _forget(self, pod: Pod) -> None:
        if pod.birth is not None:
            return
        if pod.identity.pod_uid and self._by_uid.get(pod.identity.pod_uid) is pod:
            del self._by_uid[pod.identity.pod_uid]
        for sandbox_id in pod.sandbox_ids:
            if self._by_sandbox.get(sandbox_id) is pod:
                del self._by_sandbox[sandbox_id]
