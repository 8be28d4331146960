"""Bundles as runtimes write them, and as nobody should."""

import json
import os
from pathlib import Path

import pytest

from otel_kernel.pods import cgroup_path, oci_bundle

UID = "761cc4fe-b9b2-4412-b3b9-a857e0faa23e"
OTHER_UID = "01b4b887-7635-4346-9c20-58a294bbb034"
SANDBOX = "74613af48b047ce285591fcc05b3bede1a305aca8b5d6968e0e6c2e5b2b6a8dd"
CONTAINER = "f5f114a07a70e430eaa4834a47af178aeac71c99be6a0608ec918becea1ec26f"
NETNS = "/var/run/netns/cni-e6ec91bf-97e9-86c8-ebbb-48d158dfe822"

# As containerd 1.6.20 wrote them.
CONTAINERD_SANDBOX: dict[str, dict[str, object]] = {
    "annotations": {
        "io.kubernetes.cri.container-type": "sandbox",
        "io.kubernetes.cri.sandbox-id": SANDBOX,
        "io.kubernetes.cri.sandbox-log-directory": "/var/log/pods",
        "io.kubernetes.cri.sandbox-name": "probe-pod",
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.sandbox-uid": UID,
    },
    "linux": {
        "cgroupsPath": f"/kubepods/burstable/pod{UID}/{SANDBOX}",
        "namespaces": [{"type": "pid"}, {"type": "network", "path": NETNS}],
    },
}
CONTAINERD_CONTAINER: dict[str, dict[str, object]] = {
    "annotations": {
        "io.kubernetes.cri.container-name": "main",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.image-name": "registry.local/busybox:1",
        "io.kubernetes.cri.sandbox-id": SANDBOX,
        "io.kubernetes.cri.sandbox-name": "probe-pod",
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.sandbox-uid": UID,
    },
    "linux": {
        "cgroupsPath": f"/kubepods/burstable/pod{UID}/{CONTAINER}",
        "namespaces": [{"type": "network", "path": "/proc/6106/ns/net"}],
    },
}
CRI_O_CONTAINER: dict[str, dict[str, object]] = {
    "annotations": {
        "io.container.manager": "cri-o",
        "io.kubernetes.container.name": "coredns",
        "io.kubernetes.cri-o.ContainerID": CONTAINER,
        "io.kubernetes.cri-o.ContainerType": "container",
        "io.kubernetes.cri-o.ImageName": "registry.local/coredns:v1.8.6",
        "io.kubernetes.cri-o.SandboxID": SANDBOX,
        "io.kubernetes.pod.name": "coredns-6d4b75cb6d-4mtdm",
        "io.kubernetes.pod.namespace": "kube-system",
        "io.kubernetes.pod.uid": UID,
    },
    "linux": {"cgroupsPath": f"kubepods-burstable-pod{UID.replace('-', '_')}.slice:crio:{CONTAINER}"},
}


def annotated(**annotations: object) -> bytes:
    """Return a containerd container's configuration with some annotations replaced."""
    return json.dumps(
        CONTAINERD_CONTAINER | {"annotations": CONTAINERD_CONTAINER["annotations"] | annotations}
    ).encode()


def write(bundle: Path, content: bytes) -> str:
    """Return the path of a new bundle with that configuration."""
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "config.json").write_bytes(content)
    return str(bundle)


def test_containerd_sandbox() -> None:
    """A sandbox is its own sandbox, has no container name, and tells the namespace file that CNI gets."""
    facts = oci_bundle.parse(json.dumps(CONTAINERD_SANDBOX).encode(), SANDBOX, 7)
    assert (facts.ns, facts.source, facts.container_id, facts.sandbox_id) == (7, "oci-bundle", SANDBOX, SANDBOX)
    assert (facts.is_sandbox, facts.pod_uid, facts.pod_name, facts.namespace) == (True, UID, "probe-pod", "default")
    assert (facts.container_name, facts.runtime_name, facts.network_namespace) == (None, "containerd", NETNS)
    assert facts.failure is None


def test_containerd_container() -> None:
    """A container tells its name, image and sandbox."""
    facts = oci_bundle.parse(json.dumps(CONTAINERD_CONTAINER).encode(), CONTAINER, 7)
    assert (facts.is_sandbox, facts.sandbox_id, facts.pod_uid, facts.network_namespace) == (False, SANDBOX, UID, None)
    assert (facts.container_name, facts.image_name) == ("main", "registry.local/busybox:1")


