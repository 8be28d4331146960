"""systemd's cgroup driver with systemd as the first process: run only in a machine of ours (see chosen.py).

The pod's slice is made as a kubelet has it made, by asking systemd; the runtime asks for the container's scope. So
process 1 makes the cgroups and attaches the processes.
"""

import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from demo.containerd import Runtime
from demo.go_builds import containerd_2
from demo.lab import Lab
from demo.pod import Container, Pod
from tests.agreement.observers import agree

START_LIMIT_S = 60


class SystemdLab(Lab):
    """A lab whose pods' cgroups are systemd's."""

    def make_cgroup(self, pod: Pod) -> None:
        """Start the pod's slice."""
        subprocess.run(["systemctl", "start", Path(pod.cgroup).name], check=True, timeout=START_LIMIT_S)

    def remove_cgroup(self, pod: Pod) -> None:
        """Stop the pod's slice."""
        subprocess.run(["systemctl", "stop", Path(pod.cgroup).name], check=True, timeout=START_LIMIT_S)


def pod(name: str) -> Pod:
    """Return a pod as a kubelet with the systemd driver asks for it."""
    uid = str(uuid4())
    slice_ = f"kubepods-burstable-pod{uid.replace('-', '_')}.slice"
    parent = f"/kubepods.slice/kubepods-burstable.slice/{slice_}"
    return Pod(name, (Container("app"), Container("sidecar")), uid=uid, cgroup_parent=parent)


@pytest.fixture(autouse=True)
def _needs_systemd() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"


def test_agreement_with_runc_1_1(tmp_path: Path) -> None:
    """Debian's containerd and runc."""
    with SystemdLab(Runtime(snapshotter="overlayfs", systemd_cgroups=True)) as lab:
        agree(lab, pod("systemd-1"), tmp_path)


def test_agreement_with_containerd_2(tmp_path: Path) -> None:
    """Containerd 2.x and runc 1.5."""
    with SystemdLab(replace(containerd_2(), snapshotter="overlayfs", systemd_cgroups=True)) as lab:
        agree(lab, pod("systemd-2"), tmp_path)
