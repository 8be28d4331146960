"""Every metric and log event, once: what is exported, docs/signals.md and `check` are made from these rows.

Names are those of the semantic conventions 1.44 where they have one, else `otel_kernel.*`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from otel_kernel.metrics.points import Level

Kind = Literal["sum", "updowncounter", "histogram"]
Source = Literal["cgroupfs", "procfs", "ebpf", "births", "agent"]

SCOPES: Mapping[Source, str] = MappingProxyType(
    {source: f"otel_kernel.{source}" for source in ("cgroupfs", "procfs", "ebpf", "births", "agent")}
)

ONE_FILE = "one small file for each at each export"
FILE_OF_MINUTE = "one file for each, once a minute"
AT_EACH_CALL = "within the one program on each system call"
AT_EACH_SWITCH = "within one program on each context switch"
NOTHING = "nothing: what is known anyway"

CPU_CONTROLLER = "cpu controller (v1 or v2)"
MEMORY_CONTROLLER = "memory controller (v1 or v2)"
PSI = "CONFIG_PSI, cgroup v2 (beside v1 is enough), not booted with psi=0"
BPF = "eBPF, cgroup v2 (beside v1 is enough)"
PROC = "the node's /proc and PID namespace"

# The kernel side's bounds: powers of two of microseconds, which it counts by a shift.
RUN_QUEUE_BOUNDS_S = tuple((1 << exponent) / 1e6 for exponent in range(19))
SYSCALL_BOUNDS_S = RUN_QUEUE_BOUNDS_S
START_BOUNDS_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LAG_BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one level."""

    name: str
    level: Level
    group: str  # of settings.METRIC_GROUPS
    kind: Kind
    unit: str  # UCUM
    description: str
    source: Source
    needs: str  # of the kernel, or of what runs beside us
    cost: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    opt_in: str = ""  # the setting without which it is not there

    @property
    def monotonic(self) -> bool:
        """Whether its values only rise."""
        return self.kind != "updowncounter"

    @property
    def scope(self) -> str:
        """The instrumentation scope: it names the source."""
        return SCOPES[self.source]


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of log event."""

    name: str
    level: Level
    group: str
    description: str
    source: Source
    attributes: tuple[str, ...]


_RESOURCE, _TYPE = "otel_kernel.pressure.resource", "otel_kernel.pressure.type"
_INTERFACE = ("network.interface.name", "network.io.direction")
_SUM_OF_CONTAINERS = "; a pod's is the sum of its containers', those that ended among them"
_CPU = {"group": "cpu", "source": "cgroupfs", "needs": CPU_CONTROLLER}
_MEMORY = {"group": "memory", "source": "cgroupfs", "needs": MEMORY_CONTROLLER}


def _of_both(pod: str, container: str, description: str, **said: object) -> tuple[Metric, Metric]:
    told: dict[str, object] = {"cost": ONE_FILE} | said
    return tuple(  # type: ignore[return-value]
        Metric(name=name, level=level, description=description, **told)  # type: ignore[arg-type]
        for name, level in ((pod, "pod"), (container, "container"))
    )


def _twice(name: str, description: str, **said: object) -> tuple[Metric, Metric]:
    return _of_both(f"otel_kernel.pod.{name}", f"otel_kernel.container.{name}", description, **said)


def _of_container(name: str, description: str, **said: object) -> Metric:
    return Metric(f"otel_kernel.container.{name}", "container", description=description, **said)  # type: ignore[arg-type]


def _of_agent(name: str, kind: Kind, unit: str, description: str, **said: object) -> Metric:
    name = name if name.startswith("process.") else f"otel_kernel.agent.{name}"
    told: dict[str, object] = {"needs": "", "cost": NOTHING} | said
    return Metric(name, "node", "agent", kind, unit, description, "agent", **told)  # type: ignore[arg-type]


_CPU_METRICS = (
    *_of_both("k8s.pod.cpu.time", "container.cpu.time", "CPU time used", kind="sum", unit="s", **_CPU),
    *_twice(
        "cpu.periods",
        f"enforcement periods of the CPU limit in which something ran{_SUM_OF_CONTAINERS}; absent without a limit",
        kind="sum",
        unit="{period}",
        **_CPU,
    ),
    *_twice(
        "cpu.throttled.periods",
        f"periods in which the limit was reached{_SUM_OF_CONTAINERS}; absent without a limit",
        kind="sum",
        unit="{period}",
        **_CPU,
    ),
    *_twice(
        "cpu.throttled.time",
        f"time stopped by the limit, added up over CPUs{_SUM_OF_CONTAINERS}; absent without a limit",
        kind="sum",
        unit="s",
        **_CPU,
    ),
    *_of_both(
        "otel_kernel.pod.cpu.limit",
        "k8s.container.cpu.limit.current",
        "CPUs that may be used, as the kernel enforces it; absent when unlimited",
        kind="updowncounter",
        unit="{cpu}",
        **_CPU,
    ),
)

_MEMORY_METRICS = (
    *_of_both(
        "k8s.pod.memory.usage", "container.memory.usage", "memory charged", kind="updowncounter", unit="By", **_MEMORY
    ),
    *_of_both(
        "k8s.pod.memory.working_set",
        "container.memory.working_set",
        "memory charged without inactive page cache: what the kubelet evicts by",
        kind="updowncounter",
        unit="By",
        **_MEMORY,
    ),
    *_of_both(
        "otel_kernel.pod.memory.limit",
        "k8s.container.memory.limit.current",
        "memory that may be charged, as the kernel enforces it; absent when unlimited",
        kind="updowncounter",
        unit="By",
        **_MEMORY,
    ),
    _of_container(
        "oom_kills", "processes killed because memory ran out", kind="sum", unit="{kill}", cost=ONE_FILE, **_MEMORY
    ),
)

_PRESSURE_METRICS = _twice(
    "pressure.time",
    "time in which some, or all, tasks that had work waited for the resource; absent without PSI",
    group="pressure",
    kind="sum",
    unit="s",
    source="cgroupfs",
    needs=PSI,
    cost="three small files for each at each export",
    attributes=(_RESOURCE, _TYPE),
)

_EBPF = {"source": "ebpf", "needs": BPF}
_SYSCALL_METRICS = (
    Metric(
        "otel_kernel.pod.syscalls",
        "pod",
        "syscalls",
        "sum",
        "{call}",
        "system calls, exact, those of ended containers, pause and runc init among them",
        "ebpf",
        BPF,
        AT_EACH_CALL,
    ),
    _of_container(
        "syscalls",
        "system calls, exact; names that are not chosen are `_OTHER`",
        group="syscalls",
        kind="sum",
        unit="{call}",
        attributes=("otel_kernel.syscall.name",),
        cost=AT_EACH_CALL,
        **_EBPF,
    ),
    _of_container(
        "syscall.errors",
        "system calls that returned an error",
        group="syscalls",
        kind="sum",
        unit="{call}",
        attributes=("otel_kernel.syscall.name", "error.type"),
        cost="a second program on each system call, and a row for each error",
        opt_in="OTEL_KERNEL_SYSCALL_ERRORS",
        **_EBPF,
    ),
    _of_container(
        "syscall.duration",
        "time from entry to exit of chosen system calls",
        group="syscalls",
        kind="histogram",
        unit="s",
        attributes=("otel_kernel.syscall.name",),
        bounds=SYSCALL_BOUNDS_S,
        cost="a second program on each system call, and two clock readings on the chosen ones",
        opt_in="OTEL_KERNEL_SYSCALL_DURATION",
        **_EBPF,
    ),
)

_SCHED_METRICS = (
    _of_container(
        "context_switches",
        "switches from a task of the container to another",
        group="sched",
        kind="sum",
        unit="{context_switch}",
        attributes=("process.context_switch.type",),
        cost=AT_EACH_SWITCH,
        **_EBPF,
    ),
    _of_container(
        "run_queue.duration",
        "time a task that could run waited for a CPU",
        group="sched",
        kind="histogram",
        unit="s",
        bounds=RUN_QUEUE_BOUNDS_S,
        cost=AT_EACH_SWITCH,
        **_EBPF,
    ),
)

_PROCESS_METRICS = (
    *(
        _of_container(
            f"process.{what}",
            description,
            group="process",
            kind="sum",
            unit="{process}" if what != "execs" else "{exec}",
            cost=f"one program on each {what.removesuffix('s')}",
            **_EBPF,
        )
        for what, description in (
            ("forks", "processes begun, threads not among them"),
            ("execs", "programs begun in a process"),
            ("exits", "processes ended"),
        )
    ),
    _of_container(
        "processes",
        "processes in the container's own cgroup",
        group="process",
        kind="updowncounter",
        unit="{process}",
        source="cgroupfs",
        needs="any cgroup hierarchy",
        cost=ONE_FILE,
    ),
    _of_container(
        "mounts",
        "mounts that the container's first process sees",
        group="process",
        kind="updowncounter",
        unit="{mount}",
        source="procfs",
        needs=PROC,
        cost=FILE_OF_MINUTE,
    ),
    _of_container(
        "namespaces",
        "namespaces of the container's first process: its own, shared within the pod, or the node's",
        group="process",
        kind="updowncounter",
        unit="{namespace}",
        source="procfs",
        needs=PROC,
        cost="eight links for each, once a minute",
        attributes=("otel_kernel.namespace.sharing", "otel_kernel.namespace.types"),
    ),
)

_FILE_METRICS = (
    _of_container(
        "file.opens",
        "successful open, openat, openat2, creat",
        group="files",
        kind="sum",
        unit="{open}",
        cost=AT_EACH_CALL,
        attributes=("otel_kernel.file.path_prefix (OTEL_KERNEL_OPEN_PATHS)",),
        **_EBPF,
    ),
)

_NETWORK_METRICS = (
    *(
        Metric(
            f"k8s.pod.network.{what}",
            "pod",
            "network",
            "sum",
            unit,
            f"{description} of the pod's network devices, the loopback not among them; none for hostNetwork",
            "procfs",
            PROC,
            ONE_FILE,
            _INTERFACE,
        )
        for what, unit, description in (("io", "By", "bytes"), ("errors", "{error}", "errors"))
    ),
    Metric(
        "otel_kernel.pod.network.drops",
        "pod",
        "network",
        "sum",
        "{packet}",
        "packets dropped, by the kernel's reason; none for hostNetwork",
        "ebpf",
        f"{BPF}, skb:kfree_skb with a reason (5.17)",
        "one program on each dropped packet",
        ("otel_kernel.drop.reason", "otel_kernel.drop.location", "otel_kernel.drop.side"),
    ),
)

_BIRTH_METRICS = (
    Metric(
        "otel_kernel.pod.start.duration",
        "node",
        "births",
        "histogram",
        "s",
        "first kernel event of a pod to its last entry point, of births seen from their start; exemplars: the births",
        "births",
        "",
        NOTHING,
        ("k8s.namespace.name", "otel_kernel.birth.completion"),
        START_BOUNDS_S,
    ),
    Metric(
        "otel_kernel.births",
        "node",
        "births",
        "sum",
        "{birth}",
        "pods born",
        "births",
        "",
        NOTHING,
        ("otel_kernel.birth.completion",),
    ),
)

_AGENT_METRICS = (
    _of_agent("events.received", "sum", "{event}", "records of the kernel that reached the agent", needs=BPF),
    _of_agent(
        "events.lost",
        "sum",
        "{event}",
        "what the agent should have been told and was not, or could not use",
        attributes=("otel_kernel.loss.kind",),
    ),
    _of_agent("probe.misses", "sum", "{run}", "runs of a program that the kernel skipped", needs=BPF),
    _of_agent("births.open", "updowncounter", "{birth}", "births begun and not yet exported"),
    _of_agent("births.exported", "sum", "{birth}", "traces exported, restarts among them"),
    _of_agent("births.unresolved", "sum", "{birth}", "births exported without the name of their pod"),
    _of_agent(
        "lineages.dropped",
        "sum",
        "{lineage}",
        "beginnings that were no birth of a pod",
        attributes=("otel_kernel.drop.kind",),
    ),
    _of_agent(
        "daemon_calls", "sum", "{call}", "calls of runtime daemons in no birth", attributes=("otel_kernel.drop.kind",)
    ),
    _of_agent(
        "identity.lag", "histogram", "s", "a pod's cgroup made to its name known", bounds=LAG_BOUNDS_S, cost=NOTHING
    ),
    _of_agent(
        "export.failures",
        "sum",
        "{failure}",
        "requests, or parts of them, that were not taken",
        attributes=("otel_kernel.signal", "otel_kernel.failure.kind"),
    ),
    _of_agent(
        "reader.failures",
        "sum",
        "{failure}",
        "times a file was there and could not be read or understood",
        attributes=("otel_kernel.reader",),
    ),
    _of_agent("reader.time", "sum", "s", "time spent in reading each kind of file", attributes=("otel_kernel.reader",)),
    _of_agent("pods", "updowncounter", "{pod}", "pods whose cgroup is there"),
    _of_agent("counts", "sum", "{event}", "the agent's further counters", attributes=("otel_kernel.counter",)),
    _of_agent("process.cpu.time", "sum", "s", "CPU time the agent used", attributes=("cpu.mode",), needs=PROC),
    _of_agent("process.memory.usage", "updowncounter", "By", "resident memory of the agent", needs=PROC),
    _of_agent(
        "bpf.map.memory",
        "updowncounter",
        "By",
        "kernel memory of the agent's BPF maps",
        attributes=("otel_kernel.bpf.map",),
        needs=BPF,
    ),
    _of_agent(
        "bpf.program.runs",
        "sum",
        "{run}",
        "runs of each BPF program",
        attributes=("otel_kernel.bpf.program",),
        needs=f"{BPF}, CAP_SYS_ADMIN",
        opt_in="OTEL_KERNEL_BPF_STATS",
        cost="two clock readings at each run",
    ),
    _of_agent(
        "bpf.program.run.time",
        "sum",
        "s",
        "time in each BPF program",
        attributes=("otel_kernel.bpf.program",),
        needs=f"{BPF}, CAP_SYS_ADMIN",
        opt_in="OTEL_KERNEL_BPF_STATS",
        cost="two clock readings at each run",
    ),
)

METRICS: tuple[Metric, ...] = (
    *_CPU_METRICS,
    *_MEMORY_METRICS,
    *_PRESSURE_METRICS,
    *_SYSCALL_METRICS,
    *_SCHED_METRICS,
    *_PROCESS_METRICS,
    *_FILE_METRICS,
    *_NETWORK_METRICS,
    *_BIRTH_METRICS,
    *_AGENT_METRICS,
)
BY_NAME: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in METRICS})

THROTTLED = Event(
    "otel_kernel.cpu.throttled",
    "container",
    "cpu",
    "the share of throttled periods, in one interval of 10 periods or more, crossed OTEL_KERNEL_THROTTLE_THRESHOLD: "
    "once on crossing, once a minute while above, once on leaving",
    "cgroupfs",
    tuple(
        f"otel_kernel.throttling.{what}"
        for what in (
            "state",
            "percentage",
            "throttled_ns",
            "periods",
            "throttled_periods",
            "period",
            "usage",
            "usage_60s",
            "limit",
        )
    ),
)
OOM_KILL = Event(
    "otel_kernel.oom_kill",
    "container",
    "memory",
    "processes of a container were killed because memory ran out",
    "cgroupfs",
    ("otel_kernel.oom_kill.count", "otel_kernel.memory.limit"),
)
EVENTS: tuple[Event, ...] = (THROTTLED, OOM_KILL)
