"""The pods and containers that live on this node now, and who they are.

Fed with what both sources tell anyway: changes of cgroups, and facts of containers. A container is in the pod whose
cgroup holds its own, whatever anybody says of it; so a static pod's UID is the one in its cgroup.
"""

import posixpath
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from otel_kernel.births import attributes, workload
from otel_kernel.births.facts import ContainerFacts, PodFacts
from otel_kernel.births.identity import Identity
from otel_kernel.kernel.events import CgroupChange
from otel_kernel.node.watch import CgroupSeen
from otel_kernel.pods import cgroup_path
from otel_kernel.pods.identity import CGROUP_PATH

# Facts come before their cgroup, or of containers that never get one: those of a full node are kept.
_AWAITED_KEPT = 1024
_PODS_TOLD_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A directory, by its path from the root of the hierarchy. All times are of CLOCK_BOOTTIME."""

    path: str
    id: int | None  # None: it was gone before it could be asked
    seen_ns: int
    made_ns: int | None  # None: it was there before anybody looked


@dataclass(frozen=True, slots=True)
class Container:
    """A container whose cgroup is there."""

    id: str
    cgroup: Cgroup
    name: str | None
    is_sandbox: bool | None  # None: not known
    resource: Mapping[str, str]  # its pod's attributes among them


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod whose cgroup is there."""

    uid: str
    cgroup: Cgroup
    named_ns: int | None  # when its name became known
    resource: Mapping[str, str]
    containers: tuple[Container, ...]  # in the order in which they came, the sandbox among them


@dataclass(frozen=True, slots=True)
class Removed:
    """A cgroup that is gone: a container's, or a pod's when `container_id` is None."""

    pod_uid: str
    container_id: str | None
    cgroup: Cgroup
    ns: int


@dataclass(slots=True)
class _LiveContainer:
    identity: Identity
    cgroup: Cgroup


@dataclass(slots=True)
class _LivePod:
    identity: Identity
    cgroup: Cgroup
    named_ns: int | None = None
    containers: dict[str, _LiveContainer] = field(default_factory=dict)
    told: Pod | None = None  # None: something has changed since


