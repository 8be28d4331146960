"""Every layout of pods' cgroups, and paths made to look like another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.pods import cgroup_path
from otel_kernel.pods.cgroup_path import PodPath

UID = "761cc4fe-b9b2-4412-b3b9-a857e0faa23e"
OTHER = "01b4b887-7635-4346-9c20-58a294bbb034"
STATIC = "4b53c1a8f3e94d2a9f0e6d5c7b8a9f10"
ID = "74613af48b047ce285591fcc05b3bede1a305aca8b5d6968e0e6c2e5b2b6a8dd"
OTHER_ID = "f5f114a07a70e430eaa4834a47af178aeac71c99be6a0608ec918becea1ec26f"
BURSTABLE = "/kubepods.slice/kubepods-burstable.slice"
SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
KIND_SLICE = f"kubelet-kubepods-besteffort-pod{UID.replace('-', '_')}.slice"

LAYOUTS = {
    "cgroupfs, burstable": (f"/kubepods/burstable/pod{UID}/{ID}", UID, ID, None),
    "cgroupfs, best effort": (f"/kubepods/besteffort/pod{UID}/{ID}", UID, ID, None),
    "cgroupfs, guaranteed": (f"/kubepods/pod{UID}/{ID}", UID, ID, None),
    "cgroupfs, the pod itself": (f"/kubepods/burstable/pod{UID}", UID, None, None),
    "cgroupfs, CRI-O": (f"/kubepods/burstable/pod{UID}/crio-{ID}", UID, ID, "cri-o"),
    "systemd, containerd": (f"{BURSTABLE}/{SLICE}/cri-containerd-{ID}.scope", UID, ID, "containerd"),
    "systemd, CRI-O": (f"{BURSTABLE}/{SLICE}/crio-{ID}.scope", UID, ID, "cri-o"),
    "systemd, docker": (f"{BURSTABLE}/{SLICE}/docker-{ID}.scope", UID, ID, "docker"),
    "systemd, bare id": (f"{BURSTABLE}/{SLICE}/{ID}", UID, ID, None),
    "systemd, bare scope": (f"{BURSTABLE}/{SLICE}/{ID}.scope", UID, ID, None),
    "systemd, guaranteed": (f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/{ID}", UID, ID, None),
    "systemd, the pod itself": (f"{BURSTABLE}/{SLICE}", UID, None, None),
    "kind, systemd": (
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/{KIND_SLICE}/cri-containerd-{ID}.scope",
        UID, ID, "containerd",
    ),
    "kind, cgroupfs": (f"/kubelet/kubepods/burstable/pod{UID}/{ID}", UID, ID, None),
    "kind, from the machine it runs on": (f"/docker/{OTHER_ID}/kubelet/kubepods/pod{UID}/{ID}", UID, ID, None),
    "k3d": (f"/docker/{OTHER_ID}/kubepods/besteffort/pod{UID}/{ID}", UID, ID, None),
    "k3s without root": (f"/user.slice/user-1000.slice/k3s.service/kubepods/pod{UID}/{ID}", UID, ID, None),
    "static pod, cgroupfs": (f"/kubepods/burstable/pod{STATIC}/{ID}", STATIC, ID, None),
    "static pod, systemd": (f"{BURSTABLE}/kubepods-burstable-pod{STATIC}.slice/{ID}", STATIC, ID, None),
    "from inside a cgroup namespace": (f"/../../kubepods/burstable/pod{UID}/{ID}", UID, ID, None),
    "removed while asked": (f"/kubepods/burstable/pod{UID}/{ID} (deleted)", UID, ID, None),
}  # fmt: skip


@pytest.mark.parametrize(("path", "uid", "container_id", "runtime"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(path: str, uid: str, container_id: str | None, runtime: str | None) -> None:
    """Each layout tells the pod, the container and, where it has a prefix, the runtime."""
    assert cgroup_path.parse(path) == PodPath(uid, container_id, runtime, "")


def test_crun_puts_processes_into_a_directory_of_its_own() -> None:
    """The directory `container` below crun's scope is the runtime's own work, what lies deeper is the container's."""
    scope = f"/kubepods.slice/{SLICE}/crio-{ID}.scope"
    inner, deeper = cgroup_path.parse(f"{scope}/container"), cgroup_path.parse(f"{scope}/container/container")
    assert inner is not None
    assert (inner.container_id, inner.is_container) == (ID, True)
    assert deeper is not None
    assert (deeper.container_id, deeper.is_container) == (ID, False)


@pytest.mark.parametrize("name", [f"crio-conmon-{ID}.scope", f"crio-conmon-{ID}"])
def test_conmon_is_no_container(name: str) -> None:
    """CRI-O's monitor lies in the pod's cgroup and belongs to no container, nor is it the pod's own program."""
    path = f"/kubepods.slice/{SLICE}/{name}"
    assert cgroup_path.parse(path) == PodPath(UID, None, "cri-o", name, is_monitor=True)
    assert not cgroup_path.in_pod(path)


