"""What was noticed in files, said in terms of pods."""

import json
from pathlib import Path

import pytest

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.sightings import Appeared, Emptied, Missed, Program, Vanished
from otel_kernel.node import watch
from otel_kernel.node.first_process import ProcessSeen, SupervisorSeen
from otel_kernel.pods import existing
from otel_kernel.pods.identity import Identifier
from otel_kernel.pods.sightings import Sightings

UID = "761cc4fe-b9b2-4412-b3b9-a857e0faa23e"
OTHER_UID = "01b4b887-7635-4346-9c20-58a294bbb034"
SANDBOX = "74613af48b047ce285591fcc05b3bede1a305aca8b5d6968e0e6c2e5b2b6a8dd"
APP = "f5f114a07a70e430eaa4834a47af178aeac71c99be6a0608ec918becea1ec26f"
POD_PATH = f"/kubepods/burstable/pod{UID}"


@pytest.fixture
def sightings() -> Sightings:
    """Return sightings of a node where nothing was noticed yet."""
    return Sightings(Identifier())


def bundle(path: Path, container_id: str) -> Path:
    """Make a container's bundle and return it."""
    path.mkdir(parents=True)
    annotations = {
        "io.kubernetes.cri.container-type": "sandbox" if container_id == SANDBOX else "container",
        "io.kubernetes.cri.sandbox-id": SANDBOX,
        "io.kubernetes.cri.sandbox-name": "probe",
        "io.kubernetes.cri.container-name": "app",
    }
    (path / "config.json").write_text(json.dumps({"annotations": annotations}))
    return path


def made(path: str, action: str = "mkdir") -> watch.CgroupSeen:
    """Return that a directory was noticed."""
    return watch.CgroupSeen(5, action, 63, path)


def shim(bundle: Path, path: str) -> SupervisorSeen:
    """Return that a sandbox's shim was noticed above a container's process."""
    arguments = ("/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", SANDBOX, "-address", "/c.sock")
    return SupervisorSeen(6, path, 50, 1, arguments[0], arguments, str(bundle))


def named(told: tuple[object, ...]) -> list[tuple[str | None, str | None]]:
    """Return which containers a bundle named."""
    return [
        (t.container_id, t.container_name) for t in told if isinstance(t, ContainerFacts) and t.source == "oci-bundle"
    ]


def test_a_pods_cgroup(sightings: Sightings) -> None:
    """A pod's directory appears and vanishes."""
    facts, appeared = sightings.of(made(POD_PATH))
    assert isinstance(facts, ContainerFacts)
    assert (facts.pod_uid, facts.cgroup_id) == (UID, 63)
    assert appeared == Appeared(5, UID, None, existing=False)
    assert sightings.of(made(POD_PATH, "rmdir")) == (Vanished(5, UID, None),)


def test_what_was_there(sightings: Sightings) -> None:
    """What was there before observation began is said to have been."""
    assert sightings.of(made(f"{POD_PATH}/{APP}", "existing"))[-1] == Appeared(5, UID, APP, existing=True)


def test_what_happens_in_a_container(sightings: Sightings) -> None:
    """Its programs, its end and its removal are said of the container."""
    path = f"{POD_PATH}/{APP}"
    ran = ProcessSeen(7, path, 60, 1, "app", "/bin/app", is_runtime=False)
    assert sightings.of(ran) == (Program(7, UID, APP, 60, "/bin/app", is_runtime=False),)
    assert sightings.of(watch.CgroupEmptied(8, path)) == (Emptied(8, UID, APP),)
    assert sightings.of(made(path, "rmdir")) == (Vanished(5, UID, APP),)


def test_what_is_no_pods(sightings: Sightings) -> None:
    """What was noticed elsewhere is nobody's; what was missed may be anybody's."""
    for path in ("/system.slice", f"{POD_PATH}/x", f"{POD_PATH}/crio-conmon-{APP}", f"{POD_PATH}/{APP}/x"):
        assert sightings.of(made(path)) == ()
        assert sightings.of(watch.CgroupEmptied(8, path)) == ()
    assert sightings.of(watch.CgroupEmptied(8, POD_PATH)) == ()
    assert sightings.of(watch.Missed(9, "why")) == (Missed(9, "why"),)


def test_a_shim_shows_where_the_bundles_are(sightings: Sightings, tmp_path: Path) -> None:
    """From a sandbox's shim on, bundles are found beside its own: those of containers before and after."""
    of_sandbox = bundle(tmp_path / SANDBOX, SANDBOX)
    assert named(sightings.of(made(f"{POD_PATH}/{SANDBOX}"))) == []
    assert named(sightings.of(shim(of_sandbox, f"{POD_PATH}/{SANDBOX}"))) == [(SANDBOX, None)]
    bundle(tmp_path / APP, APP)
    assert named(sightings.of(made(f"{POD_PATH}/{APP}"))) == [(APP, "app")]


def test_a_container_before_its_shim(sightings: Sightings, tmp_path: Path) -> None:
    """A container that was seen before any shim of its pod is named when the shim is."""
    bundle(tmp_path / APP, APP)
    sightings.of(made(f"{POD_PATH}/{APP}"))
    of_sandbox = bundle(tmp_path / SANDBOX, SANDBOX)
    assert named(sightings.of(shim(of_sandbox, f"{POD_PATH}/{SANDBOX}"))) == [(SANDBOX, None), (APP, "app")]


def test_conmon_names_its_containers_bundle(sightings: Sightings, tmp_path: Path) -> None:
    """One conmon serves one container, whose bundle it names."""
    path = f"{POD_PATH}/crio-{APP}"
    sightings.of(made(path))
    directory = bundle(tmp_path / "userdata", APP)
    arguments = ("/usr/bin/conmon", "-b", str(directory), "-c", APP, "--exit-dir", "/x")
    noticed = SupervisorSeen(6, path, 50, 1, arguments[0], arguments, "/")
    assert named(sightings.of(noticed)) == [(APP, "app")]


@pytest.mark.parametrize("arguments", [(), ("x",), ("x", "-id"), ("x", "-id", "../../etc"), ("x", "start", "--")])
def test_a_shim_that_names_nobody(sightings: Sightings, arguments: tuple[str, ...]) -> None:
    """Arguments that name no container tell nothing."""
    noticed = SupervisorSeen(6, f"{POD_PATH}/{APP}", 50, 1, "/usr/bin/containerd-shim-runc-v2", arguments, "/")
    assert sightings.of(noticed) == ()


def test_an_imitation(sightings: Sightings) -> None:
    """A directory in one pod with the id of another's container is not sighted."""
    sightings.of(made(f"{POD_PATH}/{APP}"))
    assert sightings.of(made(f"/kubepods/pod{OTHER_UID}/{APP}")) == ()


def test_existing_pods(tmp_path: Path) -> None:
    """At its start an agent learns which pods are there, as known at the time it gives."""
    (tmp_path / f"cgroup{POD_PATH}/{APP}").mkdir(parents=True)
    (tmp_path / "proc").mkdir()
    facts = existing.facts(tmp_path / "cgroup", tmp_path / "proc", Identifier(), 42)
    assert [(f.ns, f.source, f.pod_uid, f.container_id) for f in facts] == [
        (42, "cgroup-path", UID, None),
        (42, "cgroup-path", UID, APP),
    ]
