"""Measures once in each export interval and hands on what was measured, in slices between which births are attended to.

The name is OpenTelemetry's (metrics SDK specification, "Periodic exporting MetricReader").
"""

import time
from collections.abc import Iterator

from otel_kernel.births.trace import Trace
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.metrics.collection import Collection
from otel_kernel.metrics.moment import Moment
from otel_kernel.outputs import Outputs

# A full node takes some 100 ms of CPU time to measure, and a bundle may be gone 10 ms after its path was told.
SLICE_NS = 3_000_000
SHORTEST_INTERVAL_NS = 100_000_000


class PeriodicReader:
    """One collection after the other. Owns the collection."""

    def __init__(self, collection: Collection, outputs: Outputs, interval_ns: int) -> None:
        """Begin with a collection at once: what is there before says from where the counters rise."""
        self._collection = collection
        self._outputs = outputs
        self._interval_ns = max(interval_ns, SHORTEST_INTERVAL_NS)
        self._due_ns = boot_ns()
        self._round: Iterator[None] | None = None

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when `work` should not wait."""
        return self._collection.fileno()

    @property
    def next_deadline_ns(self) -> int:
        """When `work` wants to be called even if nothing became readable, in boot time; 0: at once."""
        return 0 if self._round is not None else self._due_ns

    def born(self, trace: Trace) -> None:
        """Count a birth that is over, and tell what was waiting for it."""
        self._collection.born(trace)
        self._outputs.send_events(self._collection.take_events(moment()))

    def work(self) -> None:
        """Take note of what has come, and measure for at most one slice if it is time to."""
        now = moment()
        self._collection.attend(now)
        if self._round is None and now.boot_ns >= self._due_ns:
            # Those that a machine slept through are not made up for.
            later = self._due_ns + self._interval_ns > now.boot_ns
            self._due_ns = (self._due_ns if later else now.boot_ns) + self._interval_ns
            self._round = self._collect()
        if self._round is not None:
            self._go_on(self._round, now.boot_ns + SLICE_NS)

    def stop(self) -> None:
        """End what has begun, measure a last time, and let go of all files."""
        for collecting in (self._round or (), self._collect()):
            for _ in collecting:
                pass
        self._outputs.send_events(self._collection.take_events())
        self._collection.close()

    def _go_on(self, collecting: Iterator[None], until_ns: int) -> None:
        for _ in collecting:
            if boot_ns() >= until_ns:
                return
        self._round = None

    def _collect(self) -> Iterator[None]:
        yield from self._outputs.send_metrics(self._collection.steps(moment))
        self._outputs.send_events(self._collection.take_events(moment()))


def moment() -> Moment:
    """Return now."""
    return Moment(time.time_ns(), boot_ns())
