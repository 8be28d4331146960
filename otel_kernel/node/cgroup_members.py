"""Which processes are in a cgroup? By the PIDs that /proc shows."""

import time
from collections.abc import Mapping
from pathlib import Path

from otel_kernel.node import cgroupfs, pid_namespace, procfs

# Of the time, at most such a part goes into looking through /proc.
_SHARE_OF_LOOKS = 20


class CgroupMembers:
    """Reads cgroup.procs; where its PIDs are not those of /proc, asks each process in /proc for its cgroup."""

    def __init__(self, hierarchy: Path, proc_root: Path) -> None:
        self.proc_root = proc_root
        self.in_cgroup_procs = pid_namespace.shows_ours(proc_root)
        self._hierarchy = hierarchy
        self._found: Mapping[str, list[int]] = {}
        self._look_again_ns = 0

    def of(self, path: str) -> tuple[int, ...]:
        """Return the processes of a container as far as they are known, none when it is gone."""
        if self.in_cgroup_procs:
            return cgroupfs.processes(self._hierarchy, path)
        now_ns = time.monotonic_ns()
        if now_ns >= self._look_again_ns:
            self._found = self._look()
            ended_ns = time.monotonic_ns()
            self._look_again_ns = ended_ns + (ended_ns - now_ns) * _SHARE_OF_LOOKS
        return tuple(self._found.get(path) or self._found.get(f"{path}/container") or ())  # as crun has them

    def _look(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for pid in procfs.pids(self.proc_root):
            for path in set(procfs.cgroups(self.proc_root, pid).values()):
                found.setdefault(path, []).append(pid)
        return found
