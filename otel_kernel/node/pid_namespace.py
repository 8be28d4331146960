"""Whose PIDs does a /proc show? Those of the PID namespace that it was mounted in (pid_namespaces(7)).

BPF tells the kernel's own, those of the initial namespace; cgroup.procs tells those of whoever reads it.
"""

import re
from pathlib import Path

from otel_kernel.node import procfs

_INITIAL = 0xEFFFFFFC  # PROC_PID_INIT_INO of include/linux/proc_ns.h, since 3.8
_NSPID = re.compile(r"^NSpid:\s*(\d+)$", re.MULTILINE)


def shows_kernels(proc_root: Path) -> bool:
    """Whether its PIDs are those that BPF tells: a process of the initial namespace is in it, which no other shows."""
    return any(_inode(proc_root, name) == _INITIAL for name in ("self", "1", *map(str, procfs.pids(proc_root))))


def shows_ours(proc_root: Path) -> bool:
    """Whether its PIDs are those that this process reads in a cgroup.procs."""
    # Its ids from the namespace of that /proc to its own (proc_pid_status(5)): one when they are the same.
    try:
        return _NSPID.search((proc_root / "self/status").read_text()) is not None
    except OSError:  # it is not in there at all
        return False


def _inode(proc_root: Path, process: str) -> int | None:
    try:
        return (proc_root / process / "ns/pid").stat().st_ino
    except OSError:
        return None
