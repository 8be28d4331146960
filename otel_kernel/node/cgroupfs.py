"""Where the cgroup hierarchies are, and which directories they hold.

Source: cgroups(7), Documentation/admin-guide/cgroup-v2.rst.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

# Of a host without v2: those that the kubelet and every runtime use, so a pod is in each of them.
_V1_CONTROLLERS = ("pids", "memory", "cpu,cpuacct", "cpu", "systemd")
# Itself and its name above; each directory in it adds one (fs/kernfs/inode.c).
_LINKS_OF_A_LEAF = 2


class Kind(StrEnum):
    """Which hierarchies a host has."""

    V2 = "v2"
    HYBRID = "hybrid"  # v1 controllers, and v2 beside them
    V1 = "v1"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The hierarchy to look at for pods: v2 wherever the host has it."""

    kind: Kind
    root: Path


class NoCgroupsError(OSError):
    """No cgroup hierarchy is mounted there."""


def hierarchy(cgroup_root: Path) -> Hierarchy:
    """Return the hierarchy below `cgroup_root`. Raises NoCgroupsError."""
    if _is_v2(cgroup_root):
        return Hierarchy(Kind.V2, cgroup_root)
    if _is_v2(cgroup_root / "unified"):
        return Hierarchy(Kind.HYBRID, cgroup_root / "unified")
    for controller in _V1_CONTROLLERS:
        if (cgroup_root / controller / "cgroup.procs").exists():
            return Hierarchy(Kind.V1, cgroup_root / controller)
    raise NoCgroupsError(f"no cgroup hierarchy is mounted at {cgroup_root}")


def walk(root: Path, descend: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """Yield the cgroup id and path of each directory below `root`, a directory before those in it.

    The id is the inode number, as `bpf_get_current_cgroup_id` tells it; the path counts from the hierarchy's root.
    Below a path for which `descend` is False nothing is looked at. What disappears meanwhile is left out.
    """
    pending = [""]
    while pending:
        for inode, path in children(root, pending.pop()):
            yield inode, path
            if descend(path):
                pending.append(path)


def children(root: Path, path: str) -> list[tuple[int, str]]:
    """Return the cgroup id and path of each directory in `path`, the oldest first; none when it is gone."""
    try:
        with os.scandir(root / path.lstrip("/")) as entries:
            found = [(entry.inode(), entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [(inode, f"{path}/{name}") for inode, name in sorted(found)]  # ids rise (fs/kernfs/dir.c)


def is_leaf(directory: str) -> bool:
    """Whether no cgroup is below this one, or it is gone."""
    try:
        return Path(directory).stat().st_nlink <= _LINKS_OF_A_LEAF
    except OSError:
        return True


def cgroup_id(root: Path, path: str) -> int | None:
    """Return the cgroup's id, or None when it is gone."""
    try:
        return (root / path.lstrip("/")).stat().st_ino
    except OSError:
        return None


def processes(root: Path, path: str) -> tuple[int, ...]:
    """Return the PIDs of a container's processes, none when it is gone (`cgroup.procs`)."""
    # crun puts them one directory further down.
    return _processes(root / path.lstrip("/")) or _processes(root / path.lstrip("/") / "container")


def is_populated(root: Path, path: str) -> bool:
    """Whether a cgroup or one below it holds a process (`cgroup.events`, v2 only); False when it is gone."""
    try:
        return "populated 1" in (root / path.lstrip("/") / "cgroup.events").read_text()
    except OSError:
        return False


def _processes(directory: Path) -> tuple[int, ...]:
    try:
        with (directory / "cgroup.procs").open() as file:
            # A PID of 0 is a process that this PID namespace does not see.
            return tuple(pid for line in file if (pid := int(line)) > 0)
    except OSError:
        return ()


def _is_v2(path: Path) -> bool:
    # Only the root of a v2 hierarchy and its cgroups have this file (cgroup-v2.rst, "Core Interface Files").
    return (path / "cgroup.controllers").is_file()
