"""Every metric and log event, once: what is exported, docs/signals.md and `check` are made from these rows.

Names are those of the semantic conventions 1.44 where they have one, else `otel_kernel.*`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from otel_kernel.metrics import cgroup_rows, ebpf_rows, node_rows
from otel_kernel.metrics.row import Event, Kind, Metric, Source

__all__ = [
    "BY_NAME",
    "EVENTS",
    "METRICS",
    "OOM_KILL",
    "POD_CONDITION",
    "ROWS",
    "THROTTLED",
    "Event",
    "Kind",
    "Metric",
    "Source",
]

METRICS: tuple[Metric, ...] = (
    *cgroup_rows.CPU,
    *ebpf_rows.THROTTLED,
    *cgroup_rows.MEMORY,
    *cgroup_rows.PRESSURE,
    *ebpf_rows.SYSCALLS,
    *ebpf_rows.FUNCTIONS,
    *ebpf_rows.SCHED,
    *ebpf_rows.PROCESSES,
    *cgroup_rows.PROCESSES,
    *ebpf_rows.FILES,
    *node_rows.DEVICES,
    *ebpf_rows.DROPS,
    *node_rows.BIRTHS,
    *node_rows.AGENT,
)
BY_NAME: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in METRICS})

_THROTTLING = (
    "state percentage throttled_ns periods throttled_periods period usage usage_60s limit "
    "intervals last_intervals stacks"
).split()
THROTTLED = Event(
    "otel_kernel.cpu.throttled",
    "container",
    "cpu",
    "the share of throttled periods, in one interval of 10 periods or more, crossed OTEL_KERNEL_THROTTLE_THRESHOLD: "
    "once on crossing, once a minute while above, once on leaving; with the intervals since the last collection where "
    "eBPF tells them, the latest 8 by start, length and CPU; with OTEL_KERNEL_THROTTLE_STACKS where most of them began",
    "cgroupfs",
    tuple(f"otel_kernel.throttling.{name}" for name in _THROTTLING),
)
OOM_KILL = Event(
    "otel_kernel.oom_kill",
    "container",
    "memory",
    "processes of a container were killed because memory ran out",
    "cgroupfs",
    ("otel_kernel.oom_kill.count", "otel_kernel.memory.limit"),
)
POD_CONDITION = Event(
    "otel_kernel.pod.condition",
    "pod",
    "births",
    "a condition of the pod that changed after its birth was told; earlier ones are steps of the birth",
    "kubernetes",
    tuple(f"otel_kernel.pod.condition.{name}" for name in ("type", "status", "reason")),
)
EVENTS: tuple[Event, ...] = (THROTTLED, OOM_KILL, POD_CONDITION)
ROWS: tuple[Metric | Event, ...] = (*METRICS, *EVENTS)
