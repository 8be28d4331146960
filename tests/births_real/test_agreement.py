"""The agent and strace watch the same birth: they must agree on every call, not nearly."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.lab import Lab
from demo.pod import Container, Pod
from tests.agreement.observers import agree, two_containers

pytestmark = [pytest.mark.containerd, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _needs_strace(require: Callable[[object, str], None]) -> None:
    require(shutil.which("strace"), "needs strace")


@pytest.mark.parametrize("attempt", [1, 2])
def test_agreement_with_debians_runtime(lab: Lab, tmp_path: Path, attempt: int) -> None:
    """Containerd 1.6 with runc 1.1: calls per thread, calls per process and the certificate are the same."""
    assert attempt
    agree(lab, two_containers(), tmp_path)


def test_agreement_with_an_init_container(lab: Lab, tmp_path: Path) -> None:
    """A container that ends within the birth leaves the daemons calls to make, and these belong to it."""
    pod = Pod("observed-init", (Container("app"),), (Container("setup", ("/bin/true",)),))
    agree(lab, pod, tmp_path)


@pytest.mark.go
def test_agreement_with_runc_1_5(runc_15_lab: Lab, tmp_path: Path) -> None:
    """The new mount interface (fsopen, fsconfig, fsmount, open_tree, move_mount), on overlayfs."""
    agree(runc_15_lab, two_containers("runc-1.5"), tmp_path)


@pytest.mark.go
def test_agreement_with_containerd_2(containerd_2_lab: Lab, tmp_path: Path) -> None:
    """One shim serves the whole pod, no further one is started for its containers."""
    agree(containerd_2_lab, two_containers(), tmp_path)
