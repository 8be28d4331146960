"""How long it took from the kernel's event that names a container or pod until a source had said who that is."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from otel_kernel.metrics.node_rows import SOURCE_LAG_BOUNDS_S
from otel_kernel.metrics.samples import Distribution

_REMEMBERED = 8192


@dataclass(slots=True)
class IdentityLags:
    """Counts since the agent's start, by source: of each container or pod the first time that a source tells it."""

    _told: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)  # by source, whom
    _counts: dict[str, list[int]] = field(default_factory=dict)
    _sums_s: dict[str, float] = field(default_factory=dict)

    def add(self, source: str, whom: str, lag_s: float) -> None:
        """Count what a source told of a container or pod, by its id or UID."""
        if (source, whom) in self._told:
            return
        self._told[source, whom] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        counts = self._counts.setdefault(source, [0] * (len(SOURCE_LAG_BOUNDS_S) + 1))
        counts[bisect_left(SOURCE_LAG_BOUNDS_S, lag_s)] += 1
        self._sums_s[source] = self._sums_s.get(source, 0.0) + lag_s

    def distributions(self) -> Mapping[str, Distribution]:
        """Return what was counted."""
        return {source: Distribution(tuple(counts), self._sums_s[source]) for source, counts in self._counts.items()}
