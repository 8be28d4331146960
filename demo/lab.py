"""The lab: a private containerd in which pods are born, and no trace of it afterwards."""

import contextlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from demo.containerd import Runtime
from demo.cri import Cri
from demo.crio import CrioRuntime
from demo.images import busybox, pause
from demo.leftovers import LAB_PREFIX, make_pod_cgroup, remove_pod_cgroup, sweep
from demo.network import Plugins, RefusedNetwork, Subnet
from demo.pod import Container, Pod

READY_LIMIT_S = 180
EXIT_LIMIT_S = 180


@dataclass(frozen=True, slots=True)
class BornPod:
    """A pod that runs, and the ids it was given. The newest container of each name."""

    pod: Pod
    sandbox_id: str
    container_ids: Mapping[str, str] = field(default_factory=dict)

    def with_container(self, container: Container, container_id: str) -> "BornPod":
        """Return the pod with one more container, or a restarted one."""
        return replace(self, container_ids={**self.container_ids, container.name: container_id})


class Lab:
    """A context: on entry a containerd that can bear pods, on exit nothing is left of it and them."""

    def __init__(
        self, runtime: Runtime | CrioRuntime | None = None, programs: Mapping[str, Path] | None = None
    ) -> None:
        self._runtime = runtime or Runtime()
        self._programs = programs or {}
        self._cleanup = contextlib.ExitStack()
        self.directory = Path()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            self._start(cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cleanup.close()

    @property
    def containerd_pid(self) -> int:
        """The process id of the lab's containerd."""
        return self._containerd.pid

    @property
    def socket(self) -> Path:
        """Where the lab's containerd serves."""
        return self._containerd.socket

    def bear(self, pod: Pod) -> BornPod:
        """Bear the pod as a kubelet does: cgroup, sandbox, init containers one after the other, containers.

        Raises grpc.RpcError when a step fails; the pod can be removed with `remove`.
        """
        born = self.bear_sandbox(pod)
        for container in pod.init_containers:
            born = self.start(born, container)
            self.wait_for_exit(born, container.name)
        for container in pod.containers:
            born = self.start(born, container)
        return born

    def bear_sandbox(self, pod: Pod) -> BornPod:
        """Bear the pod's sandbox only."""
        self.make_cgroup(pod)
        return BornPod(pod, self.cri.run_sandbox(pod))

    def make_cgroup(self, pod: Pod) -> None:
        """Make the pod's cgroup, the first thing that a kubelet does for it."""
        make_pod_cgroup(pod.cgroup, self.directory / "cgroups")

    def remove_cgroup(self, pod: Pod) -> None:
        """Remove the pod's cgroup, the last thing that a kubelet does to it."""
        remove_pod_cgroup(pod.cgroup)

    def create(self, born: BornPod, container: Container) -> BornPod:
        """Create one more container in the pod, without starting it."""
        return born.with_container(container, self.cri.create(born.pod, born.sandbox_id, container))

    def start(self, born: BornPod, container: Container) -> BornPod:
        """Create and start one more container in the pod."""
        born = self.create(born, container)
        self.cri.start(born.container_ids[container.name])
        return born

    def restart(self, born: BornPod, container: Container) -> BornPod:
        """End the container of that name and start it anew, counted as the kubelet counts."""
        self.cri.stop(born.container_ids[container.name])
        return self.start(born, replace(container, attempt=container.attempt + 1))

    def wait_for_exit(self, born: BornPod, name: str) -> int:
        """Wait until the container has ended and return its exit code. Raises TimeoutError."""
        deadline = time.monotonic() + EXIT_LIMIT_S
        while (code := self.cri.exit_code(born.container_ids[name])) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"container {name} has not ended within {EXIT_LIMIT_S} s")
            time.sleep(0.02)
        return code

    def remove(self, born: BornPod) -> None:
        """Remove the pod and its cgroup."""
        self.cri.remove_sandbox(born.sandbox_id)
        self.remove_cgroup(born.pod)

    def refused_network(self) -> RefusedNetwork:
        """Return a context in which no sandbox gets a network."""
        return RefusedNetwork(self._plugins)

    def _start(self, cleanup: contextlib.ExitStack) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=LAB_PREFIX))
        cleanup.callback(sweep, self.directory)
        subnet = Subnet.take(self.directory)
        self.subnet = str(subnet)
        cleanup.callback(subnet.close)
        if subnet.predecessor is not None:
            sweep(subnet.predecessor)
        self._plugins = Plugins(self.directory / "cni")
        cleanup.callback(self._plugins.restore_forwarding)
        self._plugins.write(subnet)
        self._containerd = self._runtime.daemon(self.directory)
        cleanup.callback(self._containerd.stop)
        self._start_containerd()
        for image in (pause(self.directory), busybox(further=self._programs)):
            self._containerd.add(image)
        self.cri = cleanup.enter_context(Cri(self._containerd.socket, self.directory / "logs"))
        cleanup.callback(self.remove_pods)
        self._wait_until_ready()

    def restart_containerd(self) -> None:
        """End containerd and start it anew; its pods live on."""
        self._containerd.stop()
        self._start_containerd()
        self._wait_until_ready()

    def _start_containerd(self) -> None:
        self._containerd.start({"bin_dir": self._plugins.programs, "conf_dir": self._plugins.configuration})

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while (reason := self.cri.not_ready()) is not None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"containerd cannot bear pods: {reason}")
            time.sleep(0.05)

    def remove_pods(self) -> None:
        """Remove every pod of the lab, whoever had it born."""
        with contextlib.suppress(grpc.RpcError):  # what containerd cannot remove, the sweep does
            for sandbox_id in self.cri.sandboxes():
                self.cri.remove_sandbox(sandbox_id)
