"""Every kind of pod that a real kubelet bears is told as the API server knows it."""

from pathlib import Path
from typing import Any

import pytest

from demo.images import busybox
from demo.registry import Registry
from tests.agreement.otlp_birth import Birth
from tests.cluster import pods
from tests.cluster.agent import QUIET_S, Observed, observing
from tests.cluster.cluster import Cluster
from tests.cluster.pods import container
from tests.cluster.sameness import assert_is, container_ids, uid_of

pytestmark = [pytest.mark.kubernetes]

RESTARTS = 6
LONGER_S = QUIET_S + 2  # than the quiet period, which would end a birth whose spec is not known


def actions(birth: Birth) -> list[str]:
    """Return what the steps of a birth say."""
    return list(birth.root.steps)


def test_a_simple_pod(cluster: Cluster, observed: Observed) -> None:
    """Its birth is known to be complete, begins with the kubelet's own work, and its trace is named by its UID."""
    pod = cluster.create(pods.pod("simple"))
    running = cluster.wait_for_phase("simple", "Running")
    birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    assert birth.root.name == "pod birth"
    assert birth.root.trace_id == uid_of(pod).replace("-", "")
    assert birth.count("complete") is True
    assert actions(birth)[0] == "pod: cgroup mkdir" or birth.at("unit")[0].name == "volumes"
    node = cluster.api.get(f"/api/v1/nodes/{pods.NODE}")
    assert birth.root.resource["k8s.node.uid"] == node["metadata"]["uid"]
    assert set(birth.count("identity.source")) >= {"cgroup-path", "oci-bundle", "kube-api"}