def test_cri_o_container() -> None:
    """CRI-O's annotations tell the same by other names."""
    facts = oci_bundle.parse(json.dumps(CRI_O_CONTAINER).encode(), CONTAINER, 7)
    assert (facts.is_sandbox, facts.sandbox_id, facts.pod_uid, facts.runtime_name) == (False, SANDBOX, UID, "cri-o")
    assert (facts.pod_name, facts.namespace) == ("coredns-6d4b75cb6d-4mtdm", "kube-system")
    assert (facts.container_name, facts.image_name) == ("coredns", "registry.local/coredns:v1.8.6")


def test_docker_container() -> None:
    """What cri-dockerd labels a container with is understood where it reaches the bundle."""
    annotations = {
        "io.kubernetes.docker.type": "podsandbox",
        "io.kubernetes.pod.name": "probe-pod",
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.uid": UID,
        "io.kubernetes.container.name": "POD",
    }
    facts = oci_bundle.parse(json.dumps({"annotations": annotations}).encode(), SANDBOX, 7)
    assert (facts.is_sandbox, facts.sandbox_id, facts.pod_name, facts.container_name) == (
        True,
        SANDBOX,
        "probe-pod",
        None,
    )
    assert facts.runtime_name == "docker"


def test_old_containerd_tells_the_uid_by_the_cgroup_only() -> None:
    """Before containerd 1.6.11 no annotation held the pod's UID; the cgroup in the same file does."""
    content = json.dumps(CONTAINERD_CONTAINER)
    facts = oci_bundle.parse(content.replace('"io.kubernetes.cri.sandbox-uid"', '"x"').encode(), CONTAINER, 7)
    assert (facts.pod_uid, facts.pod_name) == (UID, "probe-pod")


def test_annotations_of_another_pod_give_no_names() -> None:
    """Where annotations and cgroup name different pods, the cgroup tells the pod and the names are not believed."""
    facts = oci_bundle.parse(annotated(**{"io.kubernetes.cri.sandbox-uid": OTHER_UID}), CONTAINER, 7)
    assert (facts.pod_uid, facts.pod_name, facts.container_name) == (UID, None, None)
    assert facts.failure == f"the annotations name pod {OTHER_UID}, not the cgroup's"


def test_annotations_of_another_runtime_are_not_believed() -> None:
    """On a CRI-O node a pod's author may write containerd's annotations: the cgroup's prefix decides whose count."""
    lies = {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-name": "victim"}
    annotations = {**CRI_O_CONTAINER["annotations"], **lies}
    facts = oci_bundle.parse(json.dumps(CRI_O_CONTAINER | {"annotations": annotations}).encode(), CONTAINER, 7)
    assert (facts.pod_name, facts.is_sandbox, facts.runtime_name) == ("coredns-6d4b75cb6d-4mtdm", False, "cri-o")


def test_the_bundle_of_another_container() -> None:
    """A bundle whose cgroup is another container's says nothing of this one."""
    facts = oci_bundle.parse(json.dumps(CONTAINERD_CONTAINER).encode(), SANDBOX, 7)
    assert (facts.pod_uid, facts.container_name) == (None, None)
    assert facts.failure == f"the bundle is that of container {CONTAINER}"


def test_the_kernel_proves_another_pod() -> None:
    """A cgroup that was really made outweighs what the bundle said before."""
    facts = oci_bundle.parse(json.dumps({"annotations": CONTAINERD_CONTAINER["annotations"]}).encode(), CONTAINER, 7)
    assert facts.pod_name == "probe-pod"
    made = cgroup_path.parse(f"/kubepods/pod{OTHER_UID}/{CONTAINER}")
    assert made is not None
    confirmed = oci_bundle.confirm(facts, made)
    assert (confirmed.pod_uid, confirmed.pod_name) == (OTHER_UID, None)
    assert confirmed.failure is not None


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\x00" * 100, "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5_000, "not JSON"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b'{"annotations": ["x"]}', "annotations are not an object"),
        (b'{"annotations": "x"}', "annotations are not an object"),
    ],
)
def test_not_a_configuration(content: bytes, failure: str) -> None:
    """What is no configuration is told by its reason."""
    facts = oci_bundle.parse(content, CONTAINER, 7)
    assert (facts.failure, facts.not_kubernetes, facts.pod_uid) == (failure, False, None)


@pytest.mark.parametrize(
    "content", [b"{}", b'{"annotations": null}', b'{"annotations": {"org.example": "x"}, "linux": []}']
)
def test_not_kubernetes(content: bytes) -> None:
    """A configuration without Kubernetes annotations is of a container outside Kubernetes, which is no failure."""
    facts = oci_bundle.parse(content, CONTAINER, 7)
    assert (facts.not_kubernetes, facts.failure) == (True, None)


