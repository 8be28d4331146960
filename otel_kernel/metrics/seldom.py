"""What changes rarely is read anew only now and then, and not of all cgroups at once."""

import zlib
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Remembered(NamedTuple, Generic[T]):
    """A value, and when it was read. Times are Unix nanoseconds."""

    value: T
    read_ns: int
    due_ns: int
    is_settled: bool  # it was twice the same


class Seldom(Generic[T]):
    """Remembers a value for each name; once it is twice the same it is read anew after `interval_ns`.

    Whoever makes something makes it step by step: limits are set a moment after their cgroup was made, and the first
    process of a container moves from one namespace to the next.
    """

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._known: dict[str, Remembered[T]] = {}

    def read(self, name: str, now_ns: int, look: Callable[[], tuple[T, bool]]) -> Remembered[T]:
        """Return what `look` returns, or has returned; its second says whether the first may be relied on."""
        known = self._known.get(name)
        if known is not None and now_ns < known.due_ns <= now_ns + self._interval_ns:  # the clock may be set back
            return known
        value, is_sure = look()
        is_settled = is_sure and known is not None and known.value == value
        due_ns = now_ns
        if known is not None and is_settled:
            # Those of a whole node are found in one collection: from now on each has a time of its own.
            due_ns += self._interval_ns if known.is_settled else int(self._interval_ns * _share(name))
        found = self._known[name] = Remembered(value, now_ns, due_ns, is_settled)
        return found

    def get(self, name: str) -> Remembered[T] | None:
        """Return what was read last."""
        return self._known.get(name)

    def forget(self, name: str) -> None:
        """Forget what is gone."""
        self._known.pop(name, None)


def _share(name: str) -> float:
    return (zlib.crc32(name.encode(errors="surrogateescape")) + 1) / (1 << 32)
