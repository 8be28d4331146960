"""What /proc says: of this very process, and of processes as they were captured or made up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_kernel.node import procfs
from otel_kernel.node.procfs import Daemon, Kind

PROC = Path("/proc")


def process(proc: Path, pid: int, comm: str, executable: str | None, cgroup: str = "/") -> None:
    """Make a process's directory as the kernel shows it."""
    directory = proc / str(pid)
    (directory / "task" / str(pid)).mkdir(parents=True)
    (directory / "task" / str(pid + 1)).mkdir()
    fields = f"S 1 {pid} {pid} 0 -1 4194560 6000 0 0 0 41 27 0 0 20 0 10 0 84817 1900 11000 18446744073709551615"
    (directory / "stat").write_bytes(f"{pid} ({comm}) {fields}\n".encode("utf-8", "surrogateescape"))
    (directory / "cgroup").write_text(f"12:pids:/elsewhere\n1:name=systemd:/system.slice\n0::{cgroup}\n")
    if executable is not None:
        (directory / "exe").symlink_to(executable)


def in_pod(path: str) -> bool:
    """Say which cgroups of these tests are a pod's."""
    return path.startswith("/kubepods/")


def test_this_process() -> None:
    """A process finds itself: parent, program, arguments, threads, directory, time of its start."""
    pid = os.getpid()
    about = procfs.stat(PROC, pid)
    assert about is not None
    assert (about.parent_pid, about.state) == (os.getppid(), "R")
    assert procfs.executable(PROC, pid) == os.path.realpath(sys.executable)
    assert procfs.arguments(PROC, pid)[0] == sys.orig_argv[0]
    assert pid in procfs.threads(PROC, pid)
    assert procfs.working_directory(PROC, pid) == str(Path.cwd())
    assert procfs.namespaces(PROC, pid)["mnt"] == Path("/proc/self/ns/mnt").stat().st_ino
    assert pid in procfs.pids(PROC)


def test_start_time_is_boot_time() -> None:
    """A start time lies between the moments before and after the process was made."""
    import time  # noqa: PLC0415 - one clock, used here alone

    before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with subprocess.Popen(["sleep", "60"]) as child:
        about = procfs.stat(PROC, child.pid)
        after_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        child.kill()
    assert about is not None
    assert before_ns - 10_000_000 <= procfs.start_ns(about.start_ticks) <= after_ns


def test_gone() -> None:
    """A process that is gone gives nothing, and no error."""
    with subprocess.Popen(["true"]) as child:
        pid = child.pid
    assert procfs.stat(PROC, pid) is None
    assert procfs.executable(PROC, pid) is None
    assert procfs.working_directory(PROC, pid) is None
    assert (procfs.threads(PROC, pid), procfs.arguments(PROC, pid)) == ((), ())
    assert (procfs.cgroups(PROC, pid), procfs.cgroup(PROC, pid), procfs.namespaces(PROC, pid)) == ({}, None, {})


@pytest.mark.parametrize("comm", ["a b", ") S 9 (", "x\ny", "))((", "", "\udcff", "(sd-pam)"])
def test_hostile_names(tmp_path: Path, comm: str) -> None:
    """A process may call itself what it likes; the fields after its name are still found."""
    process(tmp_path, 7, comm, None)
    assert procfs.stat(tmp_path, 7) == procfs.Stat(comm, "S", 1, 84817)


