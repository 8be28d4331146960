"""What a row of the catalogue says."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from otel_kernel.metrics.points import Level

Kind = Literal["sum", "updowncounter", "histogram"]
Source = Literal["cgroupfs", "procfs", "ebpf", "births", "agent", "kubernetes"]

SCOPES: Mapping[Source, str] = MappingProxyType(
    {source: f"otel_kernel.{source}" for source in ("cgroupfs", "procfs", "ebpf", "births", "agent", "kubernetes")}
)

CPU_CONTROLLER = "cpu controller (v1 or v2)"
MEMORY_CONTROLLER = "memory controller (v1 or v2)"
PSI = "CONFIG_PSI, cgroup v2 (beside v1 is enough), not booted with psi=0"
BPF = "eBPF, cgroups of v2 (beside v1 is enough) or of a v1 controller"
PROC = "the node's /proc and PID namespace"

ONE_FILE = "one small file for each at each export"
SELDOM_FILE = "one small file for each, once a minute"
RARE_FILE = "one file of /proc for each, every five minutes"
AT_EACH_CALL = "within the one program on each system call"
AT_EACH_SWITCH = "within one program on each context switch"
NOTHING = "nothing: it is known anyway"


# Each row is there once: told apart by identity, which is many times quicker than by all that it says.
@dataclass(frozen=True, slots=True, eq=False)
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

    @property
    def scope(self) -> str:
        """The instrumentation scope: it names the source."""
        return SCOPES[self.source]
