"""Pods' cgroups come and go, and programs start in them: seen by inotify and in /proc, without BPF.

Files tell less than the kernel does: when something was *noticed*, and nothing of what came and went between two looks.
"""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from otel_kernel.node import cgroupfs, first_process, inotify
from otel_kernel.node.cgroup_members import CgroupMembers
from otel_kernel.node.first_process import ProcessSeen, SupervisorSeen

# How often a container that has not yet started its own program is looked at: at first as often as costs nothing
# (a look is two small files), then less often, in proportion to how long it has taken.
SHORTEST_LOOK_NS = 20_000_000
_LOOK_AGE_SHARE = 100
_LONGEST_LOOK_NS = 1_000_000_000


class CgroupSeen(NamedTuple):
    """A directory below the hierarchy's root was there at the start, was made, or was removed."""

    ns: int  # of CLOCK_BOOTTIME, when it was noticed; so with all observations
    action: str  # `existing`, `mkdir`, `rmdir`
    cgroup_id: int | None  # None: it was gone before it could be asked
    path: str  # from the root of the hierarchy


class CgroupEmptied(NamedTuple):
    """The last process of a container ended."""

    ns: int
    path: str


class Missed(NamedTuple):
    """Something could not be seen; what is missing is not known."""

    ns: int
    reason: str


Observation = CgroupSeen | ProcessSeen | SupervisorSeen | CgroupEmptied | Missed


@dataclass(frozen=True, slots=True)
class Layout:
    """Where to look, by paths from the hierarchy's root."""

    may_hold_pods: Callable[[str], bool]  # whether directories in this one matter
    is_container: Callable[[str], bool]
    in_pod: Callable[[str], bool]  # whether what runs there is a pod's


@dataclass(slots=True)
class _Awaited:
    """A container whose own program has not been seen."""

    since_ns: int
    due_ns: int
    last: tuple[object, ...] = ()
    supervised: bool = False


