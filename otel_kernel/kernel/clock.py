"""Kernel time to wall time."""

import time


def boot_ns() -> int:
    """Return CLOCK_BOOTTIME in ns, the clock of every record (it goes on during suspend, unlike CLOCK_MONOTONIC)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def unix_offset_ns() -> int:
    """Return what to add to boot time to get Unix time, in ns, as of now. Of three readings the one taken quickest is the best."""
    readings = []
    for _ in range(3):
        before = boot_ns()
        wall = time.time_ns()
        after = boot_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]
