"""What /proc says of processes and of the host. That a process is gone is normal, and told as None.

Source: proc(5). The root is a parameter: an agent in a container sees the host's /proc elsewhere.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

# TASK_COMM_LEN of include/linux/sched.h, without its NUL: /proc tells longer names cut.
_LONGEST_COMM = 15
RUNTIMES = frozenset({"containerd", "crio", "dockerd", "k3s", "k3s-server", "k3s-agent", "rke2"})
MONITORS = frozenset({"conmon", "conmonrs"})  # CRI-O's, one for each container
KUBELET = "kubelet"
_INITS = frozenset({"runc", "crun", "youki", "nvidia-container-runtime"})
_INIT_COPIES = ("/memfd:runc", "/memfd:crun", "/memfd:libcrun")
_INIT_NAMES = ("runc:[", "[libcrun:", "youki:[")
_LARGEST_FILE = 1 << 20
_NS_PER_S = 1_000_000_000
_NS_PER_TICK = _NS_PER_S // os.sysconf("SC_CLK_TCK")


class Kind(StrEnum):
    """What a daemon is to pods."""

    RUNTIME = "runtime"
    SHIM = "shim"  # and conmon
    KUBELET = "kubelet"


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that was there at the start and whose children can begin births."""

    pid: int
    start_ticks: int  # clock ticks after boot, see `start_ns`
    name: str
    kind: Kind
    threads: tuple[int, ...]


class Stat(NamedTuple):
    """The fields of /proc/<pid>/stat that tell who a process is."""

    comm: str
    state: str  # one letter, `Z` for a zombie
    parent_pid: int
    start_ticks: int


def daemons(proc_root: Path, extra: frozenset[str], in_pod: Callable[[str], bool]) -> list[Daemon]:
    """Return the runtime daemons, shims and kubelets that are no pod's.

    `extra` are further executables that count as runtimes; `in_pod` says of a cgroup's path whether what runs there is
    a pod's.
    """
    found = (_daemon(proc_root, pid, extra, in_pod) for pid in pids(proc_root))
    return [daemon for daemon in found if daemon is not None]


def pids(proc_root: Path) -> Iterator[int]:
    """Yield the PIDs that are in /proc. Raises OSError when there is no such directory."""
    return (int(entry.name) for entry in proc_root.iterdir() if entry.name.isdecimal() and entry.name.isascii())


def stat(proc_root: Path, pid: int) -> Stat | None:
    """Return who a process is."""
    content = _read(proc_root / str(pid) / "stat")
    # A process chooses its own name: spaces, brackets and newlines in it are allowed, so the last bracket ends it.
    head, _, tail = (content or "").rpartition(")")
    fields = tail.split()
    if len(fields) < 20:  # noqa: PLR2004 - proc_pid_stat(5): starttime is field 22, two come before the state
        return None
    return Stat(head.partition("(")[2], fields[0], int(fields[1]), int(fields[19]))


def start_ns(start_ticks: int) -> int:
    """Return a start time in nanoseconds of CLOCK_BOOTTIME, at most one clock tick (10 ms) early."""
    return start_ticks * _NS_PER_TICK


def threads(proc_root: Path, pid: int) -> tuple[int, ...]:
    """Return the ids of a process's threads, none when it is gone."""
    try:
        return tuple(sorted(int(task.name) for task in (proc_root / str(pid) / "task").iterdir()))
    except OSError:
        return ()


def executable(proc_root: Path, pid: int) -> str | None:
    """Return the path of a process's program; None for one that is gone, is a kernel thread, or may not be asked."""
    path = _link(proc_root / str(pid) / "exe")
    return path and path.removesuffix(" (deleted)")


def arguments(proc_root: Path, pid: int) -> tuple[str, ...]:
    """Return a process's arguments, none when it is gone or a zombie."""
    content = _read(proc_root / str(pid) / "cmdline")
    return tuple(content.removesuffix("\0").split("\0")) if content else ()


def working_directory(proc_root: Path, pid: int) -> str | None:
    """Return a process's working directory as it sees it itself."""
    return _link(proc_root / str(pid) / "cwd")


