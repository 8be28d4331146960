"""What is added to the end of a throttled interval."""

import os
import statistics
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import container_cgroup, empty_pair
from benchmarks.results import Bar, Result, Row
from otel_kernel.kernel import bpf, btf, compiled, loader, parts
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.events import THROTTLED_TOLD
from otel_kernel.kernel.probes import BELOW_POD, POD_LEVEL, Sizes
from otel_kernel.kernel.throttles import Throttling

NEEDS = ()
ROUNDS = 40
INTERVALS = THROTTLED_TOLD  # of a round
LENGTH_NS = 90_000_000
LIMIT_NS = 1000.0
ROOM, ADDRESS = 8192, 8184
_COUNTING = Counting(throttling=True, throttled_durations=True)
_ID, _WORD, _INT = struct.Struct("<Q"), struct.Struct("<Q"), struct.Struct("<I")


def measure(say: Callable[[str], None]) -> Result:
    """Let the programs end intervals of a run queue that is none, and ask the kernel how long they took."""
    types = btf.KernelTypes()
    told, counted, empty = [], [], []
    with ExitStack() as stack:
        stack.enter_context(_on_one_cpu())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        container = stack.enter_context(container_cgroup.made())
        programs = stack.enter_context(_Programs(types, directory, container).loaded())
        for number in range(ROUNDS):
            if number % 10 == 0:
                say(f"round {number + 1} of {ROUNDS}")
            programs.forget(is_told=True)
            told.append(programs.interval_ns())
            programs.forget(is_told=False)
            counted.append(programs.interval_ns())
            empty.append(programs.empty_ns())
    return _result(told, counted, empty)


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Entry and return of the kernel's function run on one CPU, too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class _Programs:
    """The programs as raw tracepoints', which can be run at will; and a run queue whose tasks are a container's."""

    types: btf.KernelTypes
    cache: Path
    container: Path

    @contextmanager
    def loaded(self) -> Iterator["_Programs"]:
        """Load them for as long as the context lasts. Raises OSError."""
        sizes = Sizes()
        asked = sizes.definitions() | _COUNTING.definitions(sizes.slots, sizes.cpus)
        definitions, absent = parts.with_offsets(self.types, asked)
        if absent:
            raise RuntimeError("; ".join(absent.values()))
        ready = loader.compile_programs(*loader.prepare(self.types, definitions, self.cache))
        self._maps = compiled.make_maps(ready, {})
        places = dict(enumerate(self._maps.values()))
        names = ("unthrottle_fentry", "unthrottle_return")
        self._entry, self._return = (
            bpf.load_program(name, compiled.by_place(ready.programs[name], places)) for name in names
        )
        self._empty = bpf.load_program("empty", empty_pair.RETURN_ZERO)
        self._rows = bpf.Map(self._maps["throttlings"])
        self._id = self.container.stat().st_ino
        cgroups = bpf.Map(self._maps["pod_cgroups"])
        cgroups.update(_ID.pack(self._id), _INT.pack(BELOW_POD))
        cgroups.update(_ID.pack(self.container.parent.stat().st_ino), _INT.pack(POD_LEVEL))
        self._run_queue = _run_queue(self.types, self.container)
        statistics_fd = bpf.enable_run_statistics()
        try:
            yield self
        finally:
            for fd in (statistics_fd, self._entry, self._return, self._empty, *self._maps.values()):
                os.close(fd)

    def forget(self, *, is_told: bool) -> None:
        """Begin anew with the container; `is_told`: its birth is watched."""
        row = bytearray(self._rows.value_size)
        _WORD.pack_into(row, 22 * 8, is_told)
        self._rows.update(_ID.pack(self._id), bytes(row))

    def interval_ns(self) -> float:
        """Return what one interval takes, of many. Raises RuntimeError when they were not counted."""
        before = self._spent_ns(self._entry) + self._spent_ns(self._return)
        for _ in range(INTERVALS):
            bpf.run_raw_tracepoint(self._entry, self._run_queue)
            bpf.run_raw_tracepoint(self._return, 0)
        counted = Throttling.of(self._rows.lookup(_ID.pack(self._id)) or b"")
        if (counted.intervals, counted.sum_ns) != (INTERVALS, INTERVALS * LENGTH_NS):
            raise RuntimeError(f"of {INTERVALS} intervals {counted.intervals} were counted, {counted.sum_ns} ns")
        return (self._spent_ns(self._entry) + self._spent_ns(self._return) - before) / INTERVALS

    def empty_ns(self) -> float:
        """Return what two empty programs take, by the same measure."""
        before = self._spent_ns(self._empty)
        for _ in range(2 * INTERVALS):
            bpf.run_raw_tracepoint(self._empty, 0)
        return (self._spent_ns(self._empty) - before) / INTERVALS

    @staticmethod
    def _spent_ns(program: int) -> int:
        return bpf.runs(program).time_ns


