"""The namespaces that the node itself is in: what a pod shares with it is not the pod's own."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from otel_kernel.node import pid_namespace, procfs
from otel_kernel.pods import cgroup_path

log = logging.getLogger(__name__)


def find(proc_root: Path) -> Mapping[str, int]:
    """Return the inode numbers of the node's namespaces by kind; nothing when no process of the node may be asked."""
    found = next((told for pid in _candidates(proc_root) if (told := procfs.namespaces(proc_root, pid))), {})
    if not found:
        log.warning("the node's namespaces may not be read: no network counters and no namespaces of pods")
    return found


def open_network(proc_root: Path) -> int | None:
    """Return a descriptor of the node's network namespace, the caller's to close; None when nobody may be asked."""
    for pid in _candidates(proc_root):
        with suppress(OSError):
            return os.open(proc_root / str(pid) / "ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return None


def _candidates(proc_root: Path) -> Iterator[int]:
    daemons = [daemon.pid for daemon in procfs.daemons(proc_root, frozenset(), cgroup_path.in_pod)]
    is_nodes = pid_namespace.shows_kernels(proc_root)
    # Who has fewer capabilities than the node's first process may not ask that one (ptrace(2), access mode checking).
    # In another PID namespace, with no runtime in it, it is anybody.
    if is_nodes or daemons:
        yield 1
    own = procfs.cgroups(proc_root, os.getpid()).values()
    if is_nodes and proc_root == Path("/proc") and not any(map(cgroup_path.in_pod, own)):
        yield os.getpid()
    yield from daemons
