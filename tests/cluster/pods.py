"""Pods as one writes them to the API server."""

from typing import Any

from demo.images import BUSYBOX
from tests.cluster.api import Object

NODE = "lab-node"
FOREVER = ("/bin/sleep", "3600")


def container(name: str = "main", *command: str, **further: object) -> Object:
    """Return a container that runs until it is ended, or the command."""
    return {"name": name, "image": BUSYBOX, "command": command or FOREVER, **further}


def pod(name: str, *containers: Object, metadata: Object | None = None, **spec: Any) -> Object:  # noqa: ANN401 - JSON
    """Return a pod of these containers, of one if there are none, bound to the node; `spec` adds to its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **(metadata or {})},
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 0,
            "containers": list(containers) or [container()],
            **spec,
        },
    }
