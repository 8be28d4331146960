"""Where the node's files are: the same for both sources."""

from dataclasses import dataclass
from pathlib import Path

from otel_kernel.node import cgroupfs
from otel_kernel.settings import Observation


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
    """Return the host's root directory: that of its first process, where the host's /proc is mounted elsewhere."""
    return Path("/") if proc_root == Path("/proc") else proc_root / "1" / "root"
