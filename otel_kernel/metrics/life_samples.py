"""What the kernel side counted for a container, as samples."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from otel_kernel.births.flags import error_name
from otel_kernel.kernel import life
from otel_kernel.kernel.counting import OTHER, Counting
from otel_kernel.kernel.life import Life, Row
from otel_kernel.metrics.samples import Distribution, Sample, SeriesName

_SYSCALLS = "otel_kernel.container.syscalls"
_ERRORS = "otel_kernel.container.syscall.errors"
_DURATION = "otel_kernel.container.syscall.duration"
_NAME, _ERROR = "otel_kernel.syscall.name", "error.type"
_FUNCTION_CALLS, _FUNCTION_DURATION = (f"otel_kernel.container.function.{what}" for what in ("calls", "duration"))
_FUNCTION = "code.function.name"
_SWITCHES = "otel_kernel.container.context_switches"
_VOLUNTARY = SeriesName(_SWITCHES, (("process.context_switch.type", "voluntary"),))
_INVOLUNTARY = SeriesName(_SWITCHES, (("process.context_switch.type", "involuntary"),))
_RUN_QUEUE = SeriesName("otel_kernel.container.run_queue.duration")
_FORKS, _EXECS, _EXITS = (SeriesName(f"otel_kernel.container.process.{what}") for what in ("forks", "execs", "exits"))
OPENS = "otel_kernel.container.file.opens"
_OPENS = SeriesName(OPENS)
_OTHER_ERRORS = SeriesName(_ERRORS, ((_NAME, OTHER), (_ERROR, OTHER)))


@dataclass(frozen=True, slots=True)
class LifeSamples:
    """Makes samples. `columns` are the names of system calls by their place in a row of counts."""

    counting: Counting
    columns: Mapping[int, str]

    def of(self, row: Row, errors: Mapping[bytes, int]) -> Iterator[Sample]:
        """Yield what was counted but for opens by their path. Counters of what is looked at are there from zero on."""
        counted = Life.of(row.life)
        yield from self._calls(row)
        if self.counting.errors:
            yield from self._errors(errors, counted.errors)
        for name, (sum_ns, counts) in zip(self.counting.durations, life.durations(row.durations), strict=True):
            yield Sample(SeriesName(_DURATION, ((_NAME, name),)), Distribution(counts, sum_ns / 1e9))
        for name, called in zip(self.counting.functions, life.functions(row.functions), strict=True):
            attributes = ((_FUNCTION, name),)
            yield Sample(SeriesName(_FUNCTION_CALLS, attributes), called.calls)
            yield Sample(SeriesName(_FUNCTION_DURATION, attributes), Distribution(called.counts, called.sum_ns / 1e9))
        if self.counting.sched:
            yield Sample(_VOLUNTARY, counted.voluntary_switches)
            yield Sample(_INVOLUNTARY, counted.involuntary_switches)
            yield Sample(_RUN_QUEUE, Distribution(counted.run_queue, counted.run_queue_ns / 1e9))
        if self.counting.processes:
            yield Sample(_FORKS, counted.forks)
            yield Sample(_EXECS, counted.execs)
            yield Sample(_EXITS, counted.exits)
        if self.counting.opens and not self.counting.open_paths:
            yield Sample(_OPENS, counted.opens)

    def _calls(self, row: Row) -> Iterator[Sample]:
        if self.counting.names is None:
            return
        # Only names that were called, and the rest: a full node would tell 30,000 zeros. A series that comes later is
        # preceded by a zero.
        for column, count in enumerate(life.by_column(row.calls)):
            if count or column == self.counting.columns - 1:
                yield Sample(_series(self.columns[column]), count)

    def _errors(self, errors: Mapping[bytes, int], others: int) -> Iterator[Sample]:
        for key, count in errors.items():
            column, number = life.error_kind(key)
            attributes = ((_NAME, self.columns.get(column, OTHER)), (_ERROR, error_name(-number) or OTHER))
            yield Sample(SeriesName(_ERRORS, attributes), count)
        if others:
            yield Sample(_OTHER_ERRORS, others)


_known: dict[str, SeriesName] = {}


def _series(name: str) -> SeriesName:
    known = _known.get(name)
    if known is None:
        known = _known[name] = SeriesName(_SYSCALLS, ((_NAME, name),))
    return known


def calls(row: Row) -> int:
    """Return all system calls in a container's cgroup, the runtime's own before its program ran among them."""
    return sum(life.by_column(row.calls)) + Life.of(row.life).birth_calls
