"""Pods as one writes them to the API server."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.images import BUSYBOX
from tests.cluster.api import Api, Object

NODE = "lab-node"
# So long the kubelet's events have time to be told: a hook that runs before the pod counts as started.
SLOW_START = {"postStart": {"exec": {"command": ["/bin/sleep", "2"]}}}
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


GROUPS = {"Job": "batch/v1", "CronJob": "batch/v1"}  # the others are of apps/v1


def workload(kind: str, name: str, owner: Object | None = None) -> Object:
    """Return an object that owns pods. No controller runs: it makes none."""
    labels = {"app": name}
    template: Object = {"metadata": {"labels": labels}, "spec": {"containers": [container()]}}
    spec: Object = {"selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    if kind in {"Job", "CronJob"}:
        template["spec"]["restartPolicy"] = "Never"
        spec = {"template": template}
    if kind == "CronJob":
        spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": spec}}
    metadata = {"name": name, "namespace": "default", "ownerReferences": [owner] if owner else []}
    return {"apiVersion": GROUPS.get(kind, "apps/v1"), "kind": kind, "metadata": metadata, "spec": spec}


def reference(api: Api, owner: Object) -> Object:
    """Create an owner and return the reference by which what it owns names it."""
    kind, version = owner["kind"], owner["apiVersion"]
    made = api.create(f"/apis/{version}/namespaces/default/{kind.lower()}s", owner)
    name, uid = made["metadata"]["name"], made["metadata"]["uid"]
    return {"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": True}


@contextlib.contextmanager
def static(directory: Path, manifest: Object) -> Iterator[None]:
    """Have the kubelet bear a pod by itself, from a file; without it the pod ends."""
    path = directory / f"{manifest['metadata']['name']}.json"
    temporary = directory.parent / path.name
    temporary.write_text(json.dumps(manifest))
    temporary.rename(path)
    try:
        yield
    finally:
        path.unlink()
