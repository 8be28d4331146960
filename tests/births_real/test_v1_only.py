"""A host without cgroup v2: this machine with its v2 hierarchy out of the agent's sight."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.agent import PROGRAM
from demo.containerd import Runtime
from demo.lab import Lab
from demo.pod import Container, Pod
from tests.agreement.observers import agree
from tests.births_real.observation import Observation, observing

pytestmark = pytest.mark.containerd

CGROUPS = Path("/sys/fs/cgroup")
V1 = ("pids", "memory", "cpu", "cpuacct")


@pytest.fixture(scope="module")
def cgroup_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with v1 hierarchies only."""
    directory = tmp_path_factory.mktemp("cgroup")
    there = [name for name in V1 if (CGROUPS / name / "cgroup.procs").exists()]
    if "pids" not in there:
        pytest.skip("needs a hierarchy of v1's controller pids")
    for name in there:
        (directory / name).symlink_to(CGROUPS / name)
    return directory


@pytest.fixture(scope="module")
def observation(cgroup_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observation]:
    """Return what an agent says that sees nothing of v2."""
    with observing(tmp_path_factory.mktemp("v1"), CGROUP_ROOT=str(cgroup_root)) as observation:
        yield observation


@pytest.fixture(scope="module")
def lab(observation: Observation) -> Iterator[Lab]:
    """Return a containerd that came after the agent."""
    assert observation
    with Lab(Runtime()) as started:
        yield started


def test_a_birth(lab: Lab, observation: Observation) -> None:
    """It is whole, with the names and counts that it has elsewhere."""
    born = lab.bear(Pod("v1", (Container("app"), Container("sidecar"))))
    birth = observation.the_birth(born)
    lab.remove(born)
    assert "cgroup-path" in birth.root.attributes["otel_kernel.birth.identity.source"]


def test_agreement(lab: Lab, cgroup_root: Path, tmp_path: Path) -> None:
    """On every call, as where there is v2."""
    agree(lab, Pod("v1-observed"), tmp_path, CGROUP_ROOT=str(cgroup_root))


@pytest.mark.parametrize(("controllers", "status"), [(("pids",), 0), (("systemd",), 1)])
def test_check(controllers: tuple[str, ...], status: int, tmp_path: Path) -> None:
    """Births work by a controller's hierarchy; one without any is named, with what would help."""
    for name in controllers:
        if not (CGROUPS / name / "cgroup.procs").exists():
            pytest.skip(f"needs a v1 hierarchy {name}")
        (tmp_path / name).symlink_to(CGROUPS / name)
    command = [str(PROGRAM), "check", "--json", "--cgroup-root", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"]) == (status, status)
    births = next(each for each in told["signals"] if each["signal"] == "birth trace")
    assert (births["how"], "no controller" in births["why"]) == (("eBPF", False) if status == 0 else ("not here", True))
