"""Which hierarchy tells what of a cgroup: on hybrid hosts some controllers are of version 1, the rest is version 2.

A container runtime puts a container at the same path in each. Source: cgroups(7), "Mounting v1 controllers".
"""

from dataclasses import dataclass
from pathlib import Path

from otel_kernel.node import cgroupfs
from otel_kernel.node.cgroupfs import Kind

_CPU_V1 = ("cpu,cpuacct", "cpuacct,cpu", "cpu")
_CPUACCT_V1 = ("cpu,cpuacct", "cpuacct,cpu", "cpuacct")
_MEMORY_V1 = ("memory",)


@dataclass(frozen=True, slots=True)
class Controllers:
    """The root of the hierarchy that tells each thing; None: none does, or its version 2 does."""

    pods: str  # in which pods are looked for
    v2: str | None
    cpu_v1: str | None = None
    cpuacct_v1: str | None = None
    memory_v1: str | None = None


def find(cgroup_root: Path) -> Controllers:
    """Return which hierarchies are below `cgroup_root`. Raises NoCgroupsError."""
    hierarchy = cgroupfs.hierarchy(cgroup_root)
    pods = str(hierarchy.root)
    if hierarchy.kind is Kind.V2:
        return Controllers(pods, pods)
    found = (_mounted(cgroup_root, names, file) for names, file in _LOOKED_FOR)
    return Controllers(pods, pods if hierarchy.kind is Kind.HYBRID else None, *found)


def v1_of_pods(cgroup_root: Path, proc_root: Path) -> tuple[str, int] | None:
    """Return a controller of the hierarchy that pods are looked for in, and its number (`/proc/cgroups`).

    None where that is v2, or has no controller, or there is none.
    """
    try:
        hierarchy = cgroupfs.hierarchy(cgroup_root)
    except cgroupfs.NoCgroupsError:
        return None
    names = hierarchy.root.name.split(",") if hierarchy.kind is Kind.V1 else []
    for line in (proc_root / "cgroups").read_text().splitlines():
        name, number, *_ = line.split()
        if name in names and int(number):
            return name, int(number)
    return None


_LOOKED_FOR = (
    (_CPU_V1, "cpu.stat"),
    (_CPUACCT_V1, "cpuacct.usage"),
    (_MEMORY_V1, "memory.usage_in_bytes"),
)


def _mounted(cgroup_root: Path, names: tuple[str, ...], file: str) -> str | None:
    return next((str(cgroup_root / name) for name in names if (cgroup_root / name / file).exists()), None)
