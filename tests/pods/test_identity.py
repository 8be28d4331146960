"""What events tell of pods: each source, read once, and what happens when sources disagree."""

import json
import shutil
from pathlib import Path

import pytest

from otel_kernel.kernel.events import CgroupChange, Decision, Exec, Loss
from otel_kernel.pods import identity, oci_bundle
from otel_kernel.pods.identity import Identifier

UID = "761cc4fe-b9b2-4412-b3b9-a857e0faa23e"
OTHER_UID = "01b4b887-7635-4346-9c20-58a294bbb034"
SANDBOX = "74613af48b047ce285591fcc05b3bede1a305aca8b5d6968e0e6c2e5b2b6a8dd"
CONTAINER = "f5f114a07a70e430eaa4834a47af178aeac71c99be6a0608ec918becea1ec26f"
CNI = (
    ("CNI_COMMAND", "ADD"),
    ("CNI_CONTAINERID", SANDBOX),
    ("CNI_NETNS", "/var/run/netns/cni-1"),
    (
        "CNI_ARGS",
        f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=probe;K8S_POD_INFRA_CONTAINER_ID={SANDBOX};K8S_POD_UID={UID}",
    ),
)


def executed(
    decision: Decision, *arguments: str, cwd: str = "/", environment: tuple[tuple[str, str], ...] = (), ns: int = 5
) -> Exec:
    """Return the execve of a program, with what decided on it."""
    program = f"/usr/bin/{arguments[0]}"
    return Exec(ns, 20, 4, 10, 1, 20, 20, decision, 0, program, arguments, environment, cwd, truncated=False)


def shim_start(container_id: str, cwd: Path) -> Exec:
    """Return the start of a shim in a bundle, as containerd does it."""
    return executed(
        Decision.SHIM_START, "containerd-shim-runc-v2", "-namespace", "k8s.io", "-address", "/c.sock",
        "-publish-binary", "/usr/bin/containerd", "-id", container_id, "start", cwd=str(cwd),
    )  # fmt: skip


def runc_create(container_id: str, bundle: str, cwd: str = "/") -> Exec:
    """Return the creation of a container, as a shim does it."""
    return executed(
        Decision.RUNTIME,
        "runc",
        "--root",
        "/run/runc/k8s.io",
        "create",
        "--bundle",
        bundle,
        "--pid-file",
        "p",
        container_id,
        cwd=cwd,
    )


def made(path: str, cgroup_id: int = 63, action: str = "mkdir") -> CgroupChange:
    """Return that a directory was made."""
    return CgroupChange(9, action, cgroup_id, path, 20)


def bundle(directory: Path, container_id: str, uid: str | None = UID) -> Path:
    """Return a new bundle with containerd's annotations."""
    kind = "sandbox" if container_id == SANDBOX else "container"
    annotations = {
        "io.kubernetes.cri.container-type": kind,
        "io.kubernetes.cri.sandbox-id": SANDBOX,
        "io.kubernetes.cri.sandbox-name": "probe",
        "io.kubernetes.cri.sandbox-namespace": "default",
        "io.kubernetes.cri.container-name": "main",
    }
    if uid is not None:
        annotations["io.kubernetes.cri.sandbox-uid"] = uid
    (directory / container_id).mkdir(parents=True)
    (directory / container_id / "config.json").write_text(json.dumps({"annotations": annotations}))
    return directory / container_id


def test_shim_start_names_the_bundle_by_its_directory(tmp_path: Path) -> None:
    """A shim is started in the bundle of the id in its arguments."""
    (facts,) = Identifier().facts(shim_start(SANDBOX, bundle(tmp_path, SANDBOX)))
    assert (facts.ns, facts.source, facts.container_id, facts.is_sandbox) == (5, "oci-bundle", SANDBOX, True)
    assert (facts.pod_uid, facts.pod_name, facts.namespace) == (UID, "probe", "default")


