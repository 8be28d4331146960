"""Does eBPF work here, and if not, what would enable it? The loader is started early and finished when it is needed."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from otel_kernel.declaration import SettingsError
from otel_kernel.host_files import HostFiles
from otel_kernel.kernel import functions, syscalls
from otel_kernel.kernel.counting import FUNCTIONS_MAX, TIMED_MAX, Counting
from otel_kernel.kernel.probes import Loading, Probes, ProbesError, Sizes
from otel_kernel.metrics.ebpf_rows import SYSCALL_NAMES
from otel_kernel.node import cgroupfs, controllers
from otel_kernel.settings import Settings

log = logging.getLogger(__name__)

V1_CPU = "the cpu controller is cgroup v1's: the kernel side cannot tell whose limit it was"
NO_CONTROLLER = "the hierarchy of pods has no controller: the kernel side cannot tell a task's pod"
REMEDIES = {
    "not root": "run as root, in a container as a privileged one",
    "eBPF is off": "OTEL_KERNEL_EBPF=auto",
    "No module named 'bcc'": "install BCC's Python binding (Debian: python3-bpfcc)",
    "UAPI headers": "install linux-libc-dev",
    "ring buffer": "a kernel of 5.8 or later",
    "CONFIG_BPF_SYSCALL": "a kernel with CONFIG_BPF_SYSCALL",
    "locked down": "boot without lockdown=confidentiality",
    "func bpf_probe_read_kernel": "boot without lockdown=confidentiality",
    "BTF": "a kernel with CONFIG_DEBUG_INFO_BTF",
    "OTEL_KERNEL_METRICS leaves out": "OTEL_KERNEL_METRICS with that group",
    "cannot be watched: fentry": "a kernel with CONFIG_KPROBES, or one that allows fentry (CONFIG_DYNAMIC_FTRACE)",
    "struct cfs_rq has no member": "a kernel with CONFIG_CFS_BANDWIDTH",
    V1_CPU: "the cpu controller in the cgroup v2 hierarchy",
    "sched_info": "a kernel with CONFIG_SCHED_INFO (CONFIG_TASK_DELAY_ACCT)",
    "network namespace may not be opened": "the host's PID namespace, and CAP_SYS_PTRACE",
    "Operation not permitted": "a privileged container; kernel lockdown must not be `confidentiality`",
    NO_CONTROLLER: "a hierarchy of v2, or one with pids, memory or cpu",
}


def start(settings: Settings, groups: frozenset[str]) -> Loading | str:
    """Start the loader, for births and for these groups of metrics: it compiles while the rest is set up.

    Returns why not, else. Raises SettingsError for a system call that this architecture does not have.
    """
    wanted = counting(settings, groups)
    if settings.observation.ebpf == "off":
        return "eBPF is off"
    if os.geteuid() != 0:
        return "not root"
    chosen = {"draw_openat": settings.births.openat_spans, "drops": "network" in groups}
    try:
        pods_v1 = controllers.v1_of_pods(settings.observation.cgroup_root, settings.observation.proc_root)
        return Loading(cache_directory(), Sizes(), wanted, pods_v1=pods_v1, **chosen)
    except (ProbesError, OSError) as error:
        return str(error)


def counting(settings: Settings, groups: frozenset[str]) -> Counting:
    """Return what the kernel side is to count for containers.

    Raises SettingsError for a system call that this architecture does not have.
    """
    metrics = settings.metrics
    try:
        table = syscalls.table()
    except OSError:  # then nothing can be compiled, either
        table = {}
    if table:
        _refuse_unknown("OTEL_KERNEL_SYSCALL_NAMES", metrics.syscall_names, table)
        _refuse_unknown("OTEL_KERNEL_SYSCALL_DURATION", metrics.syscall_duration, table)
    _refuse_functions(metrics.functions)
    if len(metrics.syscall_duration) > TIMED_MAX:
        names = ",".join(metrics.syscall_duration)
        raise SettingsError(f"OTEL_KERNEL_SYSCALL_DURATION='{names}' is not allowed: at most {TIMED_MAX} names")
    of_calls = "syscalls" in groups
    chosen = metrics.syscall_names or tuple(name for name in SYSCALL_NAMES if name in table)
    return Counting(
        names=("all" if isinstance(chosen, str) else chosen) if of_calls else None,
        opens="files" in groups,
        processes="process" in groups,
        sched="sched" in groups,
        errors=of_calls and metrics.syscall_errors,
        durations=metrics.syscall_duration if of_calls else (),
        open_paths=metrics.open_paths and "files" in groups,
        functions=metrics.functions if of_calls else (),
        throttling=True,
        throttled_durations="cpu" in groups,
        throttle_stacks="cpu" in groups and metrics.throttle_stacks,
    )


def _refuse_unknown(variable: str, names: tuple[str, ...] | str | None, table: Mapping[str, int]) -> None:
    for name in names if isinstance(names, tuple) else ():
        if name not in table:
            machine = os.uname().machine
            raise SettingsError(f"{variable}='{name}' is not allowed: {machine} has no system call of that name")


def _refuse_functions(names: tuple[str, ...]) -> None:
    if len(names) > FUNCTIONS_MAX:
        chosen = ",".join(names)
        raise SettingsError(f"OTEL_KERNEL_FUNCTIONS='{chosen}' is not allowed: at most {FUNCTIONS_MAX} functions")
    for name, reason in functions.refused(names).items():
        raise SettingsError(f"OTEL_KERNEL_FUNCTIONS='{name}' is not allowed: {reason}")


def finish(loading: Loading | str, files: HostFiles, *, run_statistics: bool = False) -> Probes:
    """Return what was loaded; with the kernel's statistics of its runs, if that is allowed.

    Raises ProbesError with the reason when nothing was loaded, or it would be of no use here.
    """
    if isinstance(loading, str):
        raise ProbesError(loading)
    loaded = loading.finish()
    if reason := no_pods(files.hierarchy_kind, files.hierarchy, files.proc_root):
        loaded.close()
        raise ProbesError(reason)
    if run_statistics:
        try:
            loaded.enable_run_statistics()
        except OSError as error:
            log.warning("OTEL_KERNEL_BPF_STATS=on: the kernel refuses its statistics: %s", error.strerror)
    return loaded


def no_pods(kind: cgroupfs.Kind, hierarchy: Path, proc_root: Path) -> str:
    """Return why the kernel side cannot tell a task's pod here, empty when it can."""
    if kind is not cgroupfs.Kind.V1 or controllers.v1_of_pods(hierarchy.parent, proc_root):
        return ""
    return NO_CONTROLLER


def remedy(reason: str) -> str:
    """Return what an operator can do about the reason for which eBPF does not work; empty when nothing known helps."""
    return next((help_ for sign, help_ in REMEDIES.items() if sign in reason), "")


def cache_directory() -> Path:
    """Return where the header shim is kept (XDG base directory specification), made if absent. Raises OSError."""
    home = os.environ.get("HOME")
    base = os.environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "/var/cache")
    directory = Path(base) / "otel-kernel"
    directory.mkdir(parents=True, exist_ok=True)
    return directory
