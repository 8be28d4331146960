"""The catalogue's rows of what is counted by eBPF."""

from functools import partial

from otel_kernel.metrics.row import AT_EACH_CALL, AT_EACH_SWITCH, BPF, Metric

# The kernel side's bounds: powers of two of microseconds, which it counts by a shift.
RUN_QUEUE_BOUNDS_S = tuple((1 << exponent) / 1e6 for exponent in range(19))

# Counted by name unless other names are chosen: what builds a pod, reads and writes, waits, talks to a network. Those
# that an architecture does not have are left out.
SYSCALL_NAMES = (
    *("clone", "clone3", "fork", "vfork", "execve", "unshare", "setns"),
    *("mount", "umount2", "pivot_root", "move_mount"),
    *("read", "write", "readv", "writev", "pread64", "pwrite64", "fsync", "open", "openat", "close", "newfstatat"),
    *("mmap", "munmap", "madvise", "futex", "nanosleep", "clock_nanosleep", "sched_yield"),
    *("poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"),
    *("socket", "connect", "accept", "accept4", "sendto", "recvfrom", "sendmsg", "recvmsg"),
)

THROTTLED_BOUNDS_S = tuple((64 << exponent) / 1e6 for exponent in range(19))

_pod = partial(Metric, level="pod", source="ebpf", needs=BPF, kind="sum")
_container = partial(Metric, level="container", source="ebpf", needs=BPF, kind="sum")
_NAME = "otel_kernel.syscall.name"

_throttled = partial(
    Metric,
    group="cpu",
    source="ebpf",
    kind="histogram",
    unit="s",
    needs=f"{BPF}, the cpu controller there too; kernel functions by fentry or kprobes",
    cost="two programs on each interval that ends",
    bounds=THROTTLED_BOUNDS_S,
)
_FROM_THE_FIRST = "; there from the first one on"

THROTTLED = (
    _throttled(
        "otel_kernel.pod.cpu.throttled.duration",
        "pod",
        description=f"time for which the pod's own limit stopped it on one CPU, not its containers'{_FROM_THE_FIRST}",
    ),
    _throttled(
        "otel_kernel.container.cpu.throttled.duration",
        "container",
        description=f"time for which the limit stopped the container on one CPU, one interval each{_FROM_THE_FIRST}",
    ),
)

SYSCALLS = (
    _pod(
        "otel_kernel.pod.syscalls",
        group="syscalls",
        unit="{call}",
        description="system calls, exact, those of ended containers, pause and runc init among them",
        cost=AT_EACH_CALL,
    ),
    _container(
        "otel_kernel.container.syscalls",
        group="syscalls",
        unit="{call}",
        description="system calls, exact; names that are not chosen are `_OTHER`",
        cost=AT_EACH_CALL,
        attributes=(_NAME,),
    ),
    _container(
        "otel_kernel.container.syscall.errors",
        group="syscalls",
        unit="{call}",
        description="system calls that returned an error",
        cost="a look at the result of each system call, and a row for each error",
        attributes=(_NAME, "error.type"),
        opt_in="OTEL_KERNEL_SYSCALL_ERRORS",
    ),
    _container(
        "otel_kernel.container.syscall.duration",
        group="syscalls",
        kind="histogram",
        unit="s",
        description="time from entry to exit of chosen system calls",
        cost="two clock readings at each of the chosen ones",
        attributes=(_NAME,),
        bounds=RUN_QUEUE_BOUNDS_S,
        opt_in="OTEL_KERNEL_SYSCALL_DURATION",
    ),
)

_function = partial(
    _container,
    group="syscalls",
    needs=f"{BPF}; kernel functions by fentry (since 5.19) or kprobes (since 5.15)",
    cost="two programs at each call of a chosen function, by whomever",
    attributes=("code.function.name",),
    opt_in="OTEL_KERNEL_FUNCTIONS",
)

FUNCTIONS = (
    _function(
        "otel_kernel.container.function.calls", unit="{call}", description="calls of chosen functions of the kernel"
    ),
    _function(
        "otel_kernel.container.function.duration",
        kind="histogram",
        unit="s",
        description="time from entry to return of chosen functions of the kernel; when one calls itself, the outermost",
        bounds=RUN_QUEUE_BOUNDS_S,
    ),
)

SCHED = (
    _container(
        "otel_kernel.container.context_switches",
        group="sched",
        unit="{context_switch}",
        description="switches from a task of the container to another",
        cost=AT_EACH_SWITCH,
        attributes=("process.context_switch.type",),
    ),
    _container(
        "otel_kernel.container.run_queue.duration",
        group="sched",
        kind="histogram",
        unit="s",
        description="time a task that could run waited for a CPU",
        cost=AT_EACH_SWITCH,
        bounds=RUN_QUEUE_BOUNDS_S,
    ),
)

PROCESSES = tuple(
    _container(
        f"otel_kernel.container.process.{what}s",
        group="process",
        unit=unit,
        description=description,
        cost=f"one program on each {what}",
    )
    for what, unit, description in (
        ("fork", "{process}", "processes begun, threads not among them"),
        ("exec", "{exec}", "programs begun in a process"),
        ("exit", "{process}", "processes ended"),
    )
)

FILES = (
    _container(
        "otel_kernel.container.file.opens",
        group="files",
        unit="{open}",
        description="successful open, openat, openat2, creat; by path prefix only with `OTEL_KERNEL_OPEN_PATHS`",
        cost=AT_EACH_CALL,
        attributes=("otel_kernel.file.path_prefix",),
    ),
)

DROPS = (
    _pod(
        "otel_kernel.pod.network.drops",
        group="network",
        unit="{packet}",
        description="packets that the kernel dropped in the pod's network or on the host's side of its devices, since "
        "the pod's first program began; kinds beyond 32 are `_OTHER`; none for hostNetwork",
        needs=f"{BPF}; reasons since 5.17, locations since 5.13",
        cost="one program on each dropped packet",
        attributes=("otel_kernel.drop.reason", "otel_kernel.drop.location", "otel_kernel.drop.side"),
    ),
)