@pytest.mark.parametrize("relative", [False, True])
def test_runtime_create_names_the_bundle(tmp_path: Path, relative: bool) -> None:
    """A runtime's bundle is an option, absolute or relative to its working directory."""
    path = bundle(tmp_path, CONTAINER)
    (facts,) = Identifier().facts(runc_create(CONTAINER, path.name if relative else str(path), str(tmp_path)))
    assert (facts.container_id, facts.container_name, facts.is_sandbox) == (CONTAINER, "main", False)


def test_under_the_host_root(tmp_path: Path) -> None:
    """Paths are those of the host, wherever its root is for the agent."""
    bundle(tmp_path / "run/state", CONTAINER)
    (facts,) = Identifier(str(tmp_path)).facts(runc_create(CONTAINER, f"/run/state/{CONTAINER}"))
    assert facts.container_name == "main"


def test_a_bundle_is_read_once(tmp_path: Path) -> None:
    """A later event that names the container is answered from memory, although the bundle is gone."""
    identifier = Identifier()
    told = identifier.facts(runc_create(CONTAINER, str(bundle(tmp_path, CONTAINER))))
    shutil.rmtree(tmp_path / CONTAINER)
    assert identifier.facts(executed(Decision.RUNTIME, "runc", "start", CONTAINER)) == told


def test_a_missing_bundle_is_looked_for_again(tmp_path: Path) -> None:
    """What was missing is read at the next event that names the container, be it its cgroup."""
    identifier = Identifier()
    (missing,) = identifier.facts(runc_create(CONTAINER, str(tmp_path / CONTAINER)))
    assert missing.failure == oci_bundle.MISSING
    bundle(tmp_path, CONTAINER)
    path, found = identifier.facts(made(f"/kubepods/burstable/pod{UID}/{CONTAINER}"))
    assert (path.source, found.source, found.container_name) == ("cgroup-path", "oci-bundle", "main")


def test_cgroups_of_pods_and_containers() -> None:
    """A pod's directory tells the pod, a container's the container; crun's inner one is the container's too."""
    identifier = Identifier()
    (pod,) = identifier.facts(made(f"/kubepods/burstable/pod{UID}", 62))
    (container,) = identifier.facts(made(f"/kubepods/burstable/pod{UID}/{CONTAINER}", 63, "attach"))
    (inner,) = identifier.facts(made(f"/kubepods/burstable/pod{UID}/{CONTAINER}/container", 64))
    assert (pod.ns, pod.source, pod.pod_uid, pod.container_id, pod.cgroup_id) == (9, "cgroup-path", UID, None, 62)
    assert (container.pod_uid, container.container_id, container.cgroup_id) == (UID, CONTAINER, 63)
    assert (inner.container_id, inner.cgroup_id) == (CONTAINER, 64)


@pytest.mark.parametrize(
    "path",
    [
        "/system.slice",
        f"/kubepods/burstable/pod{UID}/x",
        f"/kubepods/burstable/pod{UID}/crio-conmon-{CONTAINER}",
        f"/kubepods/burstable/pod{UID}/{CONTAINER}/kubepods/pod{OTHER_UID}/{SANDBOX}",
    ],
)
def test_other_cgroups_tell_nothing(path: str) -> None:
    """Neither the host's cgroups, nor what is made inside a container, nor a monitor's."""
    assert Identifier().facts(made(path)) == ()


def test_a_removed_cgroup_tells_nothing() -> None:
    """A removal proves no identity."""
    assert Identifier().facts(made(f"/kubepods/burstable/pod{UID}/{CONTAINER}", action="rmdir")) == ()


def test_cni() -> None:
    """A plugin's environment names the sandbox, its pod and the namespace file."""
    (facts,) = Identifier().facts(executed(Decision.CNI_ADD, "ptp", environment=CNI))
    assert (facts.source, facts.container_id, facts.sandbox_id, facts.is_sandbox) == ("cni-env", SANDBOX, SANDBOX, True)
    assert (facts.pod_uid, facts.pod_name, facts.namespace) == (UID, "probe", "default")
    assert facts.network_namespace == "/var/run/netns/cni-1"


