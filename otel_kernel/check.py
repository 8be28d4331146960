"""`otel-kernel check`: try everything here and say what is real, what is not and why, and what would enable it."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from otel_kernel import ebpf, host_files
from otel_kernel.health import Health
from otel_kernel.kernel.drops import TRACEPOINT
from otel_kernel.kernel.parts import FUNCTIONS, SWITCH, THROTTLING
from otel_kernel.kernel.probes import Loading, Probes, ProbesError
from otel_kernel.metrics import availability
from otel_kernel.metrics.availability import Lack
from otel_kernel.metrics.catalogue import ROWS, Event, Metric, Source
from otel_kernel.metrics.drop_source import DropSource
from otel_kernel.metrics.ebpf_rows import DROPS, THROTTLED
from otel_kernel.metrics.ebpf_rows import FUNCTIONS as FUNCTION_ROWS
from otel_kernel.metrics.node_rows import PROGRAMS
from otel_kernel.metrics.row import BPF
from otel_kernel.node import cgroupfs, controllers, procfs
from otel_kernel.pod_sources import runtime_sockets
from otel_kernel.pods import cgroup_path, kube_client
from otel_kernel.settings import Settings

WORKS, FALLBACK_ONLY, NOTHING = 0, 1, 2
# Group of metrics -> the part of bpf/ that counts for it.
COUNTED = {
    "syscalls": "COUNT_SYSCALLS",
    "sched": "COUNT_SCHED",
    "process": "COUNT_PROCESSES",
    "files": "COUNT_OPENS",
}
OFF = ("OTEL_KERNEL_KUBERNETES=off", "OTEL_KERNEL_KUBERNETES=auto")
How = Literal["eBPF", "files", "births", "itself", "asked", "not here"]
_HOW: Mapping[Source, How] = {
    "ebpf": "eBPF",
    "cgroupfs": "files",
    "procfs": "files",
    "births": "births",
    "agent": "itself",
    "kubernetes": "asked",
}


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing the agent says, and whether it can say it here."""

    signal: str
    how: How
    why: str = ""
    enable: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of the probes."""

    reason: str  # empty: every probe was attached
    attached: dict[str, str]  # raw tracepoint -> "attached" or why not
    map_bytes: dict[str, int]
    no_drops: str = ""  # why dropped packets are not counted
    no_statistics: str = ""  # why the kernel does not tell of its runs
    no_counts: dict[str, str] = field(default_factory=dict)  # group of metrics -> why eBPF counts nothing of it
    no_functions: str = ""  # why calls of kernel functions are not
    no_throttling: str = ""  # why the intervals are not told in which a CPU limit stops somebody


def check(settings: Settings, *, as_json: bool) -> int:
    """Print the table (or JSON) and return the exit status: 0 the birth trace works, 1 its fallback does, 2 nothing."""
    attempt = try_probes(settings)
    hierarchy, cgroup_reason = find_hierarchy(settings)
    if hierarchy and not attempt.reason:
        attempt = replace(attempt, reason=ebpf.no_pods(hierarchy.kind, hierarchy.root, settings.observation.proc_root))
    signals = [
        *judge(attempt, hierarchy, cgroup_reason),
        *processes(settings, hierarchy, attempt),
        Signal("identity: CRI", *runtime(settings)),
        Signal("identity: Kubernetes", *kubernetes(settings)),
        *measured(settings, attempt),
    ]
    status = exit_status(signals)
    if as_json:
        report = {"status": status, "signals": [asdict(each) for each in signals], **asdict(attempt)}
        print(json.dumps(report, indent=2))
    else:
        print_table(signals, attempt, words(settings, hierarchy))
    return status


def try_probes(settings: Settings) -> Attempt:
    """Compile, load and attach every program, look at its maps, and let go."""
    loading = ebpf.start(settings, frozenset(settings.metrics.groups))
    if not isinstance(loading, Loading):
        return nothing(loading)
    try:
        probes = loading.finish()
    except ProbesError as error:
        return nothing(str(error))
    try:
        return attach(probes, settings)
    finally:
        probes.close()


def nothing(reason: str) -> Attempt:
    """Return what becomes of probes that cannot be loaded."""
    return Attempt(reason, {}, {}, reason, reason, dict.fromkeys(COUNTED, reason), reason, reason)


def attach(probes: Probes, settings: Settings) -> Attempt:
    """Attach every program and tell what became of each."""
    attachments = probes.attach()
    failed = [each.failure for each in attachments if each.failure]
    attached = {each.tracepoint: each.error or "attached" for each in attachments}
    no_drops = probes.why_no_drops or left_out("network")
    if probes.drops:
        observation = settings.observation
        source = DropSource(probes.drops, observation.cgroup_root, observation.proc_root, Health())
        no_drops = refusal(lambda: source.observe(()))
        attached[TRACEPOINT] = no_drops or "attached"
    probes.count_switches()
    if probes.counting.sched:
        attached[SWITCH] = "attached"
    probes.watch_throttling()
    attached |= dict.fromkeys(probes.throttles.attached if probes.throttles else (), "attached")
    probes.watch_functions()
    # What stands in the way of one function stands in all others' way, whether they were asked for or not.
    no_functions = probes.not_counted.get(FUNCTIONS, probes.not_counted.get(THROTTLING, ""))
    no_throttling = probes.not_counted.get(THROTTLING, "") or cpu_of_v1(settings)
    no_statistics = refusal(probes.enable_run_statistics)
    no_counts = {
        group: probes.not_counted.get(part, "") or ("" if group in settings.metrics.groups else left_out(group))
        for group, part in COUNTED.items()
    }
    return Attempt(
        "; ".join(failed),
        attached,
        probes.memory_bytes(),
        no_drops,
        no_statistics,
        no_counts,
        no_functions,
        no_throttling,
    )


def cpu_of_v1(settings: Settings) -> str:
    """Return why nobody can tell whose CPU limit it was, empty where that can be told."""
    try:
        at = controllers.find(settings.observation.cgroup_root)
    except OSError:
        return ""  # said elsewhere
    return ebpf.V1_CPU if at.cpu_v1 else ""


def left_out(group: str) -> str:
    """Return why nothing of a group of metrics is counted that nobody asked for."""
    return f"OTEL_KERNEL_METRICS leaves out {group}"


def refusal(do: Callable[[], None]) -> str:
    """Return why the kernel refuses something, empty when it does not."""
    try:
        do()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def find_hierarchy(settings: Settings) -> tuple[cgroupfs.Hierarchy | None, str]:
    """Return where pods' cgroups are, or why there are none."""
    try:
        return cgroupfs.hierarchy(settings.observation.cgroup_root), ""
    except OSError as error:
        return None, str(error)


