"""Which rows of the catalogue the files of a node can tell, and why not the others."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from otel_kernel.metrics import node_namespaces
from otel_kernel.metrics.catalogue import Event, Metric
from otel_kernel.node import cgroupfs, controllers, open_files
from otel_kernel.node.controllers import Controllers

_NO_HIERARCHY = "mount a cgroup hierarchy, or set OTEL_KERNEL_CGROUP_ROOT"


class Lack(NamedTuple):
    """Why something is not there, and what would bring it; both empty: it is."""

    why: str = ""
    enable: str = ""


@dataclass(frozen=True, slots=True)
class NodeFiles:
    """What a node lacks of what files tell, by what is needed."""

    cpu: Lack
    memory: Lack
    pressure: Lack
    hierarchy: Lack
    processes: Lack

    def of(self, row: Metric | Event) -> Lack:
        """Return what a row lacks whose source is a file."""
        if row.source == "procfs":
            return self.processes
        return {"cpu": self.cpu, "memory": self.memory, "pressure": self.pressure}.get(row.group, self.hierarchy)


def look(cgroup_root: Path, proc_root: Path) -> NodeFiles:
    """Return what the files of a node lack."""
    try:
        at = controllers.find(cgroup_root)
    except cgroupfs.NoCgroupsError as error:
        nothing = Lack(str(error), _NO_HIERARCHY)
        return NodeFiles(nothing, nothing, nothing, nothing, nothing)
    of_node = node_namespaces.find(proc_root)
    return NodeFiles(
        cpu=_controller(at, "cpu", at.cpu_v1),
        memory=_controller(at, "memory", at.memory_v1),
        pressure=_pressure(at, proc_root),
        hierarchy=Lack(),
        processes=Lack() if of_node else Lack("no process of the node may be asked", "the host's PID namespace"),
    )


def _controller(at: Controllers, name: str, v1: str | None) -> Lack:
    if v1 is not None or (at.v2 is not None and name in _offered(at.v2)):
        return Lack()
    return Lack(f"no {name} controller", f"a kernel with the {name} controller, mounted below {at.pods}")


def _offered(v2: str) -> list[str]:
    try:
        return open_files.read(f"{v2}/cgroup.controllers").decode().split()
    except OSError:
        return []


def _pressure(at: Controllers, proc_root: Path) -> Lack:
    if at.v2 is None:
        return Lack("no cgroup v2 hierarchy", "a cgroup v2 hierarchy (beside v1 is enough)")
    try:
        open_files.read(str(proc_root / "pressure" / "cpu"))
    except OSError as error:
        return Lack(f"no PSI: {error.strerror}", "CONFIG_PSI, and `psi=1` where the kernel was built with it off")
    return Lack()
