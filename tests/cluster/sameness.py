"""Whether a birth is that of the pod of which the API server tells."""

from tests.agreement.otlp_birth import Birth
from tests.cluster import pods
from tests.cluster.api import Object

CONFIG_HASH = "kubernetes.io/config.hash"


def container_ids(pod: Object) -> dict[str, str]:
    """Return the ids of a pod's containers by name, as its status tells them."""
    status = pod["status"]
    listed = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return {each["name"]: each["containerID"].removeprefix("containerd://") for each in listed if "containerID" in each}


def told_ids(birth: Birth) -> dict[str, str]:
    """Return the ids of the containers by name, as the units tell them."""
    containers = [unit for unit in birth.at("unit") if unit.name.startswith("container ")]
    return {str(unit.resource["k8s.container.name"]): str(unit.resource["container.id"]) for unit in containers}


def uid_of(pod: Object) -> str:
    """Return the UID that is in the pod's cgroup."""
    metadata = pod["metadata"]
    return str(metadata.get("annotations", {}).get(CONFIG_HASH, metadata["uid"]))


def assert_is(birth: Birth, pod: Object, completion: str = "known") -> None:
    """Assert that a birth is that of the pod that the API server tells of, and whole."""
    metadata, resource = pod["metadata"], birth.root.resource
    assert resource["k8s.pod.uid"] == uid_of(pod)
    assert resource["k8s.pod.name"] == metadata["name"]
    assert resource["k8s.namespace.name"] == metadata["namespace"]
    assert resource["k8s.node.name"] == pods.NODE
    assert told_ids(birth) == container_ids(pod)
    assert birth.count("completion") == completion
    assert birth.count("events.lost") == 0
    assert birth.root.error is None
