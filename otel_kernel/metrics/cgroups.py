"""What the files of one cgroup say."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.limits import LimitReader, Limits
from otel_kernel.node import cpu, memory, pressure
from otel_kernel.node.controllers import Controllers
from otel_kernel.node.cpu import Throttling
from otel_kernel.node.open_files import OpenFiles, Place
from otel_kernel.node.pressure import Pressure

_MEMORY_V1 = ("memory.usage_in_bytes", "memory.oom_control")
_MEMORY_V2 = ("memory.current", "memory.events")
_PRESSURES = tuple(f"{resource}.pressure" for resource in pressure.RESOURCES)
_NOTHING = cpu.CpuStat(None, None)

_KILLS = "kills"
_Wanted = tuple[str, Place, Callable[[bytes], Any]]  # what a file tells, where it is, its parser


class Reading(NamedTuple):
    """One cgroup at one moment. None: not there, or not asked."""

    usage_ns: int | None = None
    throttling: Throttling | None = None
    memory_bytes: int | None = None
    working_set_bytes: int | None = None
    oom_kills: int | None = None
    pressures: tuple[Pressure | None, ...] = ()  # of pressure.RESOURCES
    limits: Limits = Limits(None, None, 0)
    is_whole: bool = True  # nothing was there that could not be read

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to be read."""
        return self.usage_ns is None and self.memory_bytes is None and not any(self.pressures)


class CgroupReader:
    """Reads cgroups, each from the hierarchies that tell of it. `groups` are those of the settings."""

    def __init__(self, controllers: Controllers, files: OpenFiles, judge: Judge, groups: frozenset[str]) -> None:
        self._at = controllers
        self._files = files
        self._judge = judge
        self._groups = groups
        self._limits = LimitReader(controllers, judge, groups)
        self._of_container = tuple(self._wanted())
        self._of_pod = tuple(wanted for wanted in self._of_container if wanted[0] != _KILLS)

    def read(self, path: str, now_unix_ns: int, *, of_pod: bool) -> Reading:
        """Return what the files of the cgroup at `path` say; of a pod's, not how often its processes were killed."""
        failures, call, parsed = self._judge.failures, self._judge.call, self._files.parsed
        told: dict[str, Any] = {}
        for what, place, parse in self._of_pod if of_pod else self._of_container:
            told[what] = call(place.name, parsed, path, place, parse)
        usage_ns, throttling = told.get("cpu") or _NOTHING
        memory_bytes, inactive_bytes = told.get("memory"), told.get("inactive")
        working_set = (
            None if memory_bytes is None or inactive_bytes is None else memory.working_set(memory_bytes, inactive_bytes)
        )
        return Reading(
            told.get("usage", usage_ns),
            throttling,
            memory_bytes,
            working_set,
            told.get(_KILLS),
            tuple([told[resource] for resource in _PRESSURES]) if _PRESSURES[0] in told else (),
            self._limits.read(path, now_unix_ns),
            self._judge.failures == failures,
        )

    def read_throttling(self, path: str, now_unix_ns: int) -> Reading:
        """Return how often a cgroup was throttled, and by which limit; nothing is read where there is none."""
        failures = self._judge.failures
        limits = self._limits.read(path, now_unix_ns)
        throttling = None
        if limits.cpu is not None and self._of_pod:
            _, place, parse = self._of_pod[0]
            _, throttling = self._judge.call(place.name, self._files.parsed, path, place, parse) or _NOTHING
        return Reading(throttling=throttling, limits=limits, is_whole=self._judge.failures == failures)

    def is_there(self, path: str) -> bool:
        """Whether the cgroup has not been removed."""
        return Path(f"{self._at.pods}{path}").exists()

    def forget(self, path: str) -> None:
        """Close what is open of a cgroup that is gone."""
        self._limits.forget(path)
        self._files.forget(path)

    def _wanted(self) -> Iterator[_Wanted]:
        at, place = self._at, self._files.place
        if "cpu" in self._groups and at.cpu_v1 is not None:
            yield "cpu", place(at.cpu_v1, "cpu.stat"), cpu.parse_stat_v1
        elif "cpu" in self._groups and at.v2 is not None:
            yield "cpu", place(at.v2, "cpu.stat"), cpu.parse_stat
        if "cpu" in self._groups and at.cpuacct_v1 is not None:
            yield "usage", place(at.cpuacct_v1, "cpuacct.usage"), cpu.parse_usage_v1
        memory_root = at.memory_v1 or at.v2
        if "memory" in self._groups and memory_root is not None:
            usage, events = _MEMORY_V1 if at.memory_v1 else _MEMORY_V2
            yield "memory", place(memory_root, usage), memory.parse_bytes
            yield "inactive", place(memory_root, "memory.stat"), memory.parse_inactive_file
            yield _KILLS, place(memory_root, events), memory.parse_oom_kills
        if "pressure" in self._groups and at.v2 is not None:
            for name in _PRESSURES:
                yield name, place(at.v2, name), pressure.parse