@pytest.mark.parametrize(
    "changed",
    [
        {"CNI_COMMAND": "DEL"},
        {"CNI_COMMAND": ""},
        {"CNI_CONTAINERID": ""},
        {"CNI_CONTAINERID": "../../etc"},
    ],
)
def test_cni_of_nobody(changed: dict[str, str]) -> None:
    """Another command, or no sandbox that could be one, tells nothing."""
    environment = tuple((dict(CNI) | changed).items())
    assert Identifier().facts(executed(Decision.CNI_ADD, "ptp", environment=environment)) == ()


def test_cni_with_odd_arguments() -> None:
    """What is no UID is ignored, what cannot be printed is replaced."""
    odd = tuple((dict(CNI) | {"CNI_ARGS": ";;=;K8S_POD_UID=x;K8S_POD_NAME=a\x1b\udcff;K8S_POD_NAMESPACE"}).items())
    (facts,) = Identifier().facts(executed(Decision.CNI_ADD, "ptp", environment=odd))
    assert (facts.pod_uid, facts.pod_name, facts.namespace, facts.container_id) == (
        None,
        "a\ufffd\ufffd",
        None,
        SANDBOX,
    )


@pytest.mark.parametrize("decision", [Decision.ENTRY_POINT, Decision.INHERITED, Decision.VOLUMES])
def test_programs_inside_a_lineage_are_not_believed(tmp_path: Path, decision: Decision) -> None:
    """An entry point called `runc`, or one with CNI variables, names nobody: its pod chose its arguments."""
    identifier = Identifier()
    path = str(bundle(tmp_path, CONTAINER))
    event = executed(decision, "runc", "create", "--bundle", path, CONTAINER, environment=CNI)
    assert identifier.facts(event) == ()


def test_other_events_tell_nothing() -> None:
    """Most events name nobody."""
    assert Identifier().facts(Loss(1, 0, 0)) == ()


def test_the_cgroup_outweighs_the_annotations(tmp_path: Path) -> None:
    """Once the kernel shows another pod's cgroup, the names of the bundle are withdrawn and stay so."""
    identifier = Identifier()
    create = runc_create(CONTAINER, str(bundle(tmp_path, CONTAINER, OTHER_UID)))
    assert identifier.facts(create)[0].pod_name == "probe"
    path, withdrawn = identifier.facts(made(f"/kubepods/pod{UID}/{CONTAINER}"))
    assert path.pod_uid == withdrawn.pod_uid == UID
    assert (withdrawn.pod_name, withdrawn.failure is not None) == (None, True)
    assert identifier.facts(create) == (withdrawn,)


def test_the_cgroup_completes_the_bundle(tmp_path: Path) -> None:
    """A bundle that tells no UID gets that of the container's cgroup."""
    identifier = Identifier()
    create = runc_create(CONTAINER, str(bundle(tmp_path, CONTAINER, None)))
    assert identifier.facts(create)[0].pod_uid is None
    _, completed = identifier.facts(made(f"/kubepods/pod{UID}/{CONTAINER}"))
    assert (completed.pod_uid, completed.pod_name) == (UID, "probe")
    assert len(identifier.facts(made(f"/kubepods/pod{UID}/{CONTAINER}"))) == 1


def test_an_imitated_cgroup_changes_nothing(tmp_path: Path) -> None:
    """A directory with a known container's id in another pod is not that container's."""
    identifier = Identifier()
    identifier.facts(made(f"/kubepods/pod{UID}/{CONTAINER}"))
    assert identifier.facts(made(f"/kubepods/pod{OTHER_UID}/{CONTAINER}")) == ()
    (facts,) = identifier.facts(runc_create(CONTAINER, str(bundle(tmp_path, CONTAINER, None))))
    assert facts.pod_uid == UID


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many containers the latest are remembered."""
    monkeypatch.setattr(identity, "_REMEMBERED", 10)
    identifier = Identifier()
    for number in range(50):
        identifier.facts(made(f"/kubepods/pod{UID}/{number:064x}"))
    assert len(identifier._containers) == 10
