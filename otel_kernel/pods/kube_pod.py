"""What a pod's object says, as the API server and the kubelet tell it (Kubernetes API v1: Pod, Event)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from otel_kernel.births.facts import Condition, Owner, PodContainer, PodEvent, PodFacts
from otel_kernel.pods import cgroup_path, names

Object: TypeAlias = Mapping[str, object]

# pkg/kubelet/types/pod_update.go. A static pod's cgroup is named by the hash of its manifest; its mirror in the API
# has a UID of its own.
_CONFIG_HASH = "kubernetes.io/config.hash"
_CONFIG_MIRROR = "kubernetes.io/config.mirror"

_CONTAINER_ID = re.compile(r"[a-z][a-z0-9-]*://([0-9a-f]{64})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST_MESSAGE = 256
_CONTAINERS_MOST = 256
_EVENTS_MOST = 128

# https://opentelemetry.io/docs/specs/semconv/non-normative/k8s-attributes: what comes first counts.
_RESOURCE = "resource.opentelemetry.io/"
_SERVICE_LABELS = {
    "service.name": ("app.kubernetes.io/instance", "app.kubernetes.io/name"),
    "service.version": ("app.kubernetes.io/version",),
    "service.namespace": (),
    "service.instance.id": (),
}


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which labels and annotations are told."""

    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


def parse(pod: object, ns: int, source: str, allowed: Allowed) -> PodFacts | None:
    """Return what a pod's object says, None when it does not say which pod it is."""
    metadata, spec, status = (_object(_object(pod), key) for key in ("metadata", "spec", "status"))
    labels, annotations = _object(metadata, "labels"), _object(metadata, "annotations")
    api_uid = cgroup_path.valid_uid(str(metadata.get("uid")))
    is_mirror = _CONFIG_MIRROR in annotations
    uid = cgroup_path.valid_uid(str(annotations.get(_CONFIG_HASH))) if is_mirror else api_uid
    name = names.clean(metadata.get("name"), names.LONGEST_SUBDOMAIN)
    namespace = names.clean(metadata.get("namespace"), names.LONGEST_LABEL)
    if uid is None or name is None or namespace is None:
        return None
    return PodFacts(
        ns,
        source,
        uid,
        name,
        namespace,
        mirror_uid=api_uid if is_mirror else None,
        labels=_chosen(labels, allowed.labels),
        annotations=_chosen(annotations, allowed.annotations),
        owners=controller(metadata),
        service=tuple(_service(labels, annotations)),
        containers=tuple(_containers(spec, status))[:_CONTAINERS_MOST],
        conditions=tuple(_conditions(status)),
        trace_parent=names.trace_parent(annotations),
    )


def uid_and_version(pod: object) -> tuple[str | None, str | None]:
    """Return the UID of an object in the API, and its resourceVersion."""
    metadata = _object(_object(pod), "metadata")
    return _text(metadata.get("uid")), _text(metadata.get("resourceVersion"))


def controller(metadata: Object) -> tuple[Owner, ...]:
    """Return an object's controller, nothing when it has none. A node controls the mirrors of its static pods."""
    for reference in _objects(metadata.get("ownerReferences")):
        kind = names.clean(reference.get("kind"), names.LONGEST_LABEL)
        name = names.clean(reference.get("name"), names.LONGEST_SUBDOMAIN)
        uid = cgroup_path.valid_uid(str(reference.get("uid")))
        if reference.get("controller") is True and kind and kind != "Node" and name and uid:
            return (Owner(kind, name, uid),)
    return ()


def events(listed: object) -> tuple[PodEvent, ...]:
    """Return the events of a list of them, in the order of time."""
    told = (_event(event) for event in _objects(_object(listed).get("items")))
    return tuple(sorted(event for event in told if event is not None))[:_EVENTS_MOST]


def unix_ns(text: object) -> int | None:
    """Return an RFC 3339 time in nanoseconds, None when it is none."""
    try:
        return int(datetime.fromisoformat(str(text)).timestamp() * 1_000_000) * 1_000 if text else None
    except (ValueError, OverflowError):
        return None


def _event(event: Object) -> PodEvent | None:
    at = unix_ns(event.get("eventTime")) or unix_ns(event.get("lastTimestamp")) or unix_ns(event.get("firstTimestamp"))
    reason = names.clean(event.get("reason"), names.LONGEST_LABEL)
    if at is None or reason is None:
        return None
    count = event.get("count")
    message = names.clean(event.get("message"), _LONGEST_MESSAGE) or ""
    return PodEvent(at, reason, message, count if isinstance(count, int) else 1)


def _chosen(told: Object, keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key in keys if (value := names.clean(told.get(key), _LONGEST_MESSAGE)) is not None)


def _service(labels: Object, annotations: Object) -> Iterator[tuple[str, str]]:
    for attribute, keys in _SERVICE_LABELS.items():
        told = (annotations.get(_RESOURCE + attribute), *(labels.get(key) for key in keys))
        value = next((clean for each in told if (clean := names.clean(each, _LONGEST_MESSAGE))), None)
        if value is not None:
            yield attribute, value


def _containers(spec: Object, status: Object) -> Iterator[PodContainer]:
    for key, kind in (("initContainers", "init"), ("containers", "regular"), ("ephemeralContainers", "ephemeral")):
        field = f"{key.removesuffix('s')}Statuses"
        statuses = {str(each.get("name")): each for each in _objects(status.get(field))}
        for container in _objects(spec.get(key)):
            name = names.clean(container.get("name"), names.LONGEST_LABEL)
            if name is not None:
                goes_on = kind == "init" and container.get("restartPolicy") == "Always"
                yield _container(name, "sidecar" if goes_on else kind, container, statuses.get(name, {}))


def _container(name: str, kind: str, container: Object, status: Object) -> PodContainer:
    container_id = _CONTAINER_ID.fullmatch(str(status.get("containerID")))
    image_name = names.clean(container.get("image"), names.LONGEST_IMAGE)
    image_id = names.clean(status.get("imageID"), names.LONGEST_IMAGE)
    restarts = status.get("restartCount")
    return PodContainer(
        name,
        kind,
        image_name,
        container_id[1] if container_id else None,
        image_id,
        (image_id,) if image_id and "@" in image_id and _DIGEST.search(image_id) else (),
        restarts if isinstance(restarts, int) else None,
    )


def _conditions(status: Object) -> Iterator[Condition]:
    for condition in _objects(status.get("conditions")):
        kind = names.clean(condition.get("type"), names.LONGEST_SUBDOMAIN)
        value = names.clean(condition.get("status"), names.LONGEST_LABEL)
        at = unix_ns(condition.get("lastTransitionTime"))
        if kind and value and at is not None:
            yield Condition(kind, value, names.clean(condition.get("reason"), names.LONGEST_SUBDOMAIN), at)


def _object(value: object, key: str | None = None) -> Object:
    inner = value.get(key) if key is not None and isinstance(value, Mapping) else value
    return inner if isinstance(inner, Mapping) else {}


def _objects(value: object) -> Iterator[Object]:
    yield from (each for each in (value if isinstance(value, list) else ()) if isinstance(each, Mapping))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
