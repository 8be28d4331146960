"""What runs in a pod cannot make the kernel side follow it, whatever it calls itself and whatever it does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.actors import DAEMON, Daemon, Kernel, Step, Told, call
from tests.kernel.pod_cgroups import PodCgroup
from tests.kernel.test_endings import PIVOT, enter, new_root

pytestmark = pytest.mark.root
VICTIM = "11111111-2222-4333-8444-555555555555"


def tricks(daemon: Daemon) -> tuple[Step, ...]:
    """What a hostile container might try."""
    shim = "containerd-shim-runc-v2 -namespace k8s.io -id c0ffee"
    return (
        ("spawn", *daemon.words("runc create --bundle /b c0ffee")),
        ("spawn", *daemon.words(f"{shim} start")),
        ("spawn", *daemon.words(shim, ("spawn", *daemon.words("runc create x")))),
        ("spawn", *daemon.words("/proc/self/exe init")),
        ("spawn", *daemon.words(DAEMON, ("spawn", *daemon.words("runc create x")))),
        call("mount", "s:none", f"s:/var/lib/kubelet/pods/{VICTIM}/volumes/x", "s:tmpfs", 0, 0),
        call("unshare", 0x40000000),
        ("become", *daemon.words("runc create x")),
    )


@pytest.fixture
def told(kernel: Kernel) -> Callable[[], list[Told]]:
    """Return a function for everything that was told but the cgroups of pods."""
    return lambda: kernel.seen().of_processes


def test_process_of_a_pod(kernel: Kernel, pod: PodCgroup, told: Callable[[], list[Told]]) -> None:
    """A pod's process called like a runtime, a shim or a daemon, or mounting in another pod's, is not followed."""
    daemon = kernel.daemon()
    told()
    pod.run(daemon.words("app", *tricks(daemon)))
    assert told() == []


def test_entry_point(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """A container's own program, which the birth brought up, is not followed either."""
    app = ("become", *daemon.words("app", *tricks(daemon)))
    ran = daemon.run("runc create x", enter(pod.leaf), *new_root(tmp_path), *PIVOT, app)
    events = kernel.seen().of_processes
    last = max(at for at, event in enumerate(events) if type(event).__name__ == "Exec")
    assert {event.pid for event in events[last:]} <= {ran.pid, daemon.pid}
    assert [type(event).__name__ for event in events[last:] if event.pid == ran.pid] == ["Exec", "Call", "End", "End"]
    assert "unshare" not in {getattr(event, "name", "") for event in events[last:]}


def test_exec_into_a_pod(daemon: Daemon, pod: PodCgroup, told: Callable[[], list[Told]]) -> None:
    """What `runc exec` brings into a pod is not followed, whatever it executes there."""
    told()
    daemon.run("runc exec c0ffee", enter(pod.leaf), ("become", *daemon.words("app", *tricks(daemon))))
    assert [event for event in told() if event.pid != daemon.pid] == []


def test_daemon_name_in_a_pod(daemon: Daemon, kernel: Kernel, pod: PodCgroup, told: Callable[[], list[Told]]) -> None:
    """A daemon's child that is called like a daemon but is in a pod's cgroup does not become one."""
    daemon.do(enter(pod.leaf))
    told()
    daemon.run(DAEMON, ("spawn", *daemon.words("runc create x")))
    daemon.do(enter(pod.path.parent.parent.parent))
    assert [event for event in told() if event.pid != daemon.pid and type(event).__name__ != "CgroupWrite"] == []
    assert kernel.counted().not_birth == 1
