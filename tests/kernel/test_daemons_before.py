"""Daemons that were there before the kernel side was attached."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from otel_kernel.kernel import records
from otel_kernel.kernel.events import Decision, Role
from otel_kernel.kernel.probes import BELOW_POD, RUNTIME_DAEMON, Loading, Sizes
from otel_kernel.node import procfs
from tests.kernel.actors import Kernel, call
from tests.kernel.pod_cgroups import PodCgroup

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


MANY = """
import ctypes, threading, time
ctypes.CDLL(None).prctl(15, b"dockerd")  # PR_SET_NAME
for _ in range(3):
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
print(flush=True)
time.sleep(60)
"""


@contextmanager
def running(*command: str) -> Iterator[int]:
    """Return the PID of a process that has begun: it says a line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        assert started.stdout
        started.stdout.readline()
        yield started.pid
        started.kill()


def test_daemons_are_found_in_the_kernel(cache: Path, pod: PodCgroup) -> None:
    """By their names and with all their threads; a pod's are none."""
    loaded = Loading(cache, Sizes()).finish()
    loaded.name_daemons({"dockerd": RUNTIME_DAEMON})
    loaded.add_pod_cgroup(pod.leaf.stat().st_ino, BELOW_POD)
    with running(sys.executable, "-c", MANY) as daemon, running(sys.executable, "-c", MANY) as of_pod:
        (pod.leaf / "cgroup.procs").write_text(str(of_pod))
        assert loaded.find_daemons() >= 1
        assert loaded.find_daemons() == 0
        held = {pid: loaded.maps["processes"].lookup(pid.to_bytes(4, "little")) for pid in (daemon, of_pod)}
        threads = procfs.threads(Path("/proc"), daemon)
        words = {each: loaded.maps["watched"].lookup((each >> 6).to_bytes(4, "little")) or b"" for each in threads}
    loaded.close()
    assert held == {daemon: records.daemon(RUNTIME_DAEMON), of_pod: None}
    assert len(threads) == 4
    assert [each for each, word in words.items() if not int.from_bytes(word, "little") >> (each & 63) & 1] == []
