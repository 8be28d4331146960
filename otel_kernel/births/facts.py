"""What one source knows of a container. Facts are fed to the assembly between the kernel's events, and recorded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerFacts:
    """One source's word on one container (a sandbox is one too). None: this source does not say."""

    ns: int  # boot time at which it became known
    source: str  # `cgroup-path`, `oci-bundle`, `cni-env`; later `cri`, `kube-api`, ...
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
