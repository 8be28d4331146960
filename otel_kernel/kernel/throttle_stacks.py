"""Where containers were when their CPU limit was used up: stacks by process (bpf/throttle_stacks.c)."""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

from otel_kernel.kernel import bpf, functions, records

# struct stop of bpf/include/throttling.h.
_LAYOUTS = {"stop": (("cgroup_id", "Q"), ("pid", "I"), ("kernel", "i"), ("user", "i"), ("pad", "I"))}
_STOP = struct.Struct("<QIiiI")


class Stop(NamedTuple):
    """How often the limit of a pod or container was used up while one of its processes was here."""

    cgroup_id: int
    pid: int
    times: int
    kernel: tuple[int, ...]  # addresses, innermost first; empty: not known, or there was no room for it
    user: tuple[int, ...]


class ThrottleStacks:
    """What counts stacks. The descriptors are the probes'; only the link is its own."""

    def __init__(self, loaded: functions.Loaded, maps: Mapping[str, bpf.Map], told: Mapping[str, Any]) -> None:
        """Take over what was loaded; `told` is the loader's manifest. Raises LayoutError when C and Python differ."""
        for name, fields in _LAYOUTS.items():
            records.compare(name, fields, told[name])
        self._loaded, self._maps = loaded, maps
        self._links: functions.Attached | None = None

    def attach(self) -> None:
        """Begin to count. Raises OSError that says what stands in the way."""
        self._links = functions.attach(functions.THROTTLE, self._loaded)

    def detach(self) -> None:
        """Count nothing more."""
        functions.detach([self._links] if self._links else [])
        self._links = None

    def take(self) -> list[Stop]:
        """Return what was counted since the last call, and forget it. Raises OSError."""
        counted = self._maps["stops"].entries()
        taken, known = [], dict[int, tuple[int, ...]]()
        for key, value in counted:
            cgroup_id, pid, kernel, user, _ = _STOP.unpack(key)
            for stack in (kernel, user):
                if stack not in known:
                    known[stack] = self._stack(stack)
            taken.append(Stop(cgroup_id, pid, int.from_bytes(value, "little"), known[kernel], known[user]))
        for key, _ in counted:
            self._maps["stops"].delete(key)
        for stack in known:
            if stack >= 0:
                self._maps["stop_stacks"].delete(stack.to_bytes(4, "little"))
        return taken

    def _stack(self, at: int) -> tuple[int, ...]:
        found = self._maps["stop_stacks"].lookup(at.to_bytes(4, "little")) if at >= 0 else None
        words = struct.unpack(f"<{len(found or b'') // 8}Q", found or b"")
        return tuple(word for word in words if word)