@pytest.mark.parametrize(
    "linux", [None, [], "x", {"cgroupsPath": 7}, {"namespaces": "x"}, {"namespaces": [None, {"type": 3}]}]
)
def test_strange_types(linux: object) -> None:
    """Fields of unexpected types are as good as absent."""
    content = json.dumps({"annotations": CONTAINERD_SANDBOX["annotations"], "linux": linux}).encode()
    facts = oci_bundle.parse(content, SANDBOX, 7)
    assert (facts.pod_name, facts.pod_uid, facts.network_namespace, facts.failure) == ("probe-pod", UID, None, None)


def test_hostile_names_are_made_harmless() -> None:
    """Controls, lone surrogates and what exceeds Kubernetes' lengths do not get through; other types are absent."""
    hostile = {
        "io.kubernetes.cri.sandbox-name": "a\x1b[31m\n\udcff" + "x" * 300,
        "io.kubernetes.cri.container-name": "n" * 64,
        "io.kubernetes.cri.sandbox-namespace": {"not": "text"},
        "io.kubernetes.cri.image-name": "\u202egnp.exe",
    }
    facts = oci_bundle.parse(annotated(**hostile), CONTAINER, 7)
    assert facts.pod_name == ("a\ufffd[31m\ufffd\ufffd" + "x" * 300)[:253]
    assert (facts.container_name, facts.namespace, facts.image_name) == ("n" * 63, None, "\ufffdgnp.exe")


@pytest.mark.parametrize("uid", ["not-a-uid", UID + "\n", 7, None, "", "../" + UID[:33]])
def test_what_is_no_uid_is_ignored(uid: object) -> None:
    """A UID that is none is not taken from the annotations; the cgroup still tells it."""
    assert oci_bundle.parse(annotated(**{"io.kubernetes.cri.sandbox-uid": uid}), CONTAINER, 7).pod_uid == UID


def test_read(tmp_path: Path) -> None:
    """A bundle's directory is read by its path."""
    bundle = write(tmp_path / "bundle", json.dumps(CONTAINERD_CONTAINER).encode())
    assert oci_bundle.read(bundle, CONTAINER, 7).container_name == "main"


def test_read_under_another_root(tmp_path: Path) -> None:
    """Absolute links of the host lead to the host's files, not to the agent's own."""
    write(tmp_path / "run/bundle", json.dumps(CONTAINERD_CONTAINER).encode())
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    assert oci_bundle.read("/var/run/bundle", CONTAINER, 7, str(tmp_path)).container_name == "main"
    assert oci_bundle.read("/../../run/bundle", CONTAINER, 7, str(tmp_path)).container_name == "main"
    assert oci_bundle.read("/etc", CONTAINER, 7, str(tmp_path)).failure == oci_bundle.MISSING


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Each way to fail has its reason, and none of them waits."""
    file = tmp_path / "file"
    file.write_text("x")
    reasons = {"absent": oci_bundle.MISSING, "file": oci_bundle.MISSING, "x\0y": "not a path"}
    for name in ("fifo", "directory", "link", "large"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "fifo/config.json")
    (tmp_path / "directory/config.json").mkdir()
    (tmp_path / "link/config.json").symlink_to(file)
    with (tmp_path / "large/config.json").open("wb") as large:
        large.truncate(oci_bundle.LARGEST_BYTES + 1)
    reasons |= {
        "fifo": "not a regular file",
        "directory": "not a regular file",
        "large": "too large",
        "link": "unreadable: ELOOP",
    }
    for root in ("/", str(tmp_path)):
        parent = str(tmp_path) if root == "/" else ""
        found = {name: oci_bundle.read(f"{parent}/{name}", CONTAINER, 7, root).failure for name in reasons}
        assert found == reasons
    assert oci_bundle.read("/x" * 4096, CONTAINER, 7).failure == "unreadable: ENAMETOOLONG"


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is told by its errno."""

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("otel_kernel.node.host_files.read", refuse)
    assert oci_bundle.read(str(tmp_path), CONTAINER, 7).failure == "unreadable: EACCES"


def test_the_span_in_which_a_pod_was_created() -> None:
    """CRI-O hands on the annotations of a pod, containerd those that its `pod_annotations` allow."""
    told = oci_bundle.parse(annotated(**{"tracing.k8s.io/traceparent": "00-a-b-01"}), CONTAINER, 1)
    assert told.trace_parent == "00-a-b-01"
    assert oci_bundle.parse(annotated(), CONTAINER, 1).trace_parent is None
