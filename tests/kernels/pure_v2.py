"""What this machine's own kernel or its cgroups refuse: run only in a machine of ours (see chosen.py)."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo.agent import PROGRAM
from demo.containerd import Runtime
from demo.go_builds import containerd_2
from demo.lab import Lab
from demo.pod import Container, Pod
from tests.agreement.observers import agree, two_containers

CRUN = Path("/usr/bin/crun")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a directory on ext4, where labs are made: before 6.3 tmpfs has no mounts with ids of their own."""
    image, directory = tmp_path / "disk", tmp_path / "mounted"
    directory.mkdir()
    subprocess.run(["truncate", "--size=1G", image], check=True, timeout=60)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", image], check=True, timeout=120)
    subprocess.run(["mount", "-o", "loop", image, directory], check=True, timeout=60)
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    subprocess.run(["umount", directory], check=True, timeout=60)


def test_check() -> None:
    """Every program is accepted and attached, and nothing that the kernel side tells of is missing."""
    done = subprocess.run([PROGRAM, "check", "--json"], capture_output=True, text=True, check=False, timeout=400)
    told = json.loads(done.stdout)
    assert (done.returncode, told["reason"]) == (0, "")
    assert {point: state for point, state in told["attached"].items() if state != "attached"} == {}
    absent = {each["signal"] for each in told["signals"] if each["how"] == "not here"}
    assert absent <= {"identity: CRI", "identity: Kubernetes", "otel_kernel.pod.condition"}


def test_agreement_with_crun(tmp_path: Path) -> None:
    """A runtime in C, without threads, that shares nothing with runc but what it does; on overlayfs."""
    with Lab(Runtime(handlers={"crun": CRUN}, snapshotter="overlayfs")) as lab:
        agree(lab, two_containers("crun"), tmp_path)


def test_agreement_with_users_of_its_own(disk: Path, tmp_path: Path) -> None:
    """`hostUsers: false`: the pod's user namespace, and mounts with its ids."""
    assert disk.is_dir()
    with Lab(replace(containerd_2(), snapshotter="overlayfs")) as lab:
        agree(lab, Pod("users", (Container("app"),), host_users=False), tmp_path)
