"""Daemons that were there before the kernel side was attached."""

import pytest

from otel_kernel.kernel.events import Decision, Role
from otel_kernel.kernel.probes import RUNTIME_DAEMON
from tests.kernel.actors import Kernel, call

pytestmark = pytest.mark.root


def test_process_made_a_daemon(kernel: Kernel) -> None:
    """A running process is a daemon as soon as the agent says so, and its calls are once its threads are watched."""
    other = kernel.daemon("any-name")
    other.run("runc create x")
    other.do(call("unshare", 0))
    assert kernel.seen().of_processes == []
    kernel.probes.add_daemon(other.pid, RUNTIME_DAEMON)
    kernel.probes.watch(other.pid)
    ran = other.run("runc create x")
    other.do(call("unshare", 0))
    seen = kernel.seen()
    assert seen.decisions(ran.pid) == [Decision.RUNTIME]
    assert seen.call("clone", other.pid).child_pid == ran.pid
    assert seen.call("unshare", other.pid).role is Role.DAEMON


def test_watching_takes_nothing_away(kernel: Kernel) -> None:
    """Watching one thread leaves those alone whose bits lie in the same word."""
    kernel.probes.watch(4_194_241)
    for thread_id in range(4_194_240, 4_194_304):
        kernel.probes.watch(thread_id)
    word = kernel.probes.maps["watched"].lookup((4_194_240 >> 6).to_bytes(4, "little"))
    assert word == b"\xff" * 8
    kernel.probes.maps["watched"].update((4_194_240 >> 6).to_bytes(4, "little"), bytes(8))


def test_threads_of_an_ended_daemon(kernel: Kernel) -> None:
    """No thread of a daemon stays watched after it ended: another process may get its id."""
    daemon = kernel.daemon()
    daemon.do(("threads", 7, 1))
    shim = "containerd-shim-runc-v2 -namespace k8s.io -id c0ffee"
    daemon.run(
        f"{shim} start", ("become", *daemon.words(shim, ("spawn", *daemon.words("runc create x")), ("crowd", 6)))
    )
    kernel.stop()
    watched = kernel.probes.maps["watched"]
    assert [key for key in range(65_536) if watched.lookup(key.to_bytes(4, "little")) != bytes(8)] == []
