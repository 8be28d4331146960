"""What Kubernetes itself says of a pod, as attributes, names and links (semantic conventions 1.44, k8s)."""

import re
from collections.abc import Iterator

from otel_kernel.births.facts import ContainerFacts, PodContainer, PodFacts
from otel_kernel.births.trace import SpanLink, Value

Bag = dict[str, Value]

_OWNERS = {
    "ReplicaSet": "k8s.replicaset",
    "Deployment": "k8s.deployment",
    "StatefulSet": "k8s.statefulset",
    "DaemonSet": "k8s.daemonset",
    "Job": "k8s.job",
    "CronJob": "k8s.cronjob",
    "ReplicationController": "k8s.replicationcontroller",
}
# https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes: in this order, after labels and annotations.
_NAMING_OWNERS = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob", "Job")
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACE_PARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_TAG = re.compile(r":([\w][\w.-]{0,127})$", re.ASCII)


def owner_name(pod: PodFacts | None) -> str | None:
    """Return the name of the workload: the highest owner that is known."""
    return pod.owners[-1].name if pod is not None and pod.owners else None


def of_pod(pod: PodFacts) -> Bag:
    """Return what is added to a pod's resource."""
    bag: Bag = {}
    if pod.node_uid:
        bag["k8s.node.uid"] = pod.node_uid
    if pod.mirror_uid:
        bag["otel_kernel.pod.mirror_uid"] = pod.mirror_uid
    for owner in pod.owners:
        prefix = _OWNERS.get(owner.kind)
        if prefix:
            bag |= {f"{prefix}.name": owner.name, f"{prefix}.uid": owner.uid}
    bag |= {f"k8s.pod.label.{key}": value for key, value in pod.labels}
    bag |= {f"k8s.pod.annotation.{key}": value for key, value in pod.annotations}
    return bag


def container(pod: PodFacts | None, name: str | None) -> PodContainer | None:
    """Return the container of that name in the pod's spec."""
    return next((each for each in pod.containers if each.name == name), None) if pod is not None and name else None


def expected(pod: PodFacts) -> frozenset[str]:
    """Return the names of the containers with which the pod is born: ephemeral ones come later, if ever."""
    return frozenset(each.name for each in pod.containers if each.kind != "ephemeral")


def container_facts(pod: PodFacts) -> Iterator[ContainerFacts]:
    """Yield what Kubernetes says of the containers that it has heard of."""
    for each in pod.containers:
        if each.container_id is not None:
            yield ContainerFacts(
                pod.ns,
                pod.source,
                each.container_id,
                is_sandbox=False,
                pod_uid=pod.pod_uid,
                pod_name=pod.pod_name,
                namespace=pod.namespace,
                container_name=each.name,
                image_name=each.image_name,
                image_id=each.image_id,
                image_digests=each.image_digests,
                restart_count=each.restart_count,
                trace_parent=pod.trace_parent,
            )


def link(trace_parent: str | None) -> SpanLink | None:
    """Return the span in which a pod was created, as its annotation `tracing.k8s.io/traceparent` tells it."""
    match = _TRACE_PARENT.fullmatch(trace_parent) if trace_parent else None
    if match is None:
        return None
    told = {"otel_kernel.link.source": "tracing.k8s.io/traceparent"}
    return SpanLink(bytes.fromhex(match[1]), bytes.fromhex(match[2]), told)


def service(pod: PodFacts | None, bag: Bag) -> Bag:
    """Return `service.*` of the workload, from what is told of the pod or container (the rules named above)."""
    owners = {owner.kind: owner.name for owner in pod.owners} if pod is not None else {}
    owner = next((owners[kind] for kind in _NAMING_OWNERS if kind in owners), None)
    name, namespace, of = (_text(bag.get(f"k8s.{key}.name")) for key in ("pod", "namespace", "container"))
    derived = {
        "service.name": owner or name or of,
        "service.namespace": namespace,
        "service.version": _version(bag),
        "service.instance.id": f"{namespace}.{name}.{of}" if namespace and name and of else None,
    }
    told = dict(pod.service) if pod is not None else {}
    return {key: value for key, other in derived.items() if (value := told.get(key) or other)}


def _version(bag: Bag) -> str | None:
    """Return the image's tag and digest, as far as they are told."""
    name, digests = _text(bag.get("container.image.name")) or "", bag.get("container.image.repo_digests")
    reference, _, digest = name.partition("@")
    tag = _TAG.search(reference)
    if not digest and isinstance(digests, tuple) and digests:
        digest = str(digests[0]).partition("@")[2]
    return "@".join(part for part in (tag[1] if tag else "", digest) if part) or None


def _text(value: Value | None) -> str | None:
    return value if isinstance(value, str) else None
