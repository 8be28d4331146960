"""What the files of one cgroup say."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.limits import LimitReader, Limits
from otel_kernel.node import cpu, memory, pressure
from otel_kernel.node.controllers import Controllers
from otel_kernel.node.cpu import Throttling
from otel_kernel.node.open_files import OpenFiles
from otel_kernel.node.pressure import Pressure

T = TypeVar("T")

_MEMORY_V1 = ("memory.usage_in_bytes", "memory.oom_control")
_MEMORY_V2 = ("memory.current", "memory.events")


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
        self._limits = LimitReader(controllers, files, judge, groups)

    def read(self, path: str, now_unix_ns: int, *, of_pod: bool) -> Reading:
        """Return what the files of the cgroup at `path` say; of a pod's, not how often its processes were killed."""
        failures = self._judge.failures
        usage_ns, throttling = self._cpu(path) if "cpu" in self._groups else (None, None)
        memory_told = self._memory(path, of_pod=of_pod) if "memory" in self._groups else (None, None, None)
        pressures = self._pressures(path) if "pressure" in self._groups else ()
        limits = self._limits.read(path, now_unix_ns)
        return Reading(usage_ns, throttling, *memory_told, pressures, limits, self._judge.failures == failures)

    def read_cpu(self, path: str, now_unix_ns: int) -> Reading:
        """Return what only the files of CPU time say."""
        failures = self._judge.failures
        usage_ns, throttling = self._cpu(path) if "cpu" in self._groups else (None, None)
        limits = self._limits.read(path, now_unix_ns)
        return Reading(usage_ns, throttling, limits=limits, is_whole=self._judge.failures == failures)

    def is_there(self, path: str) -> bool:
        """Whether the cgroup has not been removed."""
        return Path(f"{self._at.pods}{path}").exists()

    def forget(self, path: str) -> None:
        """Close what is open of a cgroup that is gone."""
        at = self._at
        self._limits.forget(path)
        for root in {at.pods, at.v2, at.cpu_v1, at.cpuacct_v1, at.memory_v1} - {None}:
            self._files.forget(f"{root}{path}")

    def _cpu(self, path: str) -> tuple[int | None, Throttling | None]:
        stat = None
        if self._at.cpu_v1 is not None:
            stat = self._call("cpu.stat", self._at.cpu_v1 + path, cpu.parse_stat_v1)
        elif self._at.v2 is not None:
            stat = self._call("cpu.stat", self._at.v2 + path, cpu.parse_stat)
        usage_ns, throttling = stat or (None, None)
        if self._at.cpuacct_v1 is not None:
            usage_ns = self._call("cpuacct.usage", self._at.cpuacct_v1 + path, cpu.parse_usage_v1)
        return usage_ns, throttling

    def _memory(self, path: str, *, of_pod: bool) -> tuple[int | None, int | None, int | None]:
        v1 = self._at.memory_v1
        root = v1 or self._at.v2
        if root is None:
            return None, None, None
        directory = root + path
        usage_file, events_file = _MEMORY_V1 if v1 else _MEMORY_V2
        usage = self._call(usage_file, directory, memory.parse_bytes)
        inactive = self._call("memory.stat", directory, memory.parse_inactive_file)
        working_set = None if usage is None or inactive is None else memory.working_set(usage, inactive)
        kills = None if of_pod else self._call(events_file, directory, memory.parse_oom_kills)
        return usage, working_set, kills

    def _pressures(self, path: str) -> tuple[Pressure | None, ...]:
        if self._at.v2 is None:
            return ()
        directory = self._at.v2 + path
        return tuple(self._call(f"{resource}.pressure", directory, pressure.parse) for resource in pressure.RESOURCES)

    def _call(self, name: str, directory: str, parse: Callable[[bytes], T]) -> T | None:
        return self._judge.call(name, self._parsed, directory, name, parse)

    def _parsed(self, directory: str, name: str, parse: Callable[[bytes], T]) -> T:
        return parse(self._files.read(directory, name))
