"""What is to be born: pods and their containers, as a kubelet would describe them."""

import uuid
from dataclasses import dataclass, field

CONTAINER_RUN = ("/bin/sleep", "3600")


@dataclass(frozen=True, slots=True)
class Container:
    """One container. `command` replaces the image's entry point; `attempt` counts restarts, as the kubelet does."""

    name: str
    command: tuple[str, ...] = CONTAINER_RUN
    attempt: int = 0
    cpu_quota_us: int = 0  # in each period of 100 ms; 0: unlimited
    memory_bytes: int = 0  # 0: unlimited
    privileged: bool = False
    image: str = "registry.local/busybox:1"


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod. Without `cgroup_parent` it gets the one that a kubelet with the cgroupfs driver makes for it."""

    name: str
    containers: tuple[Container, ...] = (Container("main"),)
    init_containers: tuple[Container, ...] = ()
    namespace: str = "default"
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempt: int = 0
    host_network: bool = False
    host_pid: bool = False
    host_users: bool = True
    cgroup_parent: str = ""
    runtime_handler: str = ""

    @property
    def cgroup(self) -> str:
        """The pod's own cgroup, from the root of each hierarchy."""
        return self.cgroup_parent or f"/kubepods/burstable/pod{self.uid}"

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which the kubelet lets a runtime know whose sandbox it is (kubelet/types/labels.go)."""
        return {
            "io.kubernetes.pod.name": self.name,
            "io.kubernetes.pod.namespace": self.namespace,
            "io.kubernetes.pod.uid": self.uid,
        }
