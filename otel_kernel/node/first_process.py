"""The first process of a container, and the shim or conmon above it, as /proc shows them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from otel_kernel.node import procfs

# Container, runtime, its parent: a supervisor is no further up.
_HIGHEST_ANCESTOR = 6


class ProcessSeen(NamedTuple):
    """A container's process, as it was when looked at. Told again when its program has changed."""

    ns: int  # of CLOCK_BOOTTIME, when it was noticed
    path: str  # the container's cgroup
    pid: int
    start_ns: int
    command: str
    executable: str | None
    is_runtime: bool  # it still prepares the container; its own program comes later


class SupervisorSeen(NamedTuple):
    """The shim or conmon above a container's process."""

    ns: int
    path: str  # the container's cgroup
    pid: int
    start_ns: int
    executable: str
    arguments: tuple[str, ...]
    working_directory: str


def first(proc_root: Path, pids: Iterable[int], path: str, ns: int) -> ProcessSeen | None:
    """Return the first process among a container's: of those that are no longer the runtime, if there are any."""
    seen = [process for pid in pids if (process := _process(proc_root, pid, path, ns)) is not None]
    return min(seen, key=lambda process: (process.is_runtime, process.start_ns, process.pid), default=None)


def supervisor(proc_root: Path, below: ProcessSeen, in_pod: Callable[[str], bool]) -> SupervisorSeen | None:
    """Return the supervisor above a container's process, None when it is not found."""
    pid = below.pid
    for _ in range(_HIGHEST_ANCESTOR):
        about = procfs.stat(proc_root, pid)
        executable = procfs.executable(proc_root, pid)
        if about is None or executable is None:
            return None
        # A pod's own program may be called `containerd-shim`.
        is_shim = procfs.kind(executable, about.comm) is procfs.Kind.SHIM
        if is_shim and not any(in_pod(path) for path in procfs.cgroups(proc_root, pid).values()):
            where = procfs.working_directory(proc_root, pid) or ""
            start_ns, arguments = procfs.start_ns(about.start_ticks), procfs.arguments(proc_root, pid)
            return SupervisorSeen(below.ns, below.path, pid, start_ns, executable, arguments, where)
        pid = about.parent_pid
    return None


def _process(proc_root: Path, pid: int, path: str, ns: int) -> ProcessSeen | None:
    about = procfs.stat(proc_root, pid)
    executable = procfs.executable(proc_root, pid)
    if about is None or executable is None:
        return None
    is_runtime = procfs.prepares_container(about.comm, executable)
    return ProcessSeen(ns, path, pid, procfs.start_ns(about.start_ticks), about.comm, executable, is_runtime)