def judge(attempt: Attempt, hierarchy: cgroupfs.Hierarchy | None, cgroup_reason: str) -> list[Signal]:
    """Return what each signal is here."""
    reason, enable = attempt.reason, ebpf.remedy(attempt.reason)
    if not reason and hierarchy is None:
        reason, enable = cgroup_reason, "mount a cgroup hierarchy, or set OTEL_KERNEL_CGROUP_ROOT"
    fallback: How = "files" if hierarchy else "not here"
    births = Signal("birth trace", "not here" if reason else "eBPF", reason, enable if reason else "")
    return [
        births,
        Signal("calls, waits and counts in births", births.how, births.why, births.enable),
        throttled_spans(attempt, births),
        Signal("births without eBPF", fallback, cgroup_reason, "" if hierarchy else "mount a cgroup hierarchy"),
        Signal("identity: cgroup path, OCI bundle", "files" if hierarchy else "not here", cgroup_reason),
        Signal("identity: CNI", births.how, births.why, births.enable),
    ]


def processes(settings: Settings, hierarchy: cgroupfs.Hierarchy | None, attempt: Attempt) -> Iterator[Signal]:
    """Yield whether the node's processes can be seen, those of containers and those that make them."""
    if hierarchy is None:
        return
    hidden = tuple(host_files.hidden(host_files.find(settings.observation)))
    why, enable = ("; ".join(parts) for parts in zip(*hidden, strict=True)) if hidden else ("", "")
    how: How = "files" if host_files.OUTSIDE not in why else "not here" if attempt.reason else "eBPF"
    yield Signal("processes of the node", how, why, enable)


def throttled_spans(attempt: Attempt, births: Signal) -> Signal:
    """Return whether a birth that its own CPU limit slows down says when."""
    name, reason = "throttled intervals in births", attempt.no_throttling
    if births.why or not reason:
        return Signal(name, births.how, births.why, births.enable)
    return Signal(name, "not here", reason, ebpf.remedy(reason))


