"""The agent and strace watch the same birth: they must agree on every call, not nearly."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.lab import Lab
from demo.leftovers import hierarchies
from demo.pod import Container, Pod
from otel_kernel.kernel import syscalls
from tests.agreement.comparison import differences
from tests.agreement.expectation import Pod as TracedPod
from tests.agreement.expectation import expect
from tests.agreement.roles import roles
from tests.agreement.strace import Strace
from tests.births_real.observation import assert_whole, observing

pytestmark = [pytest.mark.containerd, pytest.mark.slow]
# strace makes a birth ten times slower, a busy machine again: no quiet period ends it, the agent's own end does.
QUIET_S = 500
ENTRY_LIMIT_S = 30
ENTRY_POINTS = {"pause", "busybox"}
NR = syscalls.table()


@pytest.fixture(autouse=True)
def _needs_strace(require: Callable[[object, str], None]) -> None:
    require(shutil.which("strace"), "needs strace")


def agree(lab: Lab, pod: Pod, directory: Path) -> None:
    """Bear the pod under both observers and assert that they agree."""
    with Strace([lab.containerd_pid], directory / "strace.log") as strace:
        with observing(directory, QUIET_S) as observation:
            born = lab.bear(pod)
            wait_until_entered(pod)
        (birth,) = observation.births(pod.uid)
    ids = (born.sandbox_id, *born.container_ids.values())
    expected = expect(roles(strace.log, strace.attached), TracedPod(pod.uid, ids))
    found = differences(expected, birth)
    assert not found, "\n".join(found)
    assert_whole(birth, born, "shutdown")
    lab.remove(born)


def wait_until_entered(pod: Pod) -> None:
    """Wait until each container has returned from its entry point's execve, the last call of its birth.

    `runc start`, and with it the runtime, may be done before that. Raises TimeoutError.
    """
    cgroup = next(hierarchies()) / pod.cgroup.lstrip("/")
    deadline = time.monotonic() + ENTRY_LIMIT_S
    while not all(map(is_at_rest, members := [pid for file in cgroup.glob("*/cgroup.procs") for pid in pids(file)])):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not every process of {members} runs its entry point")
        time.sleep(0.02)
    assert len(members) == 1 + len(pod.containers)


def pids(file: Path) -> list[str]:
    """Return the process ids in a cgroup's file."""
    return file.read_text().split()


def is_at_rest(pid: str) -> bool:
    """Return whether a process waits in a call of its program's: it is no runtime any more, and not in an execve."""
    call = Path(f"/proc/{pid}/syscall").read_text().split()[0]
    program = Path(f"/proc/{pid}/exe").readlink().name
    return program in ENTRY_POINTS and call not in {"running", str(NR["execve"])}


def two_containers(runtime_handler: str = "") -> Pod:
    """Return the pod that is born under both observers."""
    return Pod("observed", (Container("app"), Container("sidecar")), runtime_handler=runtime_handler)


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