@pytest.mark.parametrize(
    "below",
    [
        f"kubepods/burstable/pod{OTHER}/{OTHER_ID}",
        f"pod{OTHER}/{OTHER_ID}",
        f"kubepods.slice/kubepods-pod{OTHER.replace('-', '_')}.slice/cri-containerd-{OTHER_ID}.scope",
        OTHER_ID,
        f"crio-conmon-{OTHER_ID}.scope",
        f"kubepods\n/kubepods/pod{OTHER}",
    ],
)
def test_outermost_pod_wins(below: str) -> None:
    """Whatever a container calls its own cgroups, they are its own; clusters inside pods are the outer pod's."""
    found = cgroup_path.parse(f"/kubepods/burstable/pod{UID}/{ID}/{below}")
    assert found == PodPath(UID, ID, None, below)
    assert not found.is_container
    assert cgroup_path.in_pod(f"/kubepods/burstable/pod{UID}/{ID}/{below}")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "kubepods/burstable",
        f"kubepods/burstable/pod{UID}/{ID}",  # counted from no root
        "/system.slice/containerd.service",
        f"/system.slice/docker-{ID}.scope",
        "/kubepods",
        "/kubepods/burstable",
        f"/pod{UID}/{ID}",  # nobody's: not below kubepods
        f"/burstable/pod{UID}",
        f"/kubepods/other/pod{UID}",
        f"/kubepods/burstable/besteffort/pod{UID}",
        f"/kubepods/burstable/pod{UID[:-1]}",
        f"/kubepods/burstable/pod{UID}0",
        f"/kubepods/burstable/pod{UID}\n",
        f"/kubepods/burstable/\npod{UID}",
        f"/kubepods/burstable/pod{UID.upper()}",
        f"/kubepods/burstable/pod{UID.replace('-', '_', 1)}",  # neither form
        f"/kubepods/burstable/pod{UID.replace('a', chr(0x430))}",  # Cyrillic
        f"/kubepods/../pod{UID}",
        f"/kubepods/x/../pod{UID}",
        f"/kubepods.slice/{SLICE}x",
        f"/kubepods.slice/x{SLICE}".replace("xkubepods", "xkubepod"),
        "/kubepods/burstable/pod",
        "/kubepods/burstable/pod" + "-" * 36,
        "/kubepods/burstable/pod\udcff" + UID,
    ],
)
def test_no_pod(path: str) -> None:
    """What only resembles a pod's path is none."""
    assert cgroup_path.parse(path) is None


def test_longer_than_the_kernel_tells() -> None:
    """A path longer than the kernel's limit was not told by the kernel, so nothing is believed of it."""
    path = f"/kubepods/burstable/pod{UID}/{ID}/"
    assert cgroup_path.parse(path + "x" * (4096 - len(path))) is not None
    assert cgroup_path.parse(path + "x" * (4097 - len(path))) is None


@pytest.mark.parametrize(
    "name", ["evil", ID[:-1], ID + "0", ID.upper(), f"a/{ID}", f"cri-containerd-{ID}.scope.x", f"-{ID}"]
)
def test_other_directories_of_a_pod_are_no_containers(name: str) -> None:
    """A directory in a pod's that has no container's name is neither the pod's own nor a container's."""
    found = cgroup_path.parse(f"/kubepods/burstable/pod{UID}/{name}")
    assert found is not None
    assert (found.pod_uid, found.container_id, found.is_pod, found.is_container) == (UID, None, False, False)


def test_where_to_look() -> None:
    """Pods are looked for everywhere but in containers, containers in pods alone."""
    pod, container = f"/kubepods/pod{UID}", f"/kubepods/pod{UID}/{ID}"
    assert [cgroup_path.may_hold_pods(path) for path in ("/kubepods", "/system.slice", pod, container)] == [
        True,
        True,
        True,
        False,
    ]
    assert [cgroup_path.is_container(path) for path in (pod, container, container + "/x")] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "valid"),
    [(UID, True), (STATIC, True), (UID[:-1], False), (UID + "\n", False), ("", False), ("x" * 36, False)],
)
def test_valid_uid(text: str, valid: bool) -> None:
    """A pod's UID is a UUID or 32 hexadecimal digits."""
    assert (cgroup_path.valid_uid(text) == text) is valid


@given(st.lists(st.text(st.characters(exclude_characters="/"), min_size=1, max_size=40), max_size=4).map("/".join))
def test_nothing_below_a_container_changes_whose_it_is(below: str) -> None:
    """Whatever names a container gives to directories of its own, pod and container stay the same."""
    found = cgroup_path.parse(f"/kubepods/burstable/pod{UID}/{ID}/{below}")
    assert found is None or (found.pod_uid, found.container_id) == (UID, ID)
    assert found is not None or ".." in below.split("/")


@given(st.text(max_size=200))
def test_any_text(path: str) -> None:
    """Any text is a path or none, never an error."""
    assert cgroup_path.parse(path) is None