def runtime(settings: Settings) -> tuple[How, str, str]:
    """Return whether the container runtime can be asked; a socket that is there may still not answer."""
    if settings.kubernetes.kubernetes == "off":
        return "not here", *OFF
    found = next(iter(runtime_sockets(host_files.find(settings.observation), settings.kubernetes.cri_socket)), None)
    if found is None:
        return "not here", "no runtime listens where it is known to", "OTEL_KERNEL_CRI_SOCKET"
    return "asked", str(found), ""


def kubernetes(settings: Settings) -> tuple[How, str, str]:
    """Return whether the API server or the kubelet can be asked."""
    asked, node_name = settings.kubernetes, settings.resource.node_name
    if asked.kubernetes == "off":
        return "not here", *OFF
    if asked.kubelet_url is not None:
        return "asked", "the kubelet", ""
    if not kube_client.is_configured():
        return "not here", "neither a service account nor a kubeconfig", "deploy/rbac.yaml, or KUBECONFIG"
    if node_name is None:
        return "not here", "OTEL_KERNEL_NODE_NAME does not say whose pods are wanted", "OTEL_KERNEL_NODE_NAME"
    return "asked", "the API server", ""


def measured(settings: Settings, attempt: Attempt) -> Iterator[Signal]:
    """Yield what each row of the catalogue is here: where it comes from, or why it does not."""
    files = availability.look(settings.observation.cgroup_root, settings.observation.proc_root)
    for row in ROWS:
        if row.group not in settings.metrics.groups:
            lack = Lack(left_out(row.group), f"OTEL_KERNEL_METRICS with {row.group}")
        else:
            lack = files.of(row) if row.source in {"cgroupfs", "procfs"} else _lack(row, attempt, settings)
        if lack.why:
            yield Signal(row.name, "not here", *lack)
        else:
            only = f"only with {row.opt_in}" if isinstance(row, Metric) and row.opt_in else ""
            yield Signal(row.name, _HOW[row.source], only or (row.source if _HOW[row.source] == "files" else ""))


def _lack(row: Metric | Event, attempt: Attempt, settings: Settings) -> Lack:
    needs_ebpf = isinstance(row, Metric) and row.needs.startswith(BPF)
    if row.source == "kubernetes":
        how, why, enable = kubernetes(settings)
        return Lack() if how == "asked" else Lack(why, enable)
    if row in DROPS:
        reason = attempt.no_drops
    elif row in THROTTLED:
        reason = attempt.no_throttling
    elif row in FUNCTION_ROWS:
        reason = attempt.no_functions
    elif row in PROGRAMS:
        reason = attempt.no_statistics
    elif row.source == "ebpf":
        reason = attempt.reason or attempt.no_counts.get(row.group, "")
    else:
        reason = attempt.reason if needs_ebpf else ""
    return Lack(reason, ebpf.remedy(reason) if reason else "")


def exit_status(signals: list[Signal]) -> int:
    """Return 0 when the birth trace works, 1 when only its fallback from files does, 2 when nothing does."""
    how = {each.signal: each.how for each in signals}
    if how["birth trace"] == "eBPF":
        return WORKS
    return FALLBACK_ONLY if how["births without eBPF"] == "files" else NOTHING


def words(settings: Settings, hierarchy: cgroupfs.Hierarchy | None) -> list[str]:
    """Return lines on what would be observed."""
    found = procfs.daemons(settings.observation.proc_root, frozenset(settings.observation.runtimes), cgroup_path.in_pod)
    names = sorted({each.name for each in found})
    lines = [f"runtime daemons: {len(found)}" + (f" ({', '.join(names)})" if names else "")]
    if hierarchy:
        lines.append(f"cgroups: {hierarchy.kind.value}, pods below {hierarchy.root}")
    return lines


def print_table(signals: list[Signal], attempt: Attempt, lines: list[str]) -> None:
    """Print what was found for a person."""
    width = max(len(each.signal) for each in signals)
    for each in signals:
        tail = f"  {each.why}" if each.why else ""
        print(f"{each.signal:<{width}}  {each.how:<8}{tail}".rstrip())
        if each.enable:
            print(f"{'':<{width}}  enable:   {each.enable}")
    print()
    if attempt.attached:
        print("raw tracepoints:", ", ".join(f"{name} ({state})" for name, state in attempt.attached.items()))
    for line in lines:
        print(line)
    if attempt.map_bytes:
        total = sum(attempt.map_bytes.values())
        largest = sorted(attempt.map_bytes.items(), key=lambda item: -item[1])[:4]
        parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in largest)
        print(f"kernel memory of maps: {total / 1e6:.1f} MB ({parts}, ...)")
    sys.stdout.flush()