class Directory:
    """The pods that are there. Not for several threads at once."""

    def __init__(self, node_name: str | None) -> None:
        self._node_name = node_name
        self._pods: dict[str, _LivePod] = {}
        self._pod_of: dict[str, str] = {}  # container id -> pod UID
        self._awaited: OrderedDict[str, Identity] = OrderedDict()  # by container id: no cgroup yet
        self._told: OrderedDict[str, PodFacts] = OrderedDict()  # by pod UID: Kubernetes' word
        self._removed: list[Removed] = []
        self._changed: dict[str, None] = {}  # by pod UID

    def feed(self, told: object) -> None:
        """Take in a change of a cgroup or a fact; whatever else a source tells changes nothing."""
        match told:
            case CgroupChange() | CgroupSeen():
                self._take(told)
            case ContainerFacts():
                self._learn(told)
            case PodFacts():
                self._learn_of_pod(told)

    def reconcile(self, there: Iterable[tuple[int, str]], ns: int) -> None:
        """Take in which cgroups are there (`cgroupfs.walk`): notices of changes may have been lost."""
        paths = {path: cgroup_id for cgroup_id, path in there}
        for pod in tuple(self._pods.values()):
            for cgroup in (*(each.cgroup for each in pod.containers.values()), pod.cgroup):
                if cgroup.path not in paths:
                    self._vanish(cgroup.path, ns)
        for path, cgroup_id in paths.items():
            self._appear(path, Cgroup(path, cgroup_id, ns, None))

    def pods(self) -> tuple[Pod, ...]:
        """Return the pods that are there."""
        return tuple(pod.told or self._tell(uid, pod) for uid, pod in self._pods.items())

    def take_changed(self) -> list[Pod]:
        """Return the pods that came, or of which a container came, went or is better known, since the last call."""
        taken, self._changed = self._changed, {}
        return [pod.told or self._tell(uid, pod) for uid in taken if (pod := self._pods.get(uid)) is not None]

    def take_removed(self) -> list[Removed]:
        """Return what was removed since the last call, containers before their pod."""
        taken, self._removed = self._removed, []
        return taken

    def _take(self, change: CgroupChange | CgroupSeen) -> None:
        if change.action == "rmdir":
            self._vanish(change.path, change.ns)
            return
        made_ns = change.ns if change.action == "mkdir" else None
        self._appear(change.path, Cgroup(change.path, change.cgroup_id, change.ns, made_ns))

    def _appear(self, path: str, cgroup: Cgroup) -> None:
        parsed = cgroup_path.parse(path)
        if parsed is None or parsed.below:
            return
        pod = self._pods.get(parsed.pod_uid)
        if parsed.container_id is None:
            self._pod_appeared(parsed.pod_uid, pod, cgroup)
            return
        if self._pod_of.get(parsed.container_id, parsed.pod_uid) != parsed.pod_uid:
            return  # an id is given once: this directory is somebody's imitation
        if pod is None:
            above = Cgroup(posixpath.dirname(path), None, cgroup.seen_ns, None)
            pod = self._pod_appeared(parsed.pod_uid, None, above)
        self._container_appeared(parsed.pod_uid, pod, parsed.container_id, cgroup)

    def _pod_appeared(self, uid: str, pod: _LivePod | None, cgroup: Cgroup) -> _LivePod:
        if pod is not None and not _is_another(pod.cgroup, cgroup):
            return pod
        if pod is not None:  # a static pod comes back under its UID, and its removal was not told
            self._vanish(pod.cgroup.path, cgroup.seen_ns)
        pod = self._pods[uid] = _LivePod(Identity(), cgroup)
        pod.identity.learn(ContainerFacts(cgroup.seen_ns, CGROUP_PATH, pod_uid=uid))
        self._name(uid, pod, cgroup.seen_ns)
        self._changed[uid] = None
        return pod

    def _container_appeared(self, uid: str, pod: _LivePod, container_id: str, cgroup: Cgroup) -> None:
        known = pod.containers.get(container_id)
        if known is not None:
            if not _is_another(known.cgroup, cgroup):
                return
            self._container_vanished(uid, pod, container_id, cgroup.seen_ns)
        identity = self._awaited.pop(container_id, None) or Identity(container_id)
        pod.containers[container_id] = _LiveContainer(identity, cgroup)
        self._pod_of[container_id] = uid
        pod.identity.absorb(identity)
        self._name(uid, pod, cgroup.seen_ns)
        self._named(uid, pod, cgroup.seen_ns)

    def _vanish(self, path: str, ns: int) -> None:
        parsed = cgroup_path.parse(path)
        pod = self._pods.get(parsed.pod_uid) if parsed is not None and not parsed.below else None
        if parsed is None or pod is None:
            return
        if parsed.container_id is None:
            for container_id in tuple(pod.containers):
                self._container_vanished(parsed.pod_uid, pod, container_id, ns)
            del self._pods[parsed.pod_uid]
            self._told.pop(parsed.pod_uid, None)
            self._removed.append(Removed(parsed.pod_uid, None, pod.cgroup, ns))
        elif parsed.container_id in pod.containers:
            self._container_vanished(parsed.pod_uid, pod, parsed.container_id, ns)

    def _container_vanished(self, uid: str, pod: _LivePod, container_id: str, ns: int) -> None:
        cgroup = pod.containers.pop(container_id).cgroup
        del self._pod_of[container_id]
        self._removed.append(Removed(uid, container_id, cgroup, ns))
        self._touch(uid, pod)

    def _learn(self, facts: ContainerFacts) -> None:
        uid = (facts.pod_uid if facts.container_id is None else self._pod_of.get(facts.container_id)) or ""
        pod = self._pods.get(uid)
        if facts.container_id is None:
            identity = pod.identity if pod is not None else Identity()
        else:
            identity = pod.containers[facts.container_id].identity if pod else self._await(facts.container_id)
        identity.learn(facts)
        if pod is not None:
            pod.identity.absorb(identity)
            self._named(uid, pod, facts.ns)

    def _learn_of_pod(self, told: PodFacts) -> None:
        if told.is_deleted and told.pod_uid not in self._pods:
            self._told.pop(told.pod_uid, None)
            return
        self._told[told.pod_uid] = told
        self._told.move_to_end(told.pod_uid)
        if len(self._told) > _PODS_TOLD_KEPT:
            self._told.popitem(last=False)
        pod = self._pods.get(told.pod_uid)
        if pod is not None:
            self._name(told.pod_uid, pod, told.ns)
            self._touch(told.pod_uid, pod)

    def _name(self, uid: str, pod: _LivePod, ns: int) -> None:
        """Name a pod as Kubernetes does, where nothing speaks against it."""
        told = self._word(uid, pod)
        if told is None:
            return
        for facts in workload.container_facts(told):
            container = pod.containers.get(facts.container_id or "")
            if container is not None:
                container.identity.learn(facts)
        pod.identity.learn(
            ContainerFacts(told.ns, told.source, pod_uid=uid, pod_name=told.pod_name, namespace=told.namespace)
        )
        if pod.named_ns is None:
            pod.named_ns = max(ns, pod.cgroup.seen_ns)

    def _word(self, uid: str, pod: _LivePod) -> PodFacts | None:
        told = self._told.get(uid)
        return None if told is None or pod.identity.contradiction(told, self._pod_of.get) else told

    def _await(self, container_id: str) -> Identity:
        identity = self._awaited.setdefault(container_id, Identity(container_id))
        self._awaited.move_to_end(container_id)
        if len(self._awaited) > _AWAITED_KEPT:
            self._awaited.popitem(last=False)
        return identity

    def _named(self, uid: str, pod: _LivePod, ns: int) -> None:
        if pod.named_ns is None and pod.identity.pod_name is not None:
            pod.named_ns = max(ns, pod.cgroup.seen_ns)
        self._touch(uid, pod)

    def _touch(self, uid: str, pod: _LivePod) -> None:
        pod.told = None
        self._changed[uid] = None

    def _tell(self, uid: str, pod: _LivePod) -> Pod:
        word = self._word(uid, pod)
        bag = attributes.of_pod(pod.identity, self._node_name) | (workload.of_pod(word) if word is not None else {})
        runtime = pod.identity.runtime_name
        containers = tuple(_container(each, bag, runtime) for each in pod.containers.values())
        pod.told = Pod(uid, pod.cgroup, pod.named_ns, _names(bag), containers)
        return pod.told


def _container(live: _LiveContainer, pod: attributes.Bag, runtime: str | None) -> Container:
    identity = live.identity
    resource = _names(attributes.of_container(identity, pod, runtime))
    container_id = identity.container_id or ""
    return Container(container_id, live.cgroup, identity.container_name, identity.is_sandbox, resource)


def _names(bag: attributes.Bag) -> dict[str, str]:
    return {key: name for key, name in bag.items() if isinstance(name, str)}


def _is_another(known: Cgroup, cgroup: Cgroup) -> bool:
    """Whether a directory of the same path is not the one that is known."""
    return None not in (known.id, cgroup.id) and known.id != cgroup.id
