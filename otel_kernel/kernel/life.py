"""What the kernel counted for each container (bpf/include/slot.h, life.h): slots, and the rows of counts that belong to them.

Each count is spread over shards, so that CPUs do not wait for one another: the sum over a slot's rows is exact, and never
goes back while the slot is the same container's.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from otel_kernel.kernel import bpf, records, syscalls
from otel_kernel.kernel.counting import Counting

WAIT_BUCKETS = 20
_NOBODY = 0

_OWNER = (("cgroup_id", "Q"), ("pod_id", "Q"), ("is_gone", "Q"), ("error_kinds", "Q"), ("path_kinds", "Q"))
_LIFE = (
    ("voluntary_switches", "Q"), ("involuntary_switches", "Q"), ("run_queue_ns", "Q"), ("run_queue", "20Q"),
    ("forks", "Q"), ("execs", "Q"), ("exits", "Q"), ("opens", "Q"), ("errors", "Q"), ("birth_calls", "Q"),
    ("alignment", "3Q"),
)  # fmt: skip
_UNCOUNTED = (("containers", "Q"), ("nested_cgroups", "Q"), ("waits", "Q"), ("durations", "Q"))
_LAYOUTS = {
    "owner": _OWNER,
    "life": _LIFE,
    "uncounted": _UNCOUNTED,
    "call_kind": (("column", "H"), ("flags", "B"), ("timed", "B")),
    "error_kind": (("slot", "I"), ("column", "H"), ("error", "H")),
    "duration": (("sum_ns", "Q"), ("counts", "20Q")),
    "path_prefix": (("slot", "I"), ("text", "60s")),
}
_OWNER_ROW = struct.Struct("<5Q")
_LIFE_ROW = struct.Struct("<32Q")
_DURATION_ROW = struct.Struct("<21Q")
_ERROR_KEY = struct.Struct("<IHH")
_PATH_KEY = struct.Struct("<I60s")
Keyed = dict[int, dict[bytes, int]]  # by slot: the rows of a table that is keyed by it, without the slot


class Owner(NamedTuple):
    """Who has a slot."""

    slot: int
    cgroup_id: int
    pod_id: int  # of the cgroup above
    is_gone: bool  # the cgroup was removed: what was counted is all


class Life(NamedTuple):
    """What is counted for each slot but its calls by name."""

    voluntary_switches: int
    involuntary_switches: int
    run_queue_ns: int
    run_queue: tuple[int, ...]  # waits, by WAIT_BUCKETS: up to 1 us, 2 us, 4 us, ...
    forks: int
    execs: int
    exits: int
    opens: int  # with open_paths those that found no place by their path
    errors: int  # those that found no place by their kind
    birth_calls: int  # of the runtime's own tasks, before the container's program ran

    @classmethod
    def of(cls, row: bytes) -> "Life":
        """Return what a row says."""
        values = _LIFE_ROW.unpack(row)
        return cls(*values[:3], values[3:23], *values[23:29])


class Duration(NamedTuple):
    """How long the calls of one name took that have returned."""

    sum_ns: int
    counts: tuple[int, ...]  # by WAIT_BUCKETS


class Row(NamedTuple):
    """All that was counted for one slot, as 64-bit words: equal bytes, equal counts."""

    calls: bytes  # by column; empty when they are not counted
    life: bytes
    durations: bytes


class Uncounted(NamedTuple):
    """What found no room in a table."""

    containers: int
    nested_cgroups: int
    waits: int
    durations: int


class ContainerCounts:
    """The tables of counts. The descriptors are the probes'; only the link is owned."""

    def __init__(self, programs: Mapping[str, int], maps: Mapping[str, bpf.Map], told: Mapping[str, Any]) -> None:
        """Take over what was loaded; `told` is the loader's manifest. Raises LayoutError when C and Python differ."""
        for name, fields in _LAYOUTS.items():
            if name in told:
                records.compare(name, fields, told[name])
        self._programs, self._maps = programs, maps
        self._syscalls: Mapping[str, int] = told["syscalls"]
        self._slots = maps["owners"].max_entries
        self._link: int | None = None

    def begin(self, counting: Counting) -> None:
        """Say what calls mean, and offer every slot. Before anything is attached. Raises OSError, UnknownCallError."""
        kinds = counting.kinds(self._syscalls, syscalls.compat_table()) if "call_kinds" in self._maps else []
        for at, kind in enumerate(kinds):
            self._maps["call_kinds"].update(struct.pack("<I", at), kind)
        for slot in range(self._slots):
            self._maps["free_slots"].push(struct.pack("<I", slot))

    @property
    def counts_sched(self) -> bool:
        """Whether context switches can be looked at; they are once `attach` was called."""
        return "on_switch" in self._programs

    def attach(self) -> None:
        """Begin to look at context switches. Raises OSError."""
        self._link = bpf.open_raw_tracepoint("sched_switch", self._programs["on_switch"])

    def detach(self) -> None:
        """End that."""
        if self._link is not None:
            os.close(self._link)
            self._link = None

    def adopt(self, cgroup_id: int, above_id: int, *, is_below_pod: bool) -> None:
        """Give a slot to a container's cgroup that was there before, or that of the one above to a cgroup below it.

        One that has a slot keeps it. Raises OSError.
        """
        bpf.run_raw_tracepoint(self._programs["adopt_cgroup"], cgroup_id, above_id, int(is_below_pod))

    def owners(self) -> list[Owner]:
        """Return who has a slot, those that are gone and not released among them. Raises OSError."""
        with _mapped(self._maps["owners"]) as rows:
            told = (struct.unpack_from("<3Q", rows, slot * _OWNER_ROW.size) for slot in range(self._slots))
            return [
                Owner(slot, cgroup_id, pod_id, bool(is_gone))
                for slot, (cgroup_id, pod_id, is_gone) in enumerate(told)
                if cgroup_id != _NOBODY
            ]

    @contextmanager
    def reading(self) -> Iterator["Rows"]:
        """Map the tables for as long as the context lasts. Raises OSError."""
        tables = [self._maps.get(name) for name in ("syscall_counts", "lives", "durations")]
        with _mapped(tables[0]) as calls, _mapped(tables[1]) as lives, _mapped(tables[2]) as durations:
            yield Rows(tables, (calls, lives, durations), self._slots)

    def errors(self) -> Keyed:
        """Return how often calls failed, by slot and key (`error_kind`). Raises OSError."""
        return self._keyed("syscall_errors")

    def opened(self) -> Keyed:
        """Return the successful opens by slot and key (`path_prefix`). Raises OSError."""
        return self._keyed("opened")

    def _keyed(self, name: str) -> Keyed:
        found: Keyed = {}
        for key, value in self._maps[name].items():
            found.setdefault(int.from_bytes(key[:4], "little"), {})[key[4:]] = int.from_bytes(value, "little")
        return found

    def release(self, slot: int) -> None:
        """Clear the slot of a container that is gone, whose last counts were taken, and offer it again. Raises OSError."""
        key = struct.pack("<I", slot)
        for name in ("syscall_counts", "lives", "durations"):
            table = self._maps.get(name)
            if table is not None:
                shards = table.max_entries // self._slots
                for row in range(slot * shards, (slot + 1) * shards):
                    table.update(struct.pack("<I", row), bytes(table.value_size))
        for name in ("syscall_errors", "opened"):
            table = self._maps.get(name)
            for entry in list(table.keys()) if table is not None else ():
                if entry.startswith(key):
                    self._maps[name].delete(entry)
        self._maps["owners"].update(key, bytes(_OWNER_ROW.size))
        self._maps["free_slots"].push(key)

    def uncounted(self) -> Uncounted:
        """Return what found no room. Raises OSError."""
        return Uncounted(*struct.unpack("<4Q", self._maps["uncounted"].lookup(bytes(4)) or bytes(32)))