def _run_queue(types: btf.KernelTypes, container: Path) -> int:
    """Return the address of what looks like a throttled run queue of a container, in the value of a map.

    Nothing but a program knows the address of a cgroup: a small one writes it there, in a process of the container.
    """
    members = [("cfs_rq", "rq"), ("cfs_rq", "tg"), ("cfs_rq", "throttled_clock"), ("cfs_rq", "throttled")]
    members += [("rq", "clock"), ("rq", "cpu"), ("cgroup_subsys_state", "cgroup")]
    rq, tg, since, throttled, clock, cpu, cgroup = (types.offset(*each) for each in members)
    if len({rq, tg, since, throttled, clock, cpu, cgroup}) < len(members):
        raise RuntimeError("on this kernel two members that are needed lie at the same place")
    fd = bpf.create_map(bpf.Shape("run_queue", 2, 4, ROOM, 1, 0))  # an array
    of_task, of_set = types.offset("task_struct", "cgroups"), types.offset("css_set", "dfl_cgrp")
    code = [
        (0x85, 0, 0, 158),  # r0 = bpf_get_current_task_btf()
        (0x79, 0x02, of_task, 0),  # r2 = r0->cgroups
        (0x79, 0x22, of_set, 0),  # r2 = r2->dfl_cgrp
        (0x18, 0x21, 0, fd),  # r1 = the value's address
        (0, 0, 0, 0),
        (0x7B, 0x21, cgroup, 0),  # tg and rq lie where the run queue does
        *((0x7B, 0x11, at, 0) for at in (rq, tg, ADDRESS)),
        (0xB7, 0, 0, 0),
        (0x95, 0, 0, 0),
    ]
    program = bpf.load_program("run_queue", b"".join(struct.pack("<BBhi", *each) for each in code))
    _run_inside(container, program)
    made = bpf.Map(fd)
    value = bytearray(made.lookup(bytes(4)) or b"")
    _WORD.pack_into(value, since, 1)
    _WORD.pack_into(value, clock, 1 + LENGTH_NS)
    made.update(bytes(4), bytes(value))
    os.close(program)
    return int(_WORD.unpack_from(value, ADDRESS)[0])  # the map lives as long as this process


def _run_inside(container: Path, program: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            (container / "cgroup.procs").write_text("0")
            bpf.run_raw_tracepoint(program, 0)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _result(told: list[float], counted: list[float], empty: list[float]) -> Result:
    def bar(samples: list[float]) -> Bar:
        return Bar(statistics.median(samples), LIMIT_NS, "ns")

    rows = [
        Row("two empty programs, by the same measure", empty, "ns"),
        Row("an interval, counted", counted, "ns", bar=bar(counted)),
        Row("an interval, counted and told one by one, as in a birth", told, "ns", bar=bar(told)),
    ]
    method = (
        "The programs at entry and return of unthrottle_cfs_rq are run on a run queue of a container that is made up "
        "in a map's value: so they can be measured where the kernel lets no function be watched. "
        f"{ROUNDS} rounds of {INTERVALS} intervals, by the kernel's own statistics of runs, whose two clock readings "
        "are in the figures. What it takes to get into a program (by fentry, or a kprobe) is not. It was checked that "
        "every interval was counted."
    )
    return Result("What is added to the end of a throttled interval?", method, rows)
