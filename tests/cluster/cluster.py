"""A real Kubernetes node: etcd, kube-apiserver, containerd, kubelet, and nothing left of them afterwards."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.containerd import Runtime
from demo.lab import Lab
from tests.cluster.api import Api, Object
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubelet import Kubelet
from tests.cluster.network import Network

NODE = "lab-node"
PODS = "/api/v1/namespaces/{}/pods"


class Cluster:
    """A context: on entry a node that is ready, on exit nothing is left of it. Its network is entered by `network`."""

    def __init__(self, runtime: Runtime | None = None) -> None:
        self._runtime = runtime
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            self.network = Network()
            cleanup.callback(self.network.close)
            with self.network:
                self._start(cleanup)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self.network:
            self._cleanup.close()

    @property
    def api(self) -> Api:
        """The API server, asked by an administrator."""
        return self.control_plane.api

    @property
    def directory(self) -> Path:
        """Where everything of the cluster is."""
        return self.lab.directory

    def create(self, pod: Object) -> Object:
        """Create a pod and return it as the API server tells it."""
        return self.api.create(PODS.format(pod["metadata"].get("namespace", "default")), pod)

    def pod(self, name: str, namespace: str = "default") -> str:
        """Return the API's path of a pod."""
        return f"{PODS.format(namespace)}/{name}"

    def wait_for_phase(self, name: str, phase: str, namespace: str = "default", limit_s: float = 60) -> Object:
        """Return the pod once it is in a phase. Raises TimeoutError."""
        return self.api.wait(self.pod(name, namespace), lambda pod: pod["status"].get("phase") == phase, limit_s)

    def _start(self, cleanup: contextlib.ExitStack) -> None:
        self.lab = cleanup.enter_context(Lab(self._runtime))
        self.control_plane = ControlPlane(self.lab.directory)
        cleanup.callback(self.control_plane.stop)
        self.control_plane.start()
        kubeconfig = self.control_plane.kubeconfig(self.lab.directory / "kubelet.kubeconfig")
        self.kubelet = Kubelet(self.lab.directory, NODE, self.lab.socket, kubeconfig)
        cleanup.callback(self._clean_up_kubelet)
        self.kubelet.start()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        try:
            self.api.wait(f"/api/v1/nodes/{NODE}", _is_ready)
        except TimeoutError as error:
            raise RuntimeError(f"the node is not ready: {error}\n{self.kubelet.tail()}") from None
        self.api.patch(f"/api/v1/nodes/{NODE}", {"spec": {"taints": None}}, "merge-patch")

    def _clean_up_kubelet(self) -> None:
        """Stop the kubelet first: it would bear its pods again."""
        self.kubelet.stop()
        self.lab.remove_pods()
        self.kubelet.clean_up()


def _is_ready(node: Object) -> bool:
    conditions = node["status"].get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
