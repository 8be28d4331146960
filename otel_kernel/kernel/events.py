"""What the kernel told us: one immutable value per record of `bpf/include/record.h`, decoded.

All times are nanoseconds of CLOCK_BOOTTIME. A process is named by its host PID *and* the time it was forked, because
PIDs are reused. A text that was too long for its record ends in an ellipsis, a path without its beginning begins with
one.
NamedTuples, not dataclasses: thousands are made for each pod and a tuple costs a fifth of a frozen dataclass.
"""

from enum import IntEnum
from typing import NamedTuple


class Role(IntEnum):
    """What a process was to us at the time of a record."""

    CANDIDATE = 1  # forked by a daemon, has not exec'd yet
    LINEAGE = 2  # takes part in a birth
    DAEMON = 3  # a runtime daemon, a shim after its hand-over, or the kubelet


class Decision(IntEnum):
    """Why an exec put, kept or ended a process in a birth (design section 3)."""

    INHERITED = 0  # a later exec, or a process forked inside a lineage
    SHIM_START = 1
    RUNTIME = 2  # create, run, start, restore
    CNI_ADD = 3
    VOLUMES = 4  # the kubelet's mount, umount, systemd-run
    ENTRY_POINT = 5  # the root changed and the container's own program runs


class Ending(IntEnum):
    """How a process left a birth."""

    EXIT = 1
    ENTRY_POINT = 2  # its execve of the container's program returned
    HANDED_OVER = 3  # a shim became a daemon
    NOT_BIRTH = 4  # a candidate's first exec decided against it, or it exited without one


class Fork(NamedTuple):
    """A process (not a thread) was forked inside a lineage. A candidate's fork is told by its first `Exec`."""

    ns: int
    pid: int
    process_start_ns: int
    parent_pid: int
    parent_start_ns: int
    parent_thread_id: int
    vpid: int  # its PID in its own PID namespace
    clone_flags: int
    cgroup_id: int


class Exec(NamedTuple):
    """A successful execve of a process in a lineage (or of a candidate, by which it joins one)."""

    ns: int
    pid: int
    process_start_ns: int
    parent_pid: int
    parent_start_ns: int
    old_thread_id: int  # the thread that called execve
    vpid: int
    decision: Decision
    cgroup_id: int
    filename: str
    arguments: tuple[str, ...]  # possibly cut at the kernel side's limit, see `truncated`
    environment: tuple[tuple[str, str], ...]  # CNI_* only
    working_directory: str
    truncated: bool


class End(NamedTuple):
    """A process left the birth; its exact counts from fork to this moment."""

    ns: int
    pid: int
    process_start_ns: int
    ending: Ending
    exit_status: int  # as wait(2) tells it; meaningful for Ending.EXIT
    syscalls: int
    threads: int  # further threads it made
    openat: int
    openat_errors: int
    cgroup_writes: int


class Call(NamedTuple):
    """One drawn system call: of the families in design section 3, of a lineage or a daemon."""

    start_ns: int
    end_ns: int
    pid: int
    process_start_ns: int
    thread_id: int  # at return
    entry_thread_id: int
    cgroup_id: int
    role: Role
    name: str  # exact: `clone3`, not `clone`
    return_value: int | None  # None: never returned
    arguments: tuple[int, ...]  # six raw registers; clone3: [0] is clone_args.flags
    source: str | None  # mount: source; pivot_root: new_root; move_mount: from; fsconfig: key
    # Target of mount and umount2, put_old of pivot_root, `to` of move_mount, path of open_tree and mount_setattr, file
    # of execve, value of fsconfig.
    target: str | None
    filesystem_type: str | None  # mount, fsopen
    data: str | None  # mount: data (cut)
    child_pid: int  # clone family: host PID of the new process, else 0
    namespaces: tuple[tuple[str, int], ...]  # clone, unshare, setns: (type, resulting inode)
    unread: int  # strings that were readable neither at entry nor at exit


class Wait(NamedTuple):
    """Any other call of a lineage task that took 1 ms or longer."""

    start_ns: int
    end_ns: int
    pid: int
    process_start_ns: int
    thread_id: int
    cgroup_id: int
    name: str
    return_value: int | None
    arguments: tuple[int, ...]
    path: str | None  # openat, openat2: what was opened


class CgroupChange(NamedTuple):
    """A pod's cgroup, or one below it, in the v2 hierarchy was made, removed, or got a task; by whomever."""

    ns: int
    action: str  # `mkdir`, `rmdir`, `attach`
    cgroup_id: int
    path: str  # from the root of the hierarchy
    pid: int  # attach: the process that was moved; else the one that acted


class CgroupWrite(NamedTuple):
    """A daemon's successful write to a file of a cgroup file system. Those of lineages are counted in `End`."""

    ns: int
    pid: int
    process_start_ns: int
    thread_id: int
    path: str


THROTTLED_TOLD = 128  # intervals of each cgroup, the first


class Throttled(NamedTuple):
    """A pod's or container's cgroup had no CPU time left on one CPU: its limit was used up until the next period."""

    start_ns: int
    end_ns: int
    cgroup_id: int  # the pod's own or a container's
    cpu: int
    number: int  # of this cgroup's, from 0; below THROTTLED_TOLD


class Loss(NamedTuple):
    """The kernel side's cumulative loss counters, whenever they were read. Not a record: the agent feeds it."""

    ns: int
    lost: int  # failed reserves and full maps
    probe_misses: int  # recursion_misses of all programs


Event = Fork | Exec | End | Call | Wait | CgroupChange | CgroupWrite | Throttled | Loss
