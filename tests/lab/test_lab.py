"""The lab leaves nothing behind, whatever becomes of it, and does not disturb another one."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from demo.lab import Lab
from demo.leftovers import hierarchies, make_pod_cgroup, remove_pod_cgroup, sweep
from demo.pod import Container, Pod

LABS_AT_ONCE = 3
BEAR_AND_BE_KILLED = """
import os, signal
from demo.lab import Lab
from demo.pod import Pod
with Lab() as lab:
    lab.bear(Pod("orphan"))
    print(lab.directory, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def traces_of(directory: Path, uid: str) -> list[str]:
    """Return what the machine still holds of a lab and a pod: files, mounts, processes, cgroups."""
    found = [str(directory)] if directory.exists() else []
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(directory) in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [str(process)] if os.fsencode(directory) in process.read_bytes() else []
        except OSError:
            continue
    return found + [str(path) for root in hierarchies() for path in root.glob(f"kubepods/burstable/pod{uid}")]


@pytest.mark.containerd
def test_nothing_is_left_of_a_lab() -> None:
    """Pods that were never removed, and the containerd, are gone with their cgroups, mounts and files."""
    with Lab() as lab:
        born = lab.bear(Pod("left", (Container("app"),)))
        directory = lab.directory
        assert traces_of(directory, born.pod.uid) != []
    assert traces_of(directory, born.pod.uid) == []


@pytest.mark.containerd
def test_nothing_is_left_of_a_lab_that_fails() -> None:
    """An error in the middle of a birth is no reason to leave anything."""
    pod = Pod("failing", (Container("broken", ("/bin/nope",)),))
    lab = Lab()
    with pytest.raises(grpc.RpcError), lab:
        lab.bear(pod)
    directory = lab.directory
    assert traces_of(directory, pod.uid) == []


@pytest.mark.containerd
def test_the_next_lab_removes_what_a_killed_one_left() -> None:
    """Nobody cleans up after SIGKILL, so the next one that gets its subnet does."""
    killed = subprocess.run(
        [sys.executable, "-c", BEAR_AND_BE_KILLED], capture_output=True, text=True, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    directory = Path(killed.stdout.strip())
    assert traces_of(directory, "-") != []
    with contextlib.ExitStack() as labs:
        for _ in range(LABS_AT_ONCE):  # others on this machine may be about to end theirs
            labs.enter_context(Lab())
    assert traces_of(directory, "-") == []


@pytest.mark.containerd
def test_two_labs_at_once() -> None:
    """Each has its own subnet, so pods of both have addresses that are theirs alone."""
    with Lab() as one, Lab() as other:
        born = [lab.bear(Pod("same-name")) for lab in (one, other)]
        assert one.subnet != other.subnet
        for lab, pod in zip((one, other), born, strict=True):
            assert lab.cri.execute(pod.container_ids["main"], "/bin/true") == (0, b"")


@pytest.mark.root
def test_a_pods_cgroup_goes_without_those_of_others(tmp_path: Path) -> None:
    """The groups above a pod's are removed with the last pod in them."""
    first, second = "/kubepods-test/burstable/pod-a", "/kubepods-test/burstable/pod-b"
    for name in (first, second):
        make_pod_cgroup(name, tmp_path / "cgroups")
    remove_pod_cgroup(first)
    tops = [root / "kubepods-test" for root in hierarchies()]
    assert {(top / "burstable/pod-b").exists() for top in tops} == {True}
    assert {(top / "burstable/pod-a").exists() for top in tops} == {False}
    remove_pod_cgroup(second)
    assert {top.exists() for top in tops} == {False}


def test_only_a_labs_directory_is_swept(tmp_path: Path) -> None:
    """What deletes refuses what no lab made."""
    with pytest.raises(ValueError, match="not a lab's directory"):
        sweep(tmp_path)
    assert tmp_path.exists()
