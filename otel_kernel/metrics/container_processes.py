"""The processes of containers: how many, and one of each to look through."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from otel_kernel.metrics.judge import Judge
from otel_kernel.node import cgroupfs, open_files
from otel_kernel.node.cgroup_members import CgroupMembers
from otel_kernel.node.open_files import OpenFiles
from otel_kernel.node.process_directory import ProcessDirectory
from otel_kernel.pods import cgroup_path

T = TypeVar("T")

# What runs in a container that has cgroups of its own (systemd, another runtime) is below its cgroup. More than so many
# are not looked at: a container may make as many as it likes.
_CGROUPS_BELOW = 64


class ContainerProcesses:
    """Reads cgroup.procs and holds one process of each container. Owns their directories."""

    def __init__(self, hierarchy: str, proc_root: Path, files: OpenFiles, judge: Judge) -> None:
        self._hierarchy = hierarchy
        self._procs = files.place(hierarchy, "cgroup.procs")
        self._members = CgroupMembers(Path(hierarchy), proc_root)
        self._files = files
        self._judge = judge
        self._held: dict[str, ProcessDirectory] = {}
        self._pids: dict[str, tuple[int, ...]] = {}

    def count(self, container_id: str, path: str) -> int | None:
        """Return how many processes a container has; None when it is gone."""
        pids = self._judge.call("cgroup.procs", self._read, path)
        self._pids[container_id] = (pids or ()) if self._members.in_cgroup_procs else self._members.of(path)
        return None if pids is None else len(pids)

    def holds(self, container_id: str) -> bool:
        """Whether a process of the container has been found to look through."""
        return container_id in self._held

    def look(self, container_id: str, what: str, read: Callable[[ProcessDirectory], T]) -> T | None:
        """Return what is read of one process of the container, as counted last; None when there is none."""
        held = self._held.get(container_id)
        if held is not None:
            found = self._judge.call(what, read, held)
            if found is not None:
                return found
            self._let_go(container_id)
        proven = self._prove(container_id)
        return None if proven is None else self._judge.call(what, read, proven)

    def forget(self, container_id: str) -> None:
        """Forget a container that is gone."""
        self._let_go(container_id)
        self._pids.pop(container_id, None)

    def close(self) -> None:
        """Let go of all processes."""
        for container_id in tuple(self._held):
            self._let_go(container_id)

    def _read(self, path: str) -> tuple[int, ...]:
        return self._files.parsed(path, self._procs, _pids) or tuple(self._below(f"{self._hierarchy}{path}"))

    @staticmethod
    def _below(directory: str) -> Iterator[int]:
        if cgroupfs.is_leaf(directory):
            return
        for _, path in islice(cgroupfs.walk(Path(directory), lambda _: True), _CGROUPS_BELOW):
            # One that has gone meanwhile has no processes.
            with suppress(OSError):
                yield from _pids(open_files.read(f"{directory}{path}/cgroup.procs"))

    def _let_go(self, container_id: str) -> None:
        process = self._held.pop(container_id, None)
        if process is not None:
            process.close()

    def _prove(self, container_id: str) -> ProcessDirectory | None:
        # Between two readings a PID may have gone to another: it is held first, and then asked whose it is.
        for pid in filter(None, self._pids.get(container_id, ())):
            process = self._judge.call("/proc/PID", ProcessDirectory, self._members.proc_root, pid)
            if process is None:
                continue
            paths = self._judge.call("/proc/PID/cgroup", process.cgroups) or ()
            if any(_container(path) == container_id for path in paths):
                self._held[container_id] = process
                return process
            process.close()
        return None


def _pids(content: bytes) -> tuple[int, ...]:
    """Return the PIDs in a cgroup.procs; 0 for a process that this PID namespace does not see."""
    return tuple(int(line) for line in content.split(b"\n")[:-1] if line.isdigit())


def _container(path: str) -> str | None:
    parsed = cgroup_path.parse(path)
    return parsed.container_id if parsed is not None else None