def cgroup(proc_root: Path, pid: int) -> str | None:
    """Return a process's path in the v2 hierarchy, as the reader's cgroup namespace tells it."""
    return cgroups(proc_root, pid).get("")


def cgroups(proc_root: Path, pid: int) -> dict[str, str]:
    """Return a process's paths by hierarchy: v1 ones by their list of controllers, v2 as the empty string."""
    lines = (_read(proc_root / str(pid) / "cgroup") or "").splitlines()
    fields = (line.split(":", 2) for line in lines)
    return {controllers: path for _, controllers, path in (field for field in fields if len(field) == 3)}  # noqa: PLR2004


def namespaces(proc_root: Path, pid: int) -> dict[str, int]:
    """Return the inode numbers of a process's namespaces by type (`net`, `mnt`, `pid`, ...)."""
    try:
        return {link.name: link.stat().st_ino for link in (proc_root / str(pid) / "ns").iterdir()}
    except OSError:
        return {}


def boot_id(proc_root: Path) -> str | None:
    """Return the id that the kernel made for this boot (random(4))."""
    return _line(proc_root / "sys/kernel/random/boot_id")


def hostname(proc_root: Path) -> str | None:
    """Return the name of the host, whichever UTS namespace the reader is in."""
    # The kernel tells everyone the name of the reader's own namespace (kernel/utsname_sysctl.c).
    own, host = (_link(proc_root / pid / "ns/uts") for pid in ("self", "1"))
    files = ("sys/kernel/hostname", "1/root/etc/hostname")
    return next((line for path in (files if own == host else files[::-1]) if (line := _line(proc_root / path))), None)


def host_id(host_root: Path) -> str | None:
    """Return the id of the host: machine-id(5), else the mainboard's UUID; None when neither is there."""
    candidates = ("etc/machine-id", "var/lib/dbus/machine-id", "sys/class/dmi/id/product_uuid")
    return next((line for path in candidates if (line := _line(host_root / path))), None)


def kind(executable_path: str, comm: str, extra: frozenset[str] = frozenset()) -> Kind | None:
    """Return what a program or name says a process is, None when it is no daemon. `extra` count as runtimes."""
    return next((found for name in (_base(executable_path), comm) if (found := _kind(name, extra)) is not None), None)


def prepares_container(comm: str, executable_path: str) -> bool:
    """Whether a process in a container's cgroup is still the runtime that prepares it.

    runc calls its stages `runc:[2:INIT]` (libcontainer/nsenter/nsexec.c). Both it and crun run from a copy of
    themselves: a memfd, or a mount that is attached nowhere, whose path the kernel tells as `/`.
    """
    is_copy = executable_path == "/" or executable_path.startswith(_INIT_COPIES)
    return is_copy or comm.startswith(_INIT_NAMES) or _base(executable_path) in _INITS


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _daemon(proc_root: Path, pid: int, extra: frozenset[str], in_pod: Callable[[str], bool]) -> Daemon | None:
    about = stat(proc_root, pid)
    path = executable(proc_root, pid)
    # Without a program it is a kernel thread or a zombie; whatever it is called, it starts nothing.
    if about is None or path is None:
        return None
    found = kind(path, about.comm, extra)
    if found is None or any(in_pod(cgroup_path) for cgroup_path in cgroups(proc_root, pid).values()):
        return None
    name = _base(path) if _kind(_base(path), extra) is not None else about.comm
    return Daemon(pid, about.start_ticks, name, found, threads(proc_root, pid))


def _kind(name: str, extra: frozenset[str]) -> Kind | None:
    if name.startswith("containerd-shim") or name in MONITORS:
        return Kind.SHIM
    if name == KUBELET:
        return Kind.KUBELET
    is_extra = name in extra or (len(name) == _LONGEST_COMM and any(wanted.startswith(name) for wanted in extra))
    return Kind.RUNTIME if name in RUNTIMES or is_extra else None


def _link(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def _line(path: Path) -> str | None:
    return (_read(path) or "").strip() or None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(_LARGEST_FILE))
    except OSError:
        return None