class Rows:
    """The tables of counts as memory."""

    def __init__(self, tables: list[bpf.Map | None], views: tuple[memoryview, ...], slots: int) -> None:
        shards = [table.max_entries // slots if table is not None else 0 for table in tables]
        widths = [table.value_size if table is not None else 0 for table in tables]
        (self._calls, self._lives, self._durations), self._shards, self._widths = views, shards, widths

    def of(self, slot: int) -> Row:
        """Return all that was counted for a slot, summed over shards."""
        calls = _sum(self._calls, slot * self._shards[0], self._shards[0], self._widths[0])
        life = _sum(self._lives, slot * self._shards[1], self._shards[1], self._widths[1])
        size = self._shards[2] * self._widths[2]
        return Row(calls, life, bytes(self._durations[slot * size : (slot + 1) * size]))


def _sum(table: memoryview, first: int, rows: int, width: int) -> bytes:
    """Return the sum of some rows, word by word.

    As one number each: no word outgrows its 64 bits, so none is carried into the next. A row is copied before it is a
    number: the copy moves aligned words whole, while the kernel goes on counting.
    """
    at, total = first * width, 0
    for _ in range(rows):
        total += int.from_bytes(bytes(table[at : at + width]), "little")
        at += width
    return total.to_bytes(width, "little")


@contextmanager
def _mapped(table: bpf.Map | None) -> Iterator[memoryview]:
    """Map an array (BPF_F_MMAPABLE) for as long as the context lasts: what stays mapped counts as our memory."""
    if table is None:
        yield memoryview(b"")
        return
    size = -(-table.value_size * table.max_entries // mmap.PAGESIZE) * mmap.PAGESIZE
    with mmap.mmap(table.fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as held, memoryview(held) as view:
        yield view


def by_column(calls: bytes) -> tuple[int, ...]:
    """Return the counts of calls, by column."""
    return struct.unpack(f"<{len(calls) // 8}Q", calls)


def durations(row: bytes) -> list[Duration]:
    """Return how long the timed calls took, in the order in which they were asked for."""
    return [Duration(sum_ns, tuple(counts)) for sum_ns, *counts in _DURATION_ROW.iter_unpack(row)]


def error_kind(key: bytes) -> tuple[int, int]:
    """Return the column and the number of an error."""
    column, error = struct.unpack("<HH", key)
    return column, error


def path_prefix(key: bytes) -> str:
    """Return the beginning of a path; bytes that are no UTF-8 or not printable as Python writes them."""
    text = key.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