def boot_ns() -> int:
    """Return nanoseconds of CLOCK_BOOTTIME."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Watch:
    """Watches one hierarchy; a context manager. Raises OSError when the hierarchy's root cannot be watched."""

    def __init__(self, hierarchy_root: Path, proc_root: Path, layout: Layout) -> None:
        self._root = hierarchy_root
        self._proc = proc_root
        self._members = CgroupMembers(hierarchy_root, proc_root)
        self._layout = layout
        self._inotify = inotify.Inotify()
        self._known: dict[str, int | None] = {}
        self._paths: dict[int, str] = {}  # by watch: directories, and containers by their cgroup.events
        self._watches: dict[str, list[int]] = {}
        self._awaited: dict[str, _Awaited] = {}
        self._populated: set[str] = set()
        self._found: list[Observation] = []
        try:
            self._watch_directory("")
        except OSError:
            self.close()
            raise
        self._enter("", "existing", boot_ns())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return a descriptor that is readable when directories have changed; programs are found by `poll` alone."""
        return self._inotify.fileno()

    def close(self) -> None:
        """End all watches."""
        self._inotify.close()

    @property
    def next_look_ns(self) -> int | None:
        """The boot time at which `poll` wants to be called again even if nothing has changed; None: no need."""
        return min((awaited.due_ns for awaited in self._awaited.values()), default=None)

    def poll(self, timeout_s: float) -> list[Observation]:
        """Return what has been noticed since the last call, waiting for it at most `timeout_s` seconds."""
        if not self._found:
            due_ns = self.next_look_ns
            until_due_s = timeout_s if due_ns is None else (due_ns - boot_ns()) / 1e9
            self._inotify.wait(max(0.0, min(timeout_s, until_due_s)))
        changes = self._inotify.changes()
        ns = boot_ns()  # read after them: something may change between the wait and the reading
        for change in changes:
            self._changed(change, ns)
        for path in [path for path, awaited in self._awaited.items() if awaited.due_ns <= ns]:
            self._look(path, ns)
        found, self._found = self._found, []
        return found

    def _changed(self, change: inotify.Change, ns: int) -> None:
        if change.kind is inotify.Kind.OVERFLOW:
            self._look_again(ns)
            return
        parent = self._paths.get(change.watch)
        if parent is None:
            return
        path = f"{parent}/{change.name}"
        match change.kind:
            case inotify.Kind.MADE if path not in self._known:
                self._appear(path, cgroupfs.cgroup_id(self._root, path), "mkdir", ns)
            case inotify.Kind.REMOVED if path in self._known:
                self._vanish(path, ns)
            case inotify.Kind.MODIFIED:
                self._population(parent, ns)

    def _enter(self, path: str, action: str, ns: int) -> None:
        # What is in a directory that has just come under watch may have come before the watch did.
        children = cgroupfs.children(self._root, path)
        seen_ns = max(ns, boot_ns())
        for cgroup_id, child in children:
            if child not in self._known:
                self._appear(child, cgroup_id, action, seen_ns)

    def _appear(self, path: str, cgroup_id: int | None, action: str, ns: int) -> None:
        self._known[path] = cgroup_id
        self._found.append(CgroupSeen(ns, action, cgroup_id, path))
        try:
            if self._layout.is_container(path):
                self._await(path, ns)
            elif self._layout.may_hold_pods(path):
                self._watch_directory(path)
                self._enter(path, action, ns)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                self._found.append(Missed(ns, error.strerror or "a directory could not be watched"))

    def _vanish(self, path: str, ns: int) -> None:
        self._found.append(CgroupSeen(ns, "rmdir", self._known.pop(path), path))
        self._awaited.pop(path, None)
        self._populated.discard(path)
        for watch in self._watches.pop(path, ()):
            self._inotify.unwatch(watch)
            self._paths.pop(watch, None)

    def _look_again(self, ns: int) -> None:
        self._found.append(Missed(ns, "the queue of inotify was full"))
        there = {path: cgroup_id for cgroup_id, path in cgroupfs.walk(self._root, self._layout.may_hold_pods)}
        for path in sorted(self._known.keys() - there.keys(), reverse=True):
            self._vanish(path, ns)
        for path, cgroup_id in there.items():
            if path not in self._known:
                self._appear(path, cgroup_id, "mkdir", ns)

    def _watch_directory(self, path: str) -> None:
        self._register(path, self._inotify.watch_directory(self._file(path)))

    def _await(self, path: str, ns: int) -> None:
        self._awaited[path] = _Awaited(ns, ns)
        # v1 has no such file: there, that a container is empty shows by its removal.
        self._register(path, self._inotify.watch_file(self._file(f"{path}/cgroup.events")))
        self._population(path, ns)

    def _register(self, path: str, watch: int) -> None:
        self._paths[watch] = path
        self._watches.setdefault(path, []).append(watch)

    def _file(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))  # noqa: PTH118 - names of cgroups need not be valid UTF-8

    def _population(self, path: str, ns: int) -> None:
        populated = cgroupfs.is_populated(self._root, path)
        if populated:
            self._populated.add(path)
            if path in self._awaited:
                self._awaited[path].due_ns = ns
        elif path in self._populated:
            self._populated.remove(path)
            self._found.append(CgroupEmptied(ns, path))

    def _look(self, path: str, ns: int) -> None:
        awaited = self._awaited[path]
        awaited.due_ns = ns + min(max(SHORTEST_LOOK_NS, (ns - awaited.since_ns) // _LOOK_AGE_SHARE), _LONGEST_LOOK_NS)
        process = first_process.first(self._proc, self._members.of(path), path, ns)
        if process is None:
            return
        # The kernel may tell that it came, and at once that it ended, only after both (kernel/cgroup/cgroup.c,
        # cgroup_file_notify).
        self._populated.add(path)
        if not awaited.supervised:
            supervisor = first_process.supervisor(self._proc, process, self._layout.in_pod)
            awaited.supervised = supervisor is not None
            self._found += [supervisor] if supervisor is not None else []
        if awaited.last != process[2:]:
            awaited.last = process[2:]
            self._found.append(process)
        if not process.is_runtime:
            del self._awaited[path]
