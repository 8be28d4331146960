"""Kubernetes' Container Runtime Interface, as far as the lab speaks it: pods in, ids out."""

from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from demo import cri_pb2 as message
from demo.cri_pb2_grpc import RuntimeServiceStub
from demo.pod import Container, Pod

CALL_LIMIT_S = 900  # strace makes a birth ten times slower, a busy machine again, an emulated one still more
CPU_PERIOD_US = 100_000
FIRST_HOST_ID = 3 << 16  # where a kubelet would put the users of a pod that has its own
ALL_USERS = [message.IDMapping(host_id=FIRST_HOST_ID, container_id=0, length=1 << 16)]
OWN_USERS = message.UserNamespace(mode=message.POD, uids=ALL_USERS, gids=ALL_USERS)
HOSTNAME_LIMIT = 63  # HOST_NAME_MAX is 64; Kubernetes allows pod names of 253


class Cri:
    """A connection to one container runtime."""

    def __init__(self, socket: Path, log_directory: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix://{socket}")
        self._runtime = RuntimeServiceStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._log_directory = log_directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def not_ready(self) -> str | None:
        """Return why no pod can be born yet, None when one can."""
        try:
            status = self._runtime.Status(message.StatusRequest(), timeout=CALL_LIMIT_S).status
        except grpc.RpcError as error:
            return str(error.details())
        needed = [condition for condition in status.conditions if condition.type in {"RuntimeReady", "NetworkReady"}]
        return next((f"{c.type}: {c.reason} {c.message}" for c in needed if not c.status), None)

    def run_sandbox(self, pod: Pod) -> str:
        """Bear the pod's sandbox and return its id. Raises grpc.RpcError, for one when CNI fails."""
        request = message.RunPodSandboxRequest(config=self._sandbox(pod), runtime_handler=pod.runtime_handler)
        return str(self._runtime.RunPodSandbox(request, timeout=CALL_LIMIT_S).pod_sandbox_id)

    def stop_sandbox(self, sandbox_id: str) -> None:
        """End the sandbox and every container in it."""
        self._runtime.StopPodSandbox(message.StopPodSandboxRequest(pod_sandbox_id=sandbox_id), timeout=CALL_LIMIT_S)

    def remove_sandbox(self, sandbox_id: str) -> None:
        """End and remove the sandbox and every container in it."""
        self.stop_sandbox(sandbox_id)
        self._runtime.RemovePodSandbox(message.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id), timeout=CALL_LIMIT_S)

    def sandboxes(self) -> tuple[str, ...]:
        """Return the ids of all sandboxes, running or not."""
        return tuple(
            s.id for s in self._runtime.ListPodSandbox(message.ListPodSandboxRequest(), timeout=CALL_LIMIT_S).items
        )

    def create(self, pod: Pod, sandbox_id: str, container: Container) -> str:
        """Create the container (`runc create`) and return its id."""
        # The kubelet makes it; CRI-O's conmon needs it.
        (self._log_directory / pod.uid / container.name).mkdir(parents=True, exist_ok=True)
        request = message.CreateContainerRequest(
            pod_sandbox_id=sandbox_id, config=self._container(pod, container), sandbox_config=self._sandbox(pod)
        )
        return str(self._runtime.CreateContainer(request, timeout=CALL_LIMIT_S).container_id)

    def start(self, container_id: str) -> None:
        """Start the container's own program. Raises grpc.RpcError when it does not exist."""
        self._runtime.StartContainer(message.StartContainerRequest(container_id=container_id), timeout=CALL_LIMIT_S)

    def stop(self, container_id: str, grace_s: int = 0) -> None:
        """End the container's processes: by SIGTERM, after the grace time by SIGKILL."""
        request = message.StopContainerRequest(container_id=container_id, timeout=grace_s)
        self._runtime.StopContainer(request, timeout=CALL_LIMIT_S)

    def remove(self, container_id: str) -> None:
        """Remove a container that has ended."""
        self._runtime.RemoveContainer(message.RemoveContainerRequest(container_id=container_id), timeout=CALL_LIMIT_S)

    def exit_code(self, container_id: str) -> int | None:
        """Return the container's exit code, None while it has not ended."""
        request = message.ContainerStatusRequest(container_id=container_id)
        status = self._runtime.ContainerStatus(request, timeout=CALL_LIMIT_S).status
        return int(status.exit_code) if status.state == message.CONTAINER_EXITED else None

    def limit_cpu(self, container_id: str, quota_us: int) -> None:
        """Set another CPU quota for a running container (`runc update`)."""
        limit = message.LinuxContainerResources(cpu_period=CPU_PERIOD_US, cpu_quota=quota_us)
        request = message.UpdateContainerResourcesRequest(container_id=container_id, linux=limit)
        self._runtime.UpdateContainerResources(request, timeout=CALL_LIMIT_S)

    def execute(self, container_id: str, *command: str) -> tuple[int, bytes]:
        """Run a command in the container, as an exec probe does (`runc exec`); return its exit code and output."""
        request = message.ExecSyncRequest(container_id=container_id, cmd=command, timeout=CALL_LIMIT_S)
        answer = self._runtime.ExecSync(request, timeout=CALL_LIMIT_S)
        return answer.exit_code, answer.stdout

    def _sandbox(self, pod: Pod) -> message.PodSandboxConfig:
        return message.PodSandboxConfig(
            metadata=message.PodSandboxMetadata(
                name=pod.name, uid=pod.uid, namespace=pod.namespace, attempt=pod.attempt
            ),
            hostname="" if pod.host_network else pod.name[:HOSTNAME_LIMIT].rstrip("-."),
            log_directory=str(self._log_directory / pod.uid),
            labels=pod.labels,
            linux=message.LinuxPodSandboxConfig(
                cgroup_parent=pod.cgroup,
                security_context=message.LinuxSandboxSecurityContext(
                    namespace_options=_namespaces(pod),
                    privileged=any(container.privileged for container in pod.containers),
                ),
            ),
        )

    def _container(self, pod: Pod, container: Container) -> message.ContainerConfig:
        return message.ContainerConfig(
            metadata=message.ContainerMetadata(name=container.name, attempt=container.attempt),
            image=message.ImageSpec(image=container.image, user_specified_image=container.image),
            command=container.command,
            labels=pod.labels | {"io.kubernetes.container.name": container.name},
            annotations={"io.kubernetes.container.restartCount": str(container.attempt)},
            log_path=f"{container.name}/{container.attempt}.log",
            linux=message.LinuxContainerConfig(
                resources=message.LinuxContainerResources(
                    cpu_period=CPU_PERIOD_US,
                    cpu_quota=container.cpu_quota_us,
                    memory_limit_in_bytes=container.memory_bytes,
                ),
                security_context=message.LinuxContainerSecurityContext(
                    namespace_options=_namespaces(pod), privileged=container.privileged
                ),
            ),
        )


def _namespaces(pod: Pod) -> message.NamespaceOption:
    return message.NamespaceOption(
        network=message.NODE if pod.host_network else message.POD,
        pid=message.NODE if pod.host_pid else message.CONTAINER,
        userns_options=None if pod.host_users else OWN_USERS,
    )
