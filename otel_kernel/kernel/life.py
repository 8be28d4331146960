"""What the kernel counted for each container (bpf/include/slot.h, life.h): slots, and the rows that belong to them.

Each count is spread over shards, so that CPUs do not wait for one another: the sum over a slot's rows is exact, and
never goes back while the slot is the same container's.
"""

import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from otel_kernel.kernel import bpf, records, syscalls
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.parts import SWITCH

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
    "function_calls": (("calls", "Q"), ("sum_ns", "Q"), ("counts", "20Q")),
    "path_prefix": (("slot", "I"), ("text", "60s")),
}
_OWNER_ROW = struct.Struct("<5Q")
_LIFE_ROW = struct.Struct("<32Q")
_DURATION_ROW = struct.Struct("<21Q")
_FUNCTION_ROW = struct.Struct("<22Q")
_SUMMED = ("syscall_counts", "lives")
_ONE_BY_ONE = ("durations", "function_calls")
_BY_KEY = ("syscall_errors", "opened")

Keyed = dict[int, dict[bytes, int]]  # by slot: the rows of a table that is keyed by it, without the slot


class Owner(NamedTuple):
    """Who has a slot."""

    slot: int
    cgroup_id: int
    pod_id: int  # of the cgroup above
    is_gone: bool  # the cgroup was removed: what was counted is all


class Row(NamedTuple):
    """All that was counted for one slot, as 64-bit words: equal bytes, equal counts."""

    calls: bytes  # by column; empty when they are not counted
    life: bytes
    durations: bytes
    functions: bytes


class Life(NamedTuple):
    """What is counted for each slot but its calls by name."""

    voluntary_switches: int
    involuntary_switches: int
    run_queue_ns: int
    run_queue: tuple[int, ...]  # waits of up to 1 us, 2 us, 4 us, ... 2^18 us, and longer ones
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
        voluntary, involuntary, run_queue_ns, *rest = values
        return cls(voluntary, involuntary, run_queue_ns, tuple(rest[:20]), *rest[20:26])


class Duration(NamedTuple):
    """How long the calls of one name took that have returned."""

    sum_ns: int
    counts: tuple[int, ...]  # as Life.run_queue


class FunctionCalls(NamedTuple):
    """How often a function of the kernel was called, and how long its calls took that have returned."""

    calls: int
    sum_ns: int
    counts: tuple[int, ...]  # as Life.run_queue; of calls within a call of itself only the outermost


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
        self.syscalls: Mapping[str, int] = told["syscalls"]
        self._slots = maps["owners"].max_entries
        self._link: int | None = None

    def begin(self, counting: Counting) -> None:
        """Say what calls mean, and offer every slot. Before anything is attached. Raises OSError."""
        kinds = counting.kinds(self.syscalls, syscalls.compat_table()) if "call_kinds" in self._maps else []
        for at, kind in enumerate(kinds):
            self._maps["call_kinds"].update(_key(at), kind)
        for slot in range(self._slots):
            self._maps["free_slots"].push(_key(slot))

    def attach(self) -> None:
        """Begin to look at context switches. Raises OSError."""
        self._link = bpf.open_raw_tracepoint(SWITCH, self._programs["on_switch"])

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

    def disown(self, cgroup_id: int) -> None:
        """Take note that an adopted cgroup is gone, which the kernel side may not have seen. Raises OSError."""
        key = struct.pack("<Q", cgroup_id)
        for name in ("slots", "nested"):
            self._maps[name].delete(key)
        for owner in self.owners():
            if owner.cgroup_id == cgroup_id and not owner.is_gone:
                self._maps["owners"].update(_key(owner.slot), _OWNER_ROW.pack(cgroup_id, owner.pod_id, 1, 0, 0))

    def owners(self) -> list[Owner]:
        """Return who has a slot, those that are gone and not released among them. Raises OSError."""
        with _mapped(self._maps["owners"]) as rows:
            told = (struct.unpack_from("<3Q", rows, slot * _OWNER_ROW.size) for slot in range(self._slots))
            return [
                Owner(slot, cgroup_id, pod_id, bool(is_gone))
                for slot, (cgroup_id, pod_id, is_gone) in enumerate(told)
                if cgroup_id != _NOBODY
            ]

    def owner(self, cgroup_id: int, known: Owner | None) -> Owner | None:
        """Return who has the slot of a cgroup now, where it was `known` to be; None when nobody has. Raises OSError."""
        if known is not None:
            row = self._maps["owners"].lookup(_key(known.slot)) or bytes(_OWNER_ROW.size)
            now_id, pod_id, is_gone, *_ = _OWNER_ROW.unpack(row)
            if now_id == cgroup_id:
                return Owner(known.slot, cgroup_id, pod_id, bool(is_gone))
        return next((each for each in self.owners() if each.cgroup_id == cgroup_id), None)

    @contextmanager
    def reading(self) -> Iterator["Rows"]:
        """Map the tables for as long as the context lasts. Raises OSError."""
        tables = [self._maps.get(name) for name in (*_SUMMED, *_ONE_BY_ONE)]
        with ExitStack() as stack:
            views = [stack.enter_context(_mapped(table)) for table in tables]
            yield Rows(*(_Table(view, table, self._slots) for view, table in zip(views, tables, strict=True)))

    def row(self, slot: int) -> Row:
        """Return all that was counted for one slot. Raises OSError."""
        summed = (_sum(list(self._rows(name, slot))) for name in _SUMMED)
        return Row(*summed, *(b"".join(self._rows(name, slot)) for name in _ONE_BY_ONE))

    def _rows(self, name: str, slot: int) -> Iterator[bytes]:
        table = self._maps.get(name)
        for at in self._places(table, slot):
            yield (table.lookup(_key(at)) or b"") if table is not None else b""

    def _places(self, table: bpf.Map | None, slot: int) -> range:
        rows = table.max_entries // self._slots if table is not None else 0
        return range(slot * rows, (slot + 1) * rows)

    def errors(self) -> Keyed:
        """Return how often calls failed, by slot and key (`error_kind`). Raises OSError."""
        return self._keyed("syscall_errors")

    def opened(self) -> Keyed:
        """Return the successful opens by slot and key (`path_prefix`). Raises OSError."""
        return self._keyed("opened")

    def _keyed(self, name: str) -> Keyed:
        found: Keyed = {}
        for key, value in self._maps[name].entries() if name in self._maps else ():
            found.setdefault(int.from_bytes(key[:4], "little"), {})[key[4:]] = int.from_bytes(value, "little")
        return found

    def release(self, slot: int) -> None:
        """Clear the slot of a container that is gone and whose last counts were taken, and offer it. Raises OSError."""
        for name in (*_SUMMED, *_ONE_BY_ONE):
            table = self._maps.get(name)
            for at in self._places(table, slot):
                self._maps[name].update(_key(at), bytes(self._maps[name].value_size))
        for name in _BY_KEY:
            for key in self._keyed(name).get(slot, {}):
                self._maps[name].delete(_key(slot) + key)
        self._maps["owners"].update(_key(slot), bytes(_OWNER_ROW.size))
        self._maps["free_slots"].push(_key(slot))

    def uncounted(self) -> Uncounted:
        """Return what found no room. Raises OSError."""
        return Uncounted(*struct.unpack("<4Q", self._maps["uncounted"].lookup(bytes(4)) or bytes(32)))


