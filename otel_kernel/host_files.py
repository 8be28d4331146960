"""Where the node's files are: the same for both sources."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from otel_kernel.node import cgroupfs, pid_namespace, procfs
from otel_kernel.pods import cgroup_path
from otel_kernel.settings import Observation

OWN_PROC = Path("/proc")
OUTSIDE = (
    "/proc shows another PID namespace than the node's: no names from bundles for pods that are there already, "
    "no mounts, namespaces, network counters and dropped packets of pods"
)


class Hidden(NamedTuple):
    """Something that cannot be seen: what follows from it, and what would show it."""

    why: str
    enable: str


@dataclass(frozen=True, slots=True)
class HostFiles:
    """Where the node's files are, as this process sees them."""

    root: Path
    proc_root: Path
    hierarchy: Path  # the cgroup hierarchy of pods
    hierarchy_kind: cgroupfs.Kind
    runtimes: frozenset[str]  # further executables that count as runtime daemons


def find(observation: Observation) -> HostFiles:
    """Return where they are. Raises NoCgroupsError when no cgroup hierarchy is mounted there."""
    hierarchy = cgroupfs.hierarchy(observation.cgroup_root)
    proc_root = observation.proc_root
    return HostFiles(root(proc_root), proc_root, hierarchy.root, hierarchy.kind, frozenset(observation.runtimes))


def root(proc_root: Path) -> Path:
    """Return the host's root directory: that of its first process, where the host's /proc is mounted elsewhere.

    Ours, where that one may not be entered.
    """
    host = proc_root / "1" / "root"
    return host if proc_root != OWN_PROC and os.access(host, os.X_OK) else Path("/")


def hidden(files: HostFiles) -> Iterator[Hidden]:
    """Yield what of the node cannot be seen in these files."""
    if not pid_namespace.shows_kernels(files.proc_root) and not daemons(files):
        yield Hidden(OUTSIDE, "the host's PID namespace (hostPID), or OTEL_KERNEL_PROC_ROOT=<the host's /proc>")
    if files.proc_root != OWN_PROC and files.root == Path("/"):
        first = files.proc_root / "1" / "root"
        yield Hidden(f"{first} may not be entered: the host's files are looked for below /", "CAP_SYS_PTRACE")


def daemons(files: HostFiles) -> list[procfs.Daemon]:
    """Return the runtime daemons that these files show."""
    return procfs.daemons(files.proc_root, files.runtimes, cgroup_path.in_pod)
