"""The agent and strace watch the same birth: they must agree on every call, not nearly."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.lab import Lab
from demo.pod import Container, Pod
from tests.agreement.comparison import differences
from tests.agreement.expectation import Pod as TracedPod
from tests.agreement.expectation import expect
from tests.agreement.roles import roles
from tests.agreement.strace import Strace
from tests.births_real.observation import Observation, assert_whole

pytestmark = [pytest.mark.containerd, pytest.mark.slow]
LIMIT_S = 40  # strace makes a birth ten times slower


@pytest.fixture(autouse=True)
def _needs_strace(require: Callable[[object, str], None]) -> None:
    require(shutil.which("strace"), "needs strace")


def agree(lab: Lab, observation: Observation, pod: Pod, log: Path) -> None:
    """Bear the pod under both observers and assert that they agree."""
    with Strace([lab.containerd_pid], log) as strace:
        born = lab.bear(pod)
        (birth,) = observation.wait(pod.uid, limit_s=LIMIT_S)
    ids = (born.sandbox_id, *born.container_ids.values())
    expected = expect(roles(strace.log, strace.attached), TracedPod(pod.uid, ids))
    found = differences(expected, birth)
    assert not found, "\n".join(found)
    assert_whole(birth, born)
    lab.remove(born)


def two_containers(runtime_handler: str = "") -> Pod:
    """Return the pod that is born under both observers."""
    return Pod("observed", (Container("app"), Container("sidecar")), runtime_handler=runtime_handler)


@pytest.mark.parametrize("attempt", [1, 2])
def test_agreement_with_debians_runtime(lab: Lab, observation: Observation, tmp_path: Path, attempt: int) -> None:
    """Containerd 1.6 with runc 1.1: calls per thread, calls per process and the certificate are the same."""
    assert attempt
    agree(lab, observation, two_containers(), tmp_path / "strace.log")


def test_agreement_with_an_init_container(lab: Lab, observation: Observation, tmp_path: Path) -> None:
    """A container that ends within the birth leaves the daemons calls to make, and these belong to it."""
    pod = Pod("observed-init", (Container("app"),), (Container("setup", ("/bin/true",)),))
    agree(lab, observation, pod, tmp_path / "strace.log")


@pytest.mark.go
def test_agreement_with_runc_1_5(runc_15_lab: Lab, observation: Observation, tmp_path: Path) -> None:
    """The new mount interface (fsopen, fsconfig, fsmount, open_tree, move_mount), on overlayfs."""
    agree(runc_15_lab, observation, two_containers("runc-1.5"), tmp_path / "strace.log")


@pytest.mark.go
def test_agreement_with_containerd_2(containerd_2_lab: Lab, observation: Observation, tmp_path: Path) -> None:
    """One shim serves the whole pod, no further one is started for its containers."""
    agree(containerd_2_lab, observation, two_containers(), tmp_path / "strace.log")
