"""A stand-in for an API server, quicker than any real one: it lists a node's pods, and nothing changes."""

import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demo.lab import BornPod

NODE = "bench-node"
# What managers of fields and controllers add to each pod's object on a real node.
_NOISE = {"managedFields": [{"manager": "kubelet", "fieldsV1": {f"f:field-{number}": {} for number in range(200)}}]}


class ApiServer:
    """A context: a server on loopback that knows these pods."""

    def __init__(self, pods: Sequence[BornPod], directory: Path) -> None:
        self._pods = [_told(born) for born in pods]
        self._directory = directory
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, str]:
        """What an agent must be told to ask here."""
        cluster = {"name": "bench", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}
        context = {"name": "bench", "context": {"cluster": "bench", "user": "bench"}}
        user = {"name": "bench", "user": {}}
        told = {"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "bench"}
        kubeconfig = self._directory / "kubeconfig"
        kubeconfig.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **told}))
        return {"KUBECONFIG": str(kubeconfig), "OTEL_KERNEL_NODE_NAME": NODE, "OTEL_KERNEL_KUBERNETES": "auto"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = server.answer(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode() if answer else b"")
                if answer is None:
                    self.wfile.flush()
                    server.wait()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
                pass

        return Handler

    def answer(self, path: str) -> dict[str, Any] | None:
        """Return the object at a path; None for a watch."""
        if path.startswith("/api/v1/nodes/"):
            return {"metadata": {"name": NODE, "uid": "11111111-2222-4333-8444-555555555555"}}
        if "watch=true" in path:
            return None
        return {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": self._pods}

    def wait(self) -> None:
        """Wait until the server ends."""
        self._ended.wait()


def _told(born: BornPod) -> dict[str, Any]:
    pod = born.pod
    statuses = [
        {"name": name, "containerID": f"containerd://{container_id}", "restartCount": 0, "ready": True}
        for name, container_id in born.container_ids.items()
    ]
    return {
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "resourceVersion": "1", **_NOISE},
        "spec": {"nodeName": NODE, "containers": [{"name": each.name, "image": each.image} for each in pod.containers]},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }
