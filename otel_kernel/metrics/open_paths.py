"""Which beginnings of paths are told of a container: those under which it opens the most files, the rest together."""

from collections.abc import Iterator, Mapping

from otel_kernel.kernel import life
from otel_kernel.kernel.counting import OTHER
from otel_kernel.metrics.life_samples import OPENS
from otel_kernel.metrics.samples import Sample, SeriesName

PATHS_TOLD = 20
# A path takes another's place when it grows so many times as fast: two of one rate must not change places for ever.
_FASTER = 2


class OpenPaths:
    """What is told of one container. No series goes back: what a path had while it was not told stays with the rest."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}  # as last counted
        self._told: set[str] = set()
        self._values = {OTHER: 0}  # what was told of each, also of those that are not told any more
        self._unplaced = 0

    def take(self, opened: Mapping[bytes, int], unplaced: int) -> None:
        """Take over how many files were opened so far by the beginning of their path, and how many without one."""
        counts = {life.path_prefix(key): count for key, count in opened.items()}
        grown = {path: count - self._seen.get(path, 0) for path, count in counts.items()}
        self._seen = counts
        self._values[OTHER] += unplaced - self._unplaced
        self._unplaced = unplaced
        self._choose(grown)
        for path, count in grown.items():
            name = path if path in self._told else OTHER
            self._values[name] = self._values.get(name, 0) + count

    def samples(self) -> Iterator[Sample]:
        """Yield what is told."""
        for path in (*sorted(self._told), OTHER):
            yield Sample(SeriesName(OPENS, (("otel_kernel.file.path_prefix", path),)), self._values[path])

    def _choose(self, grown: Mapping[str, int]) -> None:
        """Let the paths that grew most take free places, and those of paths that grew much less."""
        waiting = sorted(grown.keys() - self._told, key=lambda path: (-grown[path], path))
        for path in (path for path in waiting if grown[path]):
            if len(self._told) >= PATHS_TOLD:
                least = min(self._told, key=lambda told: (grown.get(told, 0), told))
                if grown[path] <= _FASTER * grown.get(least, 0):
                    return
                self._told.discard(least)
            self._told.add(path)