def test_labels_annotations_and_the_span_that_created_a_pod(cluster: Cluster, tmp_path: Path) -> None:
    """Only what is allowed, and a link, never a parent."""
    annotations = {"note": "b", "hidden": "c", "tracing.k8s.io/traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    metadata = {"labels": {"team": "a", "app.kubernetes.io/name": "cart"}, "annotations": annotations}
    settings = {"LABELS": "team", "ANNOTATIONS": "note", "SERVICES": "workload"}
    with observing(cluster, tmp_path, None, **settings) as observed:
        pod = cluster.create(pods.pod("labelled", metadata=metadata))
        running = cluster.wait_for_phase("labelled", "Running")
        birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    told = {key: value for key, value in birth.root.resource.items() if "label" in key or "annotation" in key}
    assert told == {"k8s.pod.label.team": "a", "k8s.pod.annotation.note": "b"}
    assert birth.root.links == ("a" * 32,)
    assert {span.resource["service.name"] for span in birth.spans} == {"cart"}
    assert birth.root.resource["service.namespace"] == "default"


def test_volumes_are_the_kubelets_work(cluster: Cluster, observed: Observed) -> None:
    """Its mounts of tmpfs, projected and subPath volumes are processes and calls of the unit `volumes`."""
    volumes = [{"name": "memory", "emptyDir": {"medium": "Memory"}}, {"name": "disk", "emptyDir": {}}]
    mounts = [
        {"name": "memory", "mountPath": "/memory"},
        {"name": "disk", "mountPath": "/disk", "subPath": "below"},
    ]
    pod = cluster.create(pods.pod("volumes", container(volumeMounts=mounts), volumes=volumes))
    running = cluster.wait_for_phase("volumes", "Running")
    birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    (unit,) = [unit for unit in birth.at("unit") if unit.name == "volumes"]
    below = [span for span in birth.at("process") if span.parent_id == unit.span_id]
    assert {span.name for span in below} >= {"mount"}
    targets = [
        str(span.attributes.get("system.filesystem.mountpoint"))
        for span in birth.at("call")
        if span.name == "mount" and span.resource["service.name"] == "kubelet"
    ]
    for volume in ("kubernetes.io~empty-dir/memory", "kubernetes.io~projected", "volume-subpaths/disk"):
        assert [target for target in targets if volume in target], f"{volume} is not among {targets}"
    assert birth.root.start_ns <= unit.start_ns


@pytest.mark.parametrize(
    ("kind", "above", "attribute"),
    [
        ("ReplicaSet", "Deployment", "k8s.deployment"),
        ("StatefulSet", None, "k8s.statefulset"),
        ("DaemonSet", None, "k8s.daemonset"),
        ("Job", "CronJob", "k8s.cronjob"),
    ],
)
def test_owners(cluster: Cluster, observed: Observed, kind: str, above: str | None, attribute: str) -> None:
    """The workload names the birth; what controls a ReplicaSet or a Job is asked for."""
    owner = None if above is None else pods.reference(cluster.api, pods.workload(above, f"top-{kind.lower()}"))
    direct = pods.reference(cluster.api, pods.workload(kind, f"mine-{kind.lower()}", owner))
    name = f"owned-{kind.lower()}"
    pod = cluster.create(pods.pod(name, metadata={"ownerReferences": [direct]}))
    running = cluster.wait_for_phase(name, "Running")
    birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    top = owner or direct
    assert birth.root.name == f"pod birth {top['name']}"
    assert birth.root.resource[f"{attribute}.name"] == top["name"]
    assert birth.root.resource[f"{attribute}.uid"] == top["uid"]
    assert birth.root.resource[f"k8s.{kind.lower()}.name"] == direct["name"]


def test_init_containers_that_run_long_do_not_split_a_birth(cluster: Cluster, observed: Observed) -> None:
    """Nor do sidecars end it: one trace holds all, in their order."""
    spec: dict[str, Any] = {
        "initContainers": [
            container("migrate", "/bin/sleep", str(LONGER_S)),
            container("proxy", restartPolicy="Always"),
            container("prepare", "/bin/true"),
        ]
    }
    pod = cluster.create(pods.pod("prepared", container("one"), container("two"), **spec))
    running = cluster.wait_for_phase("prepared", "Running")
    birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    units = [unit.name for unit in birth.at("unit") if unit.name.startswith("container ")]
    assert units[:3] == ["container migrate", "container proxy", "container prepare"]
    assert sorted(units[3:]) == ["container one", "container two"]
    assert {"run migrate", "run prepare"} <= {unit.name for unit in birth.at("unit")}


def test_an_image_that_is_pulled_long_does_not_split_a_birth(
    cluster: Cluster, observed: Observed, tmp_path: Path
) -> None:
    """The second container waits for its image longer than the quiet period."""
    unlike = tmp_path / "unlike"  # else containerd would have the layer already
    unlike.write_text(str(tmp_path))
    image = busybox("pulled:1", {"unlike": unlike})
    with Registry(tmp_path, LONGER_S) as registry:
        reference = registry.add(image)
        pulled = container("pulled") | {"image": reference, "imagePullPolicy": "Always"}
        pod = cluster.create(pods.pod("pulling", container("first"), pulled))
        running = cluster.wait_for_phase("pulling", "Running")
        birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    first, second = (unit for unit in birth.at("unit") if unit.name.startswith("container "))
    assert second.start_ns - first.end_ns > QUIET_S * 10**9
    assert second.resource["container.image.name"] == reference


def test_an_ephemeral_container_is_a_container_start(cluster: Cluster, observed: Observed) -> None:
    """It is a trace of its own, linked to the birth."""
    pod = cluster.create(pods.pod("debugged"))
    cluster.wait_for_phase("debugged", "Running")
    birth = observed.the_birth(uid_of(pod))
    ephemeral = container("debugger") | {"targetContainerName": "main"}
    path = f"{cluster.pod('debugged')}/ephemeralcontainers"
    cluster.api.patch(path, {"spec": {"ephemeralContainers": [ephemeral]}})
    _, start = observed.wait(uid_of(pod), 2)
    assert start.root.name == "container start"
    assert start.root.resource["k8s.container.name"] == "debugger"
    assert start.root.links == (birth.root.trace_id,)


def test_a_container_that_crashes_is_restarted_in_traces_of_its_own(cluster: Cluster, observed: Observed) -> None:
    """The birth stays one; each restart links to it and counts itself."""
    pod = cluster.create(
        pods.pod("crashing", container("main", "/bin/sh", "-c", "sleep 1; exit 3"), container("other"))
    )
    birth, restart = observed.wait(uid_of(pod), 2)[:2]
    assert birth.count("completion") == "known"
    assert restart.root.name == "container restart"
    assert restart.root.resource["k8s.container.name"] == "main"
    assert restart.root.links == (birth.root.trace_id,)


def test_a_loop_of_crashes(cluster: Cluster, observed: Observed) -> None:
    """Each restart is a trace of its own, linked to the birth and counted as the API server counts."""
    crashing = container("main", "/bin/sh", "-c", "sleep 0.2; exit 3")
    pod = cluster.create(pods.pod("looping", crashing, container("other")))
    birth, *restarts = observed.wait(uid_of(pod), 1 + RESTARTS, limit_s=240)
    seen = cluster.api.get(cluster.pod("looping"))
    assert birth.count("completion") == "known"
    for number, restart in enumerate(restarts[:RESTARTS], 1):
        assert restart.root.name == "container restart"
        assert restart.root.resource["k8s.container.name"] == "main"
        assert restart.root.resource["k8s.container.restart_count"] == number
        assert restart.root.links == (birth.root.trace_id,)
        assert restart.root.resource["k8s.pod.uid"] == uid_of(pod)
    assert len({restart.root.resource["container.id"] for restart in restarts}) == len(restarts)
    (status,) = [each for each in seen["status"]["containerStatuses"] if each["name"] == "main"]
    assert status["restartCount"] >= RESTARTS


def test_a_sandbox_made_anew_is_linked_to_the_birth(cluster: Cluster, observed: Observed) -> None:
    """The same pod, another sandbox: no second birth."""
    pod = cluster.create(pods.pod("remade"))
    cluster.wait_for_phase("remade", "Running")
    birth = observed.the_birth(uid_of(pod))
    (sandbox,) = [unit for unit in birth.at("unit") if unit.name == "sandbox"]
    cluster.lab.cri.stop_sandbox(str(sandbox.attributes["otel_kernel.sandbox.id"]))
    traces = observed.wait(uid_of(pod), 3)
    assert sorted(trace.root.name for trace in traces) == ["container restart", "pod birth", "sandbox restart"]
    for trace in traces[1:]:
        assert trace.root.links == (birth.root.trace_id,)
        assert trace.root.level == "unit"


def test_a_name_reborn_is_another_pod(cluster: Cluster, observed: Observed) -> None:
    """Each birth has the UID of its own time."""
    first = cluster.create(pods.pod("again"))
    cluster.wait_for_phase("again", "Running")
    observed.the_birth(uid_of(first))
    cluster.api.delete(cluster.pod("again"))
    second = cluster.create(pods.pod("again"))
    assert uid_of(first) != uid_of(second)
    running = cluster.wait_for_phase("again", "Running")
    assert_is(observed.the_birth(uid_of(second)), running)
    assert len(observed.births(uid_of(first))) == 1


def test_a_pod_that_is_deleted_while_it_is_born(cluster: Cluster, observed: Observed) -> None:
    """Whatever had begun is told, with its name, and nothing waits for what will not come."""
    pod = cluster.create(pods.pod("unborn", initContainers=[container("waits", "/bin/sleep", "3600")]))
    cluster.api.wait(cluster.pod("unborn"), lambda seen: bool(container_ids(seen)))
    cluster.api.delete(cluster.pod("unborn"))
    birth = observed.the_birth(uid_of(pod))
    assert birth.root.resource["k8s.pod.name"] == "unborn"
    assert birth.count("completion") == "quiet"
    assert [unit.name for unit in birth.at("unit") if unit.name.startswith("container")] == ["container waits"]


def test_a_static_pod_goes_by_the_hash_of_its_manifest(cluster: Cluster, observed: Observed) -> None:
    """Its cgroup is named so; its mirror in the API has another UID."""
    name = f"static-{pods.NODE}"
    with pods.static(cluster.kubelet.static_pods, pods.pod("static")):
        running = cluster.wait_for_phase(name, "Running")
        birth = observed.the_birth(uid_of(running))
        assert uid_of(running) != running["metadata"]["uid"]
        assert_is(birth, running)
        assert birth.root.resource["otel_kernel.pod.mirror_uid"] == running["metadata"]["uid"]
        assert birth.root.trace_id != uid_of(running)
    cluster.api.wait("/api/v1/namespaces/default/pods", lambda listed: not listed["items"])


def test_the_time_since_a_pod_was_bound_to_its_node(cluster: Cluster, observed: Observed) -> None:
    """Bound as a scheduler does it; a birth knows how long nothing happened here after that."""
    unbound = pods.pod("bound", nodeName=None)
    pod = cluster.create(unbound)
    target = {"apiVersion": "v1", "kind": "Node", "name": pods.NODE}
    binding = {"metadata": {"name": "bound"}, "target": target}
    cluster.api.create(f"{cluster.pod('bound')}/binding", binding)
    running = cluster.wait_for_phase("bound", "Running")
    birth = observed.the_birth(uid_of(pod))
    assert_is(birth, running)
    assert 0 <= birth.count("scheduled_to_first_event") < 10
    assert "condition PodScheduled: True" in actions(birth)


def test_later_conditions_are_log_events_in_the_births_context(cluster: Cluster, observed: Observed) -> None:
    """A pod becomes ready after its birth was told."""
    probe = {"exec": {"command": ["/bin/true"]}, "initialDelaySeconds": 2, "periodSeconds": 1}
    pod = cluster.create(pods.pod("ready", container(readinessProbe=probe)))
    cluster.wait_for_phase("ready", "Running")
    birth = observed.the_birth(uid_of(pod))
    assert not [action for action in actions(birth) if action.startswith("condition Ready: True")]

    def ready() -> list[dict[str, Any]]:
        wanted = {"Ready", "True"}
        return [
            event
            for event in observed.events(uid_of(pod))
            if event["eventName"] == "otel_kernel.pod.condition"
            and wanted <= {entry["value"].get("stringValue") for entry in event["attributes"]}
        ]

    observed.until(ready, "Ready is told")
    (event,) = ready()
    assert event["traceId"] == birth.root.trace_id
    assert event["spanId"] == birth.root.span_id


def test_pods_of_every_quality_of_service_and_of_the_hosts_network(cluster: Cluster, observed: Observed) -> None:
    """The cgroup's path differs, the name does not."""
    few = {"cpu": "50m", "memory": "32Mi"}
    born = {
        "guaranteed": cluster.create(pods.pod("guaranteed", container(resources={"limits": few, "requests": few}))),
        "burstable": cluster.create(pods.pod("burstable", container(resources={"requests": few}))),
        "of-host": cluster.create(pods.pod("of-host", hostNetwork=True, hostPID=True)),
    }
    for name, pod in born.items():
        running = cluster.wait_for_phase(name, "Running")
        assert_is(observed.the_birth(uid_of(pod)), running)


def test_without_ebpf_pods_are_named_all_the_same(cluster: Cluster, tmp_path: Path) -> None:
    """By directories, bundles and the API server; the trace says by its scope that it knows less."""
    with observing(cluster, tmp_path, None, EBPF="off") as observed:
        pod = cluster.create(pods.pod("from-files"))
        running = cluster.wait_for_phase("from-files", "Running")
        birth = observed.the_birth(uid_of(pod))
    assert birth.root.scope == "otel_kernel.cgroupfs"
    assert birth.root.resource["k8s.pod.name"] == "from-files"
    ids = {
        span.resource.get("container.id") for span in birth.spans if span.resource.get("k8s.container.name") == "main"
    }
    assert ids == set(container_ids(running).values())
