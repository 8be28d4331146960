"""What one source knows of a container or a pod. Facts are fed between the kernel's events, and recorded."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One source's word on one container (a sandbox is one too). None: this source does not say."""

    ns: int  # boot time at which it became known
    source: str  # `cgroup-path`, `oci-bundle`, `cni-env`, `cri`
    container_id: str | None = None  # None: on the pod alone (a pod's own cgroup)
    sandbox_id: str | None = None
    is_sandbox: bool | None = None
    pod_uid: str | None = None
    pod_name: str | None = None
    namespace: str | None = None
    container_name: str | None = None
    image_name: str | None = None
    runtime_name: str | None = None  # containerd, cri-o
    network_namespace: str | None = None  # the file that CNI gets
    cgroup_id: int | None = None
    not_kubernetes: bool = False  # the bundle was read and carries no Kubernetes annotations
    failure: str | None = None  # the source was asked and could not say: why
    image_id: str | None = None  # the digest of its configuration, as the runtime calls it
    image_digests: tuple[str, ...] = ()  # repository@sha256:..., where it was pulled from
    restart_count: int | None = None
    trace_parent: str | None = None  # W3C, of what created the pod


class PodContainer(NamedTuple):
    """A container of a pod's spec, with what its status says by now."""

    name: str
    kind: str  # `init`, `sidecar` (an init container that goes on running), `regular`, `ephemeral`
    image_name: str | None
    container_id: str | None = None  # the newest one's
    image_id: str | None = None
    image_digests: tuple[str, ...] = ()
    restart_count: int | None = None


class Owner(NamedTuple):
    """What controls a pod, or its controller."""

    kind: str  # ReplicaSet, Deployment, ...
    name: str
    uid: str


class Condition(NamedTuple):
    """A condition of a pod (Kubernetes' API: PodCondition). The API's times are whole seconds."""

    type: str
    status: str  # True, False, Unknown
    reason: str | None
    unix_ns: int  # of its last transition


class PodEvent(NamedTuple):
    """One of Kubernetes' events of a pod."""

    unix_ns: int
    reason: str  # Scheduled, Pulling, ...
    message: str
    times: int  # how often it was seen


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One source's word on a pod as a whole: its spec, status and owners. Empty: this source does not say."""

    ns: int  # boot time at which it became known
    source: str  # `kube-api`, `kubelet`
    pod_uid: str  # as in the pod's cgroup: for a static pod the hash of its manifest
    pod_name: str
    namespace: str
    mirror_uid: str | None = None  # of a static pod's object in the API
    node_uid: str | None = None
    labels: tuple[tuple[str, str], ...] = ()  # those of the allow list
    annotations: tuple[tuple[str, str], ...] = ()
    owners: tuple[Owner, ...] = ()  # the pod's controller first, then that one's
    service: tuple[tuple[str, str], ...] = ()  # service.* as labels and annotations tell them
    containers: tuple[PodContainer, ...] = ()
    conditions: tuple[Condition, ...] = ()
    trace_parent: str | None = None  # W3C, of what created the pod
    is_deleted: bool = False
    is_partial: bool = False  # more is being asked for: who owns the owner


@dataclass(frozen=True, slots=True)
class PodEvents:
    """Kubernetes' events of a pod, asked for once."""

    ns: int
    pod_uid: str
    events: tuple[PodEvent, ...]