def test_cut_stat(tmp_path: Path) -> None:
    """A file that ends early tells nothing."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (x) S 1 7")
    assert procfs.stat(tmp_path, 7) is None


DAEMONS = {
    "containerd": ("containerd", "/usr/bin/containerd", Kind.RUNTIME, "containerd"),
    "CRI-O": ("crio", "/usr/bin/crio", Kind.RUNTIME, "crio"),
    "docker": ("dockerd", "/usr/bin/dockerd", Kind.RUNTIME, "dockerd"),
    "k3s renames itself": ("k3s-server", "/var/lib/rancher/k3s/data/x/bin/k3s", Kind.RUNTIME, "k3s"),
    "containerd of k3s, by its name": (
        "containerd",
        "/var/lib/rancher/k3s/data/x/bin/k3s-root",
        Kind.RUNTIME,
        "containerd",
    ),
    "a shim's name is cut": (
        "containerd-shim",
        "/usr/bin/containerd-shim-runc-v2",
        Kind.SHIM,
        "containerd-shim-runc-v2",
    ),
    "conmon": ("conmon", "/usr/bin/conmon", Kind.SHIM, "conmon"),
    "kubelet": ("kubelet", "/usr/bin/kubelet", Kind.KUBELET, "kubelet"),
    "upgraded while it runs": ("containerd", "/usr/bin/containerd (deleted)", Kind.RUNTIME, "containerd"),
    "an extra one": ("x", "/opt/my-own-runtime-daemon", Kind.RUNTIME, "my-own-runtime-daemon"),
    "an extra one, by its cut name": ("my-own-runtime-", "/usr/bin/python3", Kind.RUNTIME, "my-own-runtime-"),
}


@pytest.mark.parametrize(("comm", "executable", "kind", "name"), DAEMONS.values(), ids=DAEMONS.keys())
def test_daemons(tmp_path: Path, comm: str, executable: str, kind: Kind, name: str) -> None:
    """A daemon is found by the name of its program or its own."""
    process(tmp_path, 7, comm, executable)
    found = procfs.daemons(tmp_path, frozenset({"my-own-runtime-daemon"}), in_pod)
    assert found == [Daemon(7, 84817, name, kind, (7, 8))]


def test_no_daemons(tmp_path: Path) -> None:
    """Other programs, a pod's own, kernel threads and what is no process are none."""
    process(tmp_path, 10, "bash", "/bin/bash")
    process(tmp_path, 20, "containerd", "/usr/bin/containerd", "/kubepods/burstable/pod1/abc")
    process(tmp_path, 30, "containerd", None)
    process(tmp_path, 40, "runc", "/usr/sbin/runc")
    (tmp_path / "sys").mkdir()
    (tmp_path / "50").mkdir()
    (tmp_path / "\u0661").mkdir()
    assert procfs.daemons(tmp_path, frozenset(), in_pod) == []


def test_no_proc(tmp_path: Path) -> None:
    """A root that is none is an error, not an empty host."""
    with pytest.raises(FileNotFoundError):
        procfs.daemons(tmp_path / "absent", frozenset(), in_pod)


def test_cgroups(tmp_path: Path) -> None:
    """Paths are told by hierarchy; one that holds colons stays whole."""
    process(tmp_path, 7, "x", "/bin/x", "/kubepods.slice:a:b")
    assert procfs.cgroups(tmp_path, 7) == {
        "pids": "/elsewhere",
        "name=systemd": "/system.slice",
        "": "/kubepods.slice:a:b",
    }
    assert procfs.cgroup(tmp_path, 7) == "/kubepods.slice:a:b"


@pytest.mark.parametrize(
    ("comm", "executable", "prepares"),
    [
        ("runc:[0:PARENT]", "/", True),  # runc 1.1
        ("runc:[2:INIT]", "/memfd:runc_cloned:/proc/self/exe", True),
        ("runc:[2:INIT]", "/usr/sbin/runc", True),
        ("runc", "/", True),
        ("crun", "/usr/bin/crun", True),
        ("pause", "/pause", False),
        ("sleep", "/bin/busybox", False),
        ("runc-wrapper", "/app/runc-wrapper", False),
        ("x", "/memfd:x", False),
    ],
)
def test_prepares_container(comm: str, executable: str, prepares: bool) -> None:
    """A container's own program is told from the runtime that prepares it."""
    assert procfs.prepares_container(comm, executable) is prepares


def test_the_host(tmp_path: Path) -> None:
    """Boot, host and name are told by their files; what is absent is None."""
    assert procfs.boot_id(PROC) == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert procfs.hostname(PROC)
    assert (procfs.boot_id(tmp_path), procfs.hostname(tmp_path), procfs.host_id(tmp_path)) == (None, None, None)
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/product_uuid").write_text("aaaa\n")
    assert procfs.host_id(tmp_path) == "aaaa"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("bbbb\n")
    assert procfs.host_id(tmp_path) == "bbbb"


@pytest.mark.parametrize(("same", "name"), [(True, "agents-pod"), (False, "node-1")])
def test_hostname_from_another_namespace(tmp_path: Path, same: bool, name: str) -> None:
    """In a UTS namespace of its own, an agent is told its pod's name by the kernel; the host's stands elsewhere."""
    for pid, namespace in (("self", "uts:[1]"), ("1", "uts:[1]" if same else "uts:[2]")):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns/uts").symlink_to(namespace)
    (tmp_path / "1/root/etc").mkdir(parents=True)
    (tmp_path / "1/root/etc/hostname").write_text("node-1\n")
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/hostname").write_text("agents-pod\n")
    assert procfs.hostname(tmp_path) == name
