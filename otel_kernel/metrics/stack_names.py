"""Stacks at which CPU limits were used up, by name: the few most frequent of each container."""

from collections.abc import Sequence
from pathlib import Path

from otel_kernel.kernel.throttle_stacks import Stop, ThrottleStacks
from otel_kernel.node import symbols
from otel_kernel.node.symbols import Symbols

_STACKS_TOLD = 5
_FRAMES_TOLD = 32  # of each side of a stack: the innermost
_LONGEST = 1024


class StackNames:
    """What was counted between the last two collections. Kernel symbols are read once, when first needed."""

    def __init__(self, stacks: ThrottleStacks, proc_root: Path) -> None:
        self._stacks = stacks
        self._proc_root = proc_root
        self._kernel: Symbols | None = None
        self._told: dict[int, tuple[str, ...]] = {}

    def look(self) -> None:
        """Take what was counted, and name it while its processes may still be there. Raises OSError."""
        by_cgroup: dict[int, list[Stop]] = {}
        for stop in self._stacks.take():
            by_cgroup.setdefault(stop.cgroup_id, []).append(stop)
        self._told = {cgroup_id: tuple(map(self._text, _most(stops))) for cgroup_id, stops in by_cgroup.items()}

    def of(self, cgroup_id: int) -> Sequence[str]:
        """Return a container's most frequent stacks: `count pid frame;frame;...`, outermost first, user before kernel.

        The innermost frames of the kernel are those by which it stops a task.
        """
        return self._told.get(cgroup_id, ())

    def _text(self, stop: Stop) -> str:
        if self._kernel is None:
            self._kernel = symbols.kernel_symbols(self._proc_root)
        user = symbols.user_frames(self._proc_root, stop.pid, stop.user[:_FRAMES_TOLD])
        kernel = tuple(self._kernel.name(address) or "unknown" for address in stop.kernel[:_FRAMES_TOLD])
        frames = [*reversed(user), *reversed(kernel)]
        shown = "".join(char if char.isprintable() else "?" for char in ";".join(frames))
        return f"{stop.times} {stop.pid} {shown}"[:_LONGEST]


def _most(stops: list[Stop]) -> list[Stop]:
    return sorted(stops, key=lambda stop: -stop.times)[:_STACKS_TOLD]
