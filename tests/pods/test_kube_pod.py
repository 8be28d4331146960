"""What pods' objects say, from real ones cut short to any JSON at all."""

from typing import Any

import hypothesis
from hypothesis import strategies as st

from otel_kernel.births.facts import Owner, PodEvent
from otel_kernel.pods import kube_pod
from otel_kernel.pods.kube_pod import Allowed

UID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-8888-4777-8666-555555555555"
HASH = "5fdf7c52b34df0e8ac24ef76f651a9fe"
ID = "a" * 64
POD: dict[str, Any] = {
    "metadata": {
        "name": "web-6d4f-x",
        "namespace": "shop",
        "uid": UID,
        "resourceVersion": "12",
        "labels": {"app.kubernetes.io/name": "cart", "app.kubernetes.io/version": "7", "team": "a", "secret": "b"},
        "annotations": {"note": "c", "tracing.k8s.io/traceparent": "00-a-b-01"},
        "ownerReferences": [
            {"kind": "Other", "name": "x", "uid": OTHER},
            {"kind": "ReplicaSet", "name": "web-6d4f", "uid": OTHER, "controller": True},
        ],
    },
    "spec": {
        "initContainers": [{"name": "migrate", "image": "a:1"}, {"name": "proxy", "restartPolicy": "Always"}],
        "containers": [{"name": "app", "image": "shop/app:1"}],
        "ephemeralContainers": [{"name": "debug"}],
    },
    "status": {
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        "containerStatuses": [
            {
                "name": "app",
                "containerID": f"containerd://{ID}",
                "imageID": f"shop/app@sha256:{ID}",
                "restartCount": 2,
            }
        ],
    },
}


def test_a_pod_says_who_it_is_and_what_it_is_made_of() -> None:
    """Labels and annotations only as far as they are allowed."""
    told = kube_pod.parse(POD, 5, "kube-api", Allowed(labels=("team", "absent"), annotations=("note",)))
    assert told is not None
    assert (told.pod_uid, told.mirror_uid, told.pod_name, told.namespace) == (UID, None, "web-6d4f-x", "shop")
    assert told.labels == (("team", "a"),)
    assert told.annotations == (("note", "c"),)
    assert told.owners == (Owner("ReplicaSet", "web-6d4f", OTHER),)
    assert told.service == (("service.name", "cart"), ("service.version", "7"))
    assert [(each.name, each.kind) for each in told.containers] == [
        ("migrate", "init"), ("proxy", "sidecar"), ("app", "regular"), ("debug", "ephemeral"),
    ]  # fmt: skip
    app = told.containers[2]
    assert (app.container_id, app.restart_count, app.image_digests) == (ID, 2, (f"shop/app@sha256:{ID}",))
    assert [(each.type, each.unix_ns) for each in told.conditions] == [("Ready", 1767225601 * 10**9)]


def test_a_static_pod_goes_by_the_hash_of_its_manifest() -> None:
    """Its cgroup is named so; the mirror in the API has another UID, and a node is no workload."""
    annotations = {"kubernetes.io/config.hash": HASH, "kubernetes.io/config.mirror": HASH}
    node = {"kind": "Node", "name": "n", "uid": OTHER, "controller": True}
    metadata = POD["metadata"] | {"annotations": annotations, "ownerReferences": [node]}
    told = kube_pod.parse(POD | {"metadata": metadata}, 5, "kube-api", Allowed())
    assert told is not None
    assert (told.pod_uid, told.mirror_uid, told.owners) == (HASH, UID, ())


def test_a_pod_that_only_calls_itself_by_a_hash_is_not_static() -> None:
    """The annotation of the hash alone is anybody's to write."""
    metadata = POD["metadata"] | {"annotations": {"kubernetes.io/config.hash": HASH}}
    told = kube_pod.parse(POD | {"metadata": metadata}, 5, "kube-api", Allowed())
    assert told is not None
    assert told.pod_uid == UID


def test_events_come_in_the_order_of_time() -> None:
    """The newer API's time is finer."""
    told = kube_pod.events(
        {
            "items": [
                {"reason": "Pulled", "message": "in 2s", "lastTimestamp": "2026-01-01T00:00:02Z", "count": 3},
                {"reason": "Scheduled", "eventTime": "2026-01-01T00:00:01.500000Z", "message": "assigned\n"},
                {"reason": "never"},
            ]
        }
    )
    at = 1767225600 * 10**9
    assert told == (
        PodEvent(at + 1_500_000_000, "Scheduled", "assigned\N{REPLACEMENT CHARACTER}", 1),
        PodEvent(at + 2_000_000_000, "Pulled", "in 2s", 3),
    )


KEYS = st.sampled_from(
    "metadata spec status name namespace uid labels annotations ownerReferences containers initContainers kind items "
    "containerStatuses conditions type lastTransitionTime containerID restartCount imageID controller".split()
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just(UID)
    | st.just("9999-12-31T23:59:59Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=6),
    max_leaves=30,
)


@hypothesis.given(JSON, JSON, JSON)
def test_any_json_is_read_or_refused(metadata: object, spec: object, status: object) -> None:
    """An API server's word never raises."""
    allowed = Allowed(labels=("name",), annotations=("uid",))
    for pod in (metadata, {"metadata": metadata, "spec": spec, "status": status}):
        kube_pod.parse(pod, 1, "kube-api", allowed)
        kube_pod.uid_and_version(pod)
        kube_pod.events(pod)


@hypothesis.given(st.dictionaries(KEYS, JSON, max_size=4), JSON, JSON)
def test_a_named_pod_is_always_told(metadata: dict[str, object], spec: object, status: object) -> None:
    """Whatever else is wrong with it."""
    named = metadata | {"name": "a", "namespace": "b", "uid": UID, "annotations": {}}
    told = kube_pod.parse({"metadata": named, "spec": spec, "status": status}, 1, "kube-api", Allowed())
    assert told is not None
    assert told.pod_uid == UID
