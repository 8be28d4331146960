"""An agent outside the host's PID namespace sees births all the same, and says what it cannot see."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.lab import Lab
from demo.pod import Pod
from tests.births_real import outside
from tests.births_real.observation import Observation, assert_whole

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

NAMED_LIMIT_S = 30
ROW = "processes of the node"


def assert_named(observed: Observation, told: Path, name: str) -> None:
    """Assert that a pod's metrics carry its name before long."""
    deadline = time.monotonic() + NAMED_LIMIT_S
    while name not in outside.named(told):
        assert time.monotonic() < deadline, "\n".join(observed.agent.messages())
        time.sleep(0.2)


def test_with_the_hosts_proc(lab: Lab, tmp_path: Path) -> None:
    """Nothing is missing: daemons, the processes of containers and bundles are found by the host's PIDs."""
    there = lab.bear(Pod("there-already"))
    proc_root = tmp_path / "proc"
    with outside.observing(tmp_path, outside.hosts_proc(proc_root), PROC_ROOT=str(proc_root)) as observed:
        born = lab.bear(Pod("outside-a"))
        (birth,) = observed.wait(born.pod.uid)
        assert_whole(birth, born)
        assert_named(observed, tmp_path / "told.jsonl", "there-already")
        assert not [line for line in observed.agent.messages() if "PID namespace" in line]
        measured = (tmp_path / "told.jsonl").read_text()
    for metric in ("container.mounts", "pod.network.drops"):
        assert f"otel_kernel.{metric}" in measured
    for each in (there, born):
        lab.remove(each)


def test_with_a_proc_of_its_own(lab: Lab, tmp_path: Path) -> None:
    """Daemons are found in the kernel, pods that are there by the runtime's word; the rest is said in one line."""
    there = lab.bear(Pod("there-already"))
    settings = {"KUBERNETES": "auto", "CRI_SOCKET": str(lab.socket)}
    with outside.observing(tmp_path, outside.own_proc(), **settings) as observed:
        born = lab.bear(Pod("outside-b"))
        (birth,) = observed.wait(born.pod.uid)
        assert_whole(birth, born)
        assert set(birth.count("identity.source")) >= {"cgroup-path", "oci-bundle", "cni-env"}
        assert_named(observed, tmp_path / "told.jsonl", "there-already")
        assert len([line for line in observed.agent.messages() if "another PID namespace" in line]) == 1
    assert "otel_kernel.pod.network.drops" not in (tmp_path / "told.jsonl").read_text()
    for each in (there, born):
        lab.remove(each)


def test_check_says_what_is_hidden(tmp_path: Path) -> None:
    """And what would show it."""
    assert outside.checked(())[ROW]["how"] == "files"
    of_its_own = outside.checked(outside.own_proc())[ROW]
    assert of_its_own["how"] == "eBPF"
    assert "another PID namespace" in of_its_own["why"]
    assert "OTEL_KERNEL_PROC_ROOT" in of_its_own["enable"]
    proc_root = tmp_path / "proc"
    shown = outside.checked(outside.hosts_proc(proc_root), "--proc-root", str(proc_root))[ROW]
    assert shown["how"] == "files"
    assert "another PID namespace" not in shown["why"]


def test_a_node_that_is_a_container(tmp_path: Path) -> None:
    """As in kind: runtime and agent are together in a PID namespace that is not the host's. Nothing is missing."""
    output = tmp_path / "demo.txt"
    with output.open("wb") as file:
        command = [*outside.own_proc(), sys.executable, "-m", "demo"]
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, timeout=300)
    said = output.read_text()
    assert "pod birth" in said
    assert "runc init" in said
    assert "another PID namespace" not in said
