"""How much CPU time and memory cgroups may have. Limits change rarely, so they are read anew once a minute."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.seldom import Seldom
from otel_kernel.node import cpu, memory, open_files
from otel_kernel.node.controllers import Controllers

T = TypeVar("T")

SELDOM_NS = 60_000_000_000


class Limits(NamedTuple):
    """The limits of one cgroup. None: there is none, or it was not asked for."""

    cpu: float | None
    memory_bytes: int | None
    read_unix_ns: int


class LimitReader:
    """Reads limits, and remembers them."""

    def __init__(self, controllers: Controllers, judge: Judge, groups: frozenset[str]) -> None:
        self._at = controllers
        self._judge = judge
        self._groups = groups
        self._known: Seldom[tuple[float | None, int | None]] = Seldom(SELDOM_NS)

    def read(self, path: str, now_unix_ns: int) -> Limits:
        """Return the limits of the cgroup at `path`, as they were at most a minute ago."""
        known = self._known.read(path, now_unix_ns, partial(self._look, path))
        return Limits(*known.value, known.read_ns)

    def forget(self, path: str) -> None:
        """Forget a cgroup that is gone."""
        self._known.forget(path)

    def _look(self, path: str) -> tuple[tuple[float | None, int | None], bool]:
        failures = self._judge.failures
        cpu_limit = self._cpu(path) if "cpu" in self._groups else None
        memory_limit = self._memory(path) if "memory" in self._groups else None
        return (cpu_limit, memory_limit), self._judge.failures == failures

    def _cpu(self, path: str) -> float | None:
        if self._at.cpu_v1 is not None:
            return self._judge.call("cpu.cfs_quota_us", _quota_v1, self._at.cpu_v1 + path)
        return None if self._at.v2 is None else self._call("cpu.max", self._at.v2 + path, cpu.parse_limit)

    def _memory(self, path: str) -> int | None:
        if self._at.memory_v1 is not None:
            return self._call("memory.limit_in_bytes", self._at.memory_v1 + path, memory.parse_limit)
        return None if self._at.v2 is None else self._call("memory.max", self._at.v2 + path, memory.parse_limit)

    def _call(self, name: str, directory: str, parse: Callable[[bytes], T]) -> T | None:
        return self._judge.call(name, lambda: parse(open_files.read(f"{directory}/{name}")))


def _quota_v1(directory: str) -> float | None:
    quota, period = (open_files.read(f"{directory}/cpu.cfs_{name}_us") for name in ("quota", "period"))
    return cpu.parse_limit_v1(quota, period)
