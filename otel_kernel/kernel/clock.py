"""Kernel time to wall time."""

import time

_READINGS = 32
_GOOD_ENOUGH_NS = 2_000


def boot_ns() -> int:
    """Return CLOCK_BOOTTIME in ns, the clock of every record (it goes on during suspend, unlike CLOCK_MONOTONIC)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def unix_offset_ns() -> int:
    """Return what to add to boot time to get Unix time, in ns, as of now.

    The reading taken quickest is the best: one between which the process lost its CPU is off by as long as that took.
    """
    best_ns, offset_ns = 1 << 63, 0
    for _ in range(_READINGS):
        before = boot_ns()
        wall = time.time_ns()
        after = boot_ns()
        if after - before < best_ns:
            best_ns, offset_ns = after - before, wall - (before + after) // 2
        if best_ns < _GOOD_ENOUGH_NS:
            break
    return offset_ns
