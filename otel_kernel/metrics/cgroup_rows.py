"""The catalogue's rows of what cgroups' files tell."""

from functools import partial

from otel_kernel.metrics.row import (
    CPU_CONTROLLER,
    MEMORY_CONTROLLER,
    ONE_FILE,
    PROC,
    PSI,
    RARE_FILE,
    SELDOM_FILE,
    Metric,
)

_SUMMED = "; a pod's is the sum of its containers', those that ended among them"
_UNLIMITED = "; absent without a limit"

_cpu = partial(Metric, group="cpu", source="cgroupfs", needs=CPU_CONTROLLER, cost=ONE_FILE)
_memory = partial(Metric, group="memory", source="cgroupfs", needs=MEMORY_CONTROLLER, cost=ONE_FILE)
_pressure = partial(
    Metric,
    group="pressure",
    source="cgroupfs",
    needs=PSI,
    cost="three small files for each at each export",
    attributes=("otel_kernel.pressure.resource", "otel_kernel.pressure.type"),
)
_process = partial(Metric, level="container", group="process", kind="updowncounter")


def _twice(row: partial[Metric], names: tuple[str, str], kind: str, unit: str, description: str) -> tuple[Metric, ...]:
    """Return a row for pods and one for containers."""
    pod, container = names
    said = {"kind": kind, "unit": unit, "description": description}
    return row(pod, "pod", **said), row(container, "container", **said)


def _ours(name: str) -> tuple[str, str]:
    return f"otel_kernel.pod.{name}", f"otel_kernel.container.{name}"


CPU = (
    *_twice(_cpu, ("k8s.pod.cpu.time", "container.cpu.time"), "sum", "s", "CPU time used"),
    *_twice(
        _cpu,
        _ours("cpu.periods"),
        "sum",
        "{period}",
        f"enforcement periods of the CPU limit in which something ran{_SUMMED}{_UNLIMITED}",
    ),
    *_twice(
        _cpu,
        _ours("cpu.throttled.periods"),
        "sum",
        "{period}",
        f"periods in which the limit was reached{_SUMMED}{_UNLIMITED}",
    ),
    *_twice(
        _cpu,
        _ours("cpu.throttled.time"),
        "sum",
        "s",
        f"time stopped by the limit, added up over CPUs{_SUMMED}{_UNLIMITED}",
    ),
    *_twice(
        partial(_cpu, cost=SELDOM_FILE),
        ("otel_kernel.pod.cpu.limit", "k8s.container.cpu.limit.current"),
        "updowncounter",
        "{cpu}",
        f"CPUs that may be used, as the kernel enforces it{_UNLIMITED}",
    ),
)

MEMORY = (
    *_twice(_memory, ("k8s.pod.memory.usage", "container.memory.usage"), "updowncounter", "By", "memory charged"),
    *_twice(
        _memory,
        ("k8s.pod.memory.working_set", "container.memory.working_set"),
        "updowncounter",
        "By",
        "memory charged without inactive page cache: what the kubelet evicts by",
    ),
    *_twice(
        partial(_memory, cost=SELDOM_FILE),
        ("otel_kernel.pod.memory.limit", "k8s.container.memory.limit.current"),
        "updowncounter",
        "By",
        f"memory that may be charged, as the kernel enforces it{_UNLIMITED}",
    ),
    _memory(
        "otel_kernel.container.oom_kills",
        "container",
        kind="sum",
        unit="{kill}",
        description="processes killed because memory ran out",
    ),
)

PRESSURE = _twice(
    _pressure,
    _ours("pressure.time"),
    "sum",
    "s",
    "time in which some, or all, tasks that had work waited for the resource; absent without PSI",
)

PROCESSES = (
    _process(
        "otel_kernel.container.processes",
        unit="{process}",
        description="processes in the container's cgroup; where that has none, in those below it",
        source="cgroupfs",
        needs="any cgroup hierarchy",
        cost=ONE_FILE,
    ),
    _process(
        "otel_kernel.container.mounts",
        unit="{mount}",
        description="mounts that the container's first process sees",
        source="procfs",
        needs=PROC,
        cost=RARE_FILE,
    ),
    _process(
        "otel_kernel.container.namespaces",
        unit="{namespace}",
        description="namespaces of the container's first process: its own, shared within the pod, or the node's",
        source="procfs",
        needs=PROC,
        cost="eight links for each, every five minutes",
        attributes=("otel_kernel.namespace.sharing", "otel_kernel.namespace.types"),
    ),
)
