"""Which hierarchy tells what."""

from pathlib import Path

import pytest

from otel_kernel.node import controllers
from otel_kernel.node.cgroupfs import NoCgroupsError
from otel_kernel.node.controllers import Controllers


def touch(path: Path) -> None:
    """Make an empty file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_pure_version_2(tmp_path: Path) -> None:
    """Everything is told by the one hierarchy."""
    touch(tmp_path / "cgroup.controllers")
    assert controllers.find(tmp_path) == Controllers(str(tmp_path), str(tmp_path))


@pytest.mark.parametrize("name", ["cpu,cpuacct", "cpuacct,cpu"])
def test_hybrid(tmp_path: Path, name: str) -> None:
    """Controllers of version 1 tell what they have, version 2 the rest, and where pods are."""
    touch(tmp_path / "unified/cgroup.controllers")
    for file in ("cpu.stat", "cpuacct.usage"):
        touch(tmp_path / name / file)
    touch(tmp_path / "memory/memory.usage_in_bytes")
    unified, cpu = str(tmp_path / "unified"), str(tmp_path / name)
    assert controllers.find(tmp_path) == Controllers(unified, unified, cpu, cpu, str(tmp_path / "memory"))


def test_hybrid_with_memory_in_version_2(tmp_path: Path) -> None:
    """A controller that is not mounted as version 1 is looked for in version 2."""
    touch(tmp_path / "unified/cgroup.controllers")
    touch(tmp_path / "cpu/cpu.stat")
    touch(tmp_path / "cpuacct/cpuacct.usage")
    unified = str(tmp_path / "unified")
    found = controllers.find(tmp_path)
    assert found == Controllers(unified, unified, str(tmp_path / "cpu"), str(tmp_path / "cpuacct"), None)


def test_version_1_alone(tmp_path: Path) -> None:
    """Without version 2 there is none, and pods are looked for where every runtime puts them."""
    touch(tmp_path / "pids/cgroup.procs")
    touch(tmp_path / "memory/memory.usage_in_bytes")
    found = controllers.find(tmp_path)
    assert found == Controllers(str(tmp_path / "pids"), None, None, None, str(tmp_path / "memory"))


def test_no_hierarchy(tmp_path: Path) -> None:
    """Where nothing is mounted, that is said."""
    with pytest.raises(NoCgroupsError):
        controllers.find(tmp_path)
