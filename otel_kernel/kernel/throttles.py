"""The intervals in which pods and containers stood still, their CPU limit used up (bpf/throttling.c).

A pod or container is the cgroup id of its own cgroup; what happens to one below a container's is the container's.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from otel_kernel.kernel import bpf, functions, records

# The structs of bpf/include/throttling.h.
_LAYOUTS = {
    "throttling": (
        ("intervals", "Q"), ("sum_ns", "Q"), ("counts", "20Q"), ("is_told", "Q"), ("is_gone", "Q"), ("last", "32Q"),
    ),
    "throttling_losses": (("sent", "Q"), ("lost", "Q"), ("no_room", "Q")),
}  # fmt: skip
_THROTTLING, _LOSSES = (struct.Struct("<" + "".join(code for _, code in fields)) for fields in _LAYOUTS.values())
_ID = struct.Struct("<Q")


class Interval(NamedTuple):
    """One CPU on which a cgroup was throttled."""

    number: int  # of the cgroup's, from 0
    start_ns: int  # boot time
    length_ns: int  # as the kernel counts it
    cpu: int


class Throttling(NamedTuple):
    """All throttled intervals of a cgroup that ended."""

    intervals: int
    sum_ns: int
    counts: tuple[int, ...]  # of up to 64 us, 128 us, ... 2^24 us, and longer ones
    is_gone: bool  # the cgroup was removed: what was counted is all
    last: tuple[Interval, ...]  # the latest few, oldest first

    @classmethod
    def of(cls, row: bytes) -> "Throttling":
        """Return what a row says; of the last intervals those that were not being written just then."""
        intervals, sum_ns, *rest = _THROTTLING.unpack(row)
        counts, is_gone, words = rest[:20], bool(rest[21]), rest[22:]
        rows = (words[at : at + 4] for at in range(0, len(words), 4))
        last = sorted(Interval(number - 1, *of) for number, *of in rows if number)
        return cls(intervals, sum_ns, tuple(counts), is_gone, tuple(last))


class Losses(NamedTuple):
    """What was told one by one, and what was not counted."""

    sent: int  # records
    lost: int  # of these: the ring was full
    no_room: int  # intervals of cgroups for which there was no room


class Throttles:
    """What counts throttled intervals. The descriptors are the probes'; only the links are its own."""

    def __init__(self, loaded: functions.Loaded, maps: Mapping[str, bpf.Map], told: Mapping[str, Any]) -> None:
        """Take over what was loaded; `told` is the loader's manifest. Raises LayoutError when C and Python differ."""
        for name, fields in _LAYOUTS.items():
            records.compare(name, fields, told[name])
        self._loaded, self._maps = loaded, maps
        self._links: functions.Attached | None = None

    def attach(self) -> None:
        """Begin to count. Raises OSError that says what stands in the way."""
        self._links = functions.attach(functions.UNTHROTTLE, self._loaded)

    def detach(self) -> None:
        """Count nothing more."""
        functions.detach([self._links] if self._links else [])
        self._links = None

    @property
    def attached(self) -> list[str]:
        """Return the names of the programs that are attached."""
        ways = self._links.ways if self._links else ()
        return [f"{functions.UNTHROTTLE.function}:{way}" for way in ways]

    def read(self) -> dict[int, Throttling]:
        """Return what was counted of every pod and container that there is a row for. Raises OSError."""
        return {_ID.unpack(key)[0]: Throttling.of(row) for key, row in self._maps["throttlings"].entries()}

    def read_one(self, cgroup_id: int) -> Throttling | None:
        """Return what was counted of one; None when there is no row for it. Raises OSError."""
        row = self._maps["throttlings"].lookup(_ID.pack(cgroup_id))
        return None if row is None else Throttling.of(row)

    def forget(self, gone: Iterable[int]) -> None:
        """Forget those that are gone and whose last counts were taken. Raises OSError."""
        for cgroup_id in gone:
            self._maps["throttlings"].delete(_ID.pack(cgroup_id))

    def losses(self) -> Losses:
        """Return what was sent, and what was not counted. Raises OSError."""
        return Losses(*_LOSSES.unpack(self._maps["throttling_losses"].lookup(bytes(4)) or bytes(_LOSSES.size)))

    def missed(self) -> int:
        """Return how often the kernel skipped a program of ours; of kprobes it does not tell before 6.7.

        Raises OSError.
        """
        return sum(bpf.runs(self._loaded.programs[name]).misses for name in self.attached)