class _Table:
    """One table of rows, as memory."""

    def __init__(self, view: memoryview, table: bpf.Map | None, slots: int) -> None:
        self._view = view
        self._width = table.value_size if table is not None else 0
        self._size = self._width * (table.max_entries // slots) if table is not None else 0

    def rows(self, slot: int) -> list[bytes]:
        # Each row is copied in one go, which moves aligned words whole, while the kernel goes on counting.
        first = slot * self._size
        return [bytes(self._view[at : at + self._width]) for at in range(first, first + self._size, self._width or 1)]


class Rows:
    """The tables of counts as memory: reading them takes no system call."""

    def __init__(self, calls: _Table, lives: _Table, durations: _Table, functions: _Table) -> None:
        self._calls, self._lives, self._durations, self._functions = calls, lives, durations, functions

    def of(self, slot: int) -> Row:
        """Return all that was counted for a slot."""
        calls, lives = self._calls.rows(slot), self._lives.rows(slot)
        durations_, functions = self._durations.rows(slot), self._functions.rows(slot)
        return Row(_sum(calls), _sum(lives), b"".join(durations_), b"".join(functions))


def _sum(rows: list[bytes]) -> bytes:
    """Return the sum of rows, word by word: as one number each, since no word of the sum outgrows its 64 bits."""
    if len(rows) <= 1:
        return rows[0] if rows else b""
    return sum(int.from_bytes(row, "little") for row in rows).to_bytes(len(rows[0]), "little")


def _key(number: int) -> bytes:
    return number.to_bytes(4, "little")


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


def functions(row: bytes) -> list[FunctionCalls]:
    """Return how often functions of the kernel were called, in the order in which they were asked for."""
    return [FunctionCalls(calls, sum_ns, tuple(counts)) for calls, sum_ns, *counts in _FUNCTION_ROW.iter_unpack(row)]


def error_kind(key: bytes) -> tuple[int, int]:
    """Return the column and the number of an error."""
    column, error = struct.unpack("<HH", key)
    return column, error


def path_prefix(key: bytes) -> str:
    """Return the beginning of a path; bytes that are no UTF-8 or not printable as Python writes them."""
    text = key.partition(b"\0")[0].decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
