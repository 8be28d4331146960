"""One birth under both observers, the agent and strace."""

import time
from pathlib import Path

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

# strace makes a birth ten times slower, a busy machine again: no quiet period ends it, the agent's own end does.
QUIET_S = 500
ENTRY_LIMIT_S = 300
ENTRY_POINTS = {"pause", "busybox"}
NR = syscalls.table()


def agree(lab: Lab, pod: Pod, directory: Path, **settings: str) -> None:
    """Bear the pod under both observers and assert that they agree."""
    with Strace([lab.containerd_pid], directory / "strace.log") as strace:
        with observing(directory, QUIET_S, **settings) as observation:
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
