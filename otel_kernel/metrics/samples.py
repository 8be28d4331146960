"""What a source measured, before it becomes points: the vocabulary between sources and series."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from otel_kernel.kernel.throttles import Interval
from otel_kernel.metrics.points import Exemplar, Value
from otel_kernel.pods.directory import Pod, Removed

Target = tuple[str, str | None]  # a pod's UID, and the id of one of its containers; None: the pod itself


class SeriesName(NamedTuple):
    """One series of a resource: a metric of the catalogue, and attributes in a fixed order."""

    metric: str
    attributes: tuple[tuple[str, Value], ...] = ()


class Distribution(NamedTuple):
    """Counts between the bounds of the catalogue's row, one more than there are bounds; the sum is in its unit."""

    counts: tuple[int, ...]
    sum: float
    exemplars: tuple[Exemplar, ...] = ()


class Sample(NamedTuple):
    """The value of a series now, or when it was last read."""

    name: SeriesName
    value: float | Distribution
    read_unix_ns: int | None = None  # None: now


class Intervals(NamedTuple):
    """How often a limit stopped a container since the last look, and the latest of these."""

    number: int
    last: Sequence[Interval]
    stacks: Sequence[str] | None = None  # where it was most often; None: nobody asked


class Samples(NamedTuple):
    """What was measured of one target. A series that is not among them has ended, unless something is missing."""

    samples: Sequence[Sample]
    is_whole: bool = True  # nothing was there that could not be read
    intervals: Intervals | None = None  # in which its CPU limit stopped it, since the last look; None: nobody tells


class Source(Protocol):
    """What measures pods and containers: each kind of metric has one."""

    @property
    def since_boot_ns(self) -> int | None:
        """Since when its counters count, in boot time; None: since the cgroup was made."""

    def begin(self, pods: Sequence[Pod], now_unix_ns: int) -> Iterator[None]:
        """Take in what is the same for all of these pods; yields where a caller may do something else for a while."""

    def read(self, pod: Pod, now_unix_ns: int) -> Mapping[Target, Samples]:
        """Return what is measured of a pod and its containers in the collection that began last."""

    def take_last(self, removed: Removed) -> Sequence[Sample]:
        """Return the last values of a container or pod that is gone, once; nothing when they are not known."""
