"""What is to be counted for each container: which system calls by name, and what that asks of the compiler.

What nobody asked for is not compiled: it costs nothing.
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from otel_kernel.kernel.functions import THROTTLE, UNTHROTTLE, Watch

OTHER = "_OTHER"
# What has a number from here on has no name (bpf/include/life.h).
NUMBERS = 512
_FEWEST_COLUMNS = 64
_OPENS, _PATH_IS_LATE, _TIMED = 1, 2, 4
_OPENING = {"open": _OPENS, "creat": _OPENS, "openat": _OPENS | _PATH_IS_LATE, "openat2": _OPENS | _PATH_IS_LATE}
_KIND = struct.Struct("<HBB")  # struct call_kind
# CPUs that add to the same words wait for each other. More shards are no quicker, but take memory.
_SHARDS_MAX = 16
_CALL_BYTES_MAX = 12 << 20

TIMED_MAX = 16
FUNCTIONS_MAX = 16


@dataclass(frozen=True, slots=True)
class Counting:
    """What is counted. Names are those of system calls."""

    names: tuple[str, ...] | Literal["all"] | None = None  # counted by name, the rest together; None: not at all
    opens: bool = False
    processes: bool = False
    sched: bool = False
    errors: bool = False  # of system calls, by errno
    durations: tuple[str, ...] = ()
    open_paths: bool = False  # opens by the beginning of their path
    throttling: bool = False  # told for births
    throttled_durations: bool = False  # and kept of each container and pod
    throttle_stacks: bool = False  # where they were
    functions: tuple[str, ...] = ()  # of the kernel: their calls and durations

    @property
    def of_calls(self) -> bool:
        """Whether system calls are looked at."""
        return bool(self.names is not None or self.opens or self.errors or self.durations)

    @property
    def columns(self) -> int:
        """How many counters of system calls each container has, a power of two; the last is for all the rest."""
        if self.names == "all":
            return NUMBERS
        return max(_FEWEST_COLUMNS, _power_of_two(len(self.names or ()) + 1))

    def call_shards(self, slots: int, cpus: int) -> int:
        """Return over how many rows the counts of one container's calls are spread, a power of two."""
        shards = min(_SHARDS_MAX, _power_of_two(cpus))
        while shards > 1 and shards * slots * self.columns * 8 > _CALL_BYTES_MAX:
            shards //= 2
        return shards

    def without(self, macros: Collection[str]) -> "Counting":
        """Return what is left of it when these macros of bpf/ are not defined."""
        throttling = self.throttling and "WATCH_THROTTLING" not in macros
        stacks = self.throttle_stacks and not {"WATCH_THROTTLING", "THROTTLE_STACKS"} & set(macros)
        throttled_durations = throttling and self.throttled_durations
        if "COUNT_LIFE" in macros:
            return Counting(throttling=throttling, throttled_durations=throttled_durations, throttle_stacks=stacks)
        calls = "COUNT_CALLS" not in macros
        return Counting(
            names=self.names if calls and "COUNT_SYSCALLS" not in macros else None,
            opens=self.opens and calls and "COUNT_OPENS" not in macros,
            processes=self.processes and "COUNT_PROCESSES" not in macros,
            sched=self.sched and "COUNT_SCHED" not in macros,
            errors=self.errors and calls and "SYSCALL_ERRORS" not in macros,
            durations=self.durations if calls and "TIMED_CALLS" not in macros else (),
            open_paths=self.open_paths and calls and "OPEN_PATHS" not in macros,
            throttling=throttling,
            throttled_durations=throttled_durations,
            throttle_stacks=stacks,
            functions=self.functions if "FUNCTIONS" not in macros else (),
        )

    @property
    def watches(self) -> tuple[Watch, ...]:
        """Return the functions of the kernel that are watched."""
        by_name = (
            Watch(name, "function_entry", "function_entry", "function_return", cookie)
            for cookie, name in enumerate(self.functions, 1)
        )
        of_throttling = ((self.throttling, UNTHROTTLE), (self.throttling and self.throttle_stacks, THROTTLE))
        return (*(watch for is_asked, watch in of_throttling if is_asked), *by_name)

    def definitions(self, slots: int, cpus: int) -> dict[str, int]:
        """Return the macros that bpf/ takes."""
        features = {
            "COUNT_LIFE": bool(self.of_calls or self.processes or self.sched or self.functions),
            "COUNT_CALLS": self.of_calls,
            "COUNT_SYSCALLS": self.names is not None,
            "COUNT_OPENS": self.opens,
            "COUNT_PROCESSES": self.processes,
            "COUNT_SCHED": self.sched,
            "SYSCALL_ERRORS": self.errors,
            "OPEN_PATHS": self.opens and self.open_paths,
            "WATCH_THROTTLING": self.throttling,
            "THROTTLE_STACKS": self.throttle_stacks and self.throttling,
            "KEEP_THROTTLING": self.throttling and self.throttled_durations,
        }
        asked = {name: 1 for name, is_asked in features.items() if is_asked}
        timed = {"TIMED_CALLS": len(self.durations)} if self.durations else {}
        timed |= {"FUNCTIONS": len(self.functions)} if self.functions else {}
        return (
            asked
            | timed
            | {
                "COLUMNS": self.columns,
                "CALL_SHARDS": self.call_shards(slots, cpus),
                "LIFE_SHARDS": min(_SHARDS_MAX, _power_of_two(cpus)),
            }
        )

    def column_names(self, table: Mapping[str, int]) -> dict[int, str]:
        """Return the name of each column that something is counted in, given name -> number of this architecture."""
        if self.names == "all":
            known = {number: name for name, number in table.items()}
            named = {number: known.get(number, f"syscall_{number}") for number in range(NUMBERS - 1)}
        else:
            named = dict(enumerate(self.names or ()))
        return named | {self.columns - 1: OTHER}

    def kinds(self, table: Mapping[str, int], compat: Mapping[str, int]) -> list[bytes]:
        """Return what each number means: first 64-bit calls, then 32-bit ones, known by what they are called."""
        numbers = {number: name for name, number in table.items()}
        compat_numbers = {number: name for name, number in compat.items()}
        columns = {name: column for column, name in self.column_names(table).items()}
        native = [self._kind(numbers.get(at), columns, at if self.names == "all" else None) for at in range(NUMBERS)]
        return native + [self._kind(compat_numbers.get(at), columns, None) for at in range(NUMBERS)]

    def _kind(self, name: str | None, columns: Mapping[str, int], column: int | None) -> bytes:
        rest = self.columns - 1
        flags = _OPENING.get(name or "", 0) if self.opens else 0
        timed = self.durations.index(name) if name in self.durations else None
        at = columns.get(name or "", rest) if column is None else min(column, rest)
        return _KIND.pack(at, flags | (0 if timed is None else _TIMED), timed or 0)


def _power_of_two(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()
