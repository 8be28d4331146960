"""How much CPU time a cgroup had, how much it may have, and how often it was throttled for it.

Sources: Documentation/admin-guide/cgroup-v2.rst (cpu.stat, cpu.max), Documentation/scheduler/sched-bwc.rst,
kernel/sched/core.c (cpu_cfs_stat_show, cpu_extra_stat_show), kernel/sched/cpuacct.c. Version 1 counts throttled time in
nanoseconds, version 2 in microseconds; both add it up over CPUs.
"""

from typing import NamedTuple

from otel_kernel.node.fields import field, line, number

_NS_PER_US = 1000
# max_cfs_runtime and the longest period of kernel/sched/core.c are far below; a quota of -1 or `max` is none.
_NO_QUOTA = (b"max", b"-1")


class Throttling(NamedTuple):
    """What bandwidth control did to one cgroup, not to those below it."""

    periods: int
    throttled_periods: int
    throttled_ns: int


class CpuStat(NamedTuple):
    """`cpu.stat`. None: this file does not tell it."""

    usage_ns: int | None
    throttling: Throttling | None


def parse_stat(content: bytes) -> CpuStat:
    """Return what `cpu.stat` of version 2 tells. Raises ValueError when that is nothing."""
    usage_us, throttled_us = field(content, b"usage_usec"), field(content, b"throttled_usec")
    throttling = _throttling(content, None if throttled_us is None else throttled_us * _NS_PER_US)
    if usage_us is None and throttling is None:
        raise ValueError("cpu.stat tells neither usage_usec nor periods")
    return CpuStat(None if usage_us is None else usage_us * _NS_PER_US, throttling)


def parse_stat_v1(content: bytes) -> CpuStat:
    """Return what `cpu.stat` of version 1 tells. Raises ValueError when that is nothing."""
    throttling = _throttling(content, field(content, b"throttled_time"))
    if throttling is None:
        raise ValueError("cpu.stat does not tell periods")
    return CpuStat(None, throttling)


def parse_usage_v1(content: bytes) -> int:
    """Return `cpuacct.usage`, nanoseconds. Raises ValueError."""
    usage_ns = number(line(content) or b"")
    if usage_ns is None:
        raise ValueError("cpuacct.usage is no number")
    return usage_ns


def parse_limit(content: bytes) -> float | None:
    """Return how many CPUs `cpu.max` allows; None without a limit. Raises ValueError."""
    quota, _, period = (line(content) or b"").partition(b" ")
    return _limit(quota, period)


def parse_limit_v1(quota: bytes, period: bytes) -> float | None:
    """Return how many CPUs `cpu.cfs_quota_us` and `cpu.cfs_period_us` allow; None: no limit. Raises ValueError."""
    return _limit(line(quota) or b"", line(period) or b"")


def _limit(quota: bytes, period: bytes) -> float | None:
    quota_us, period_us = number(quota), number(period)
    if period_us and quota in _NO_QUOTA:
        return None
    if quota_us is None or not period_us:
        raise ValueError("the quota is no number of microseconds per period")
    return quota_us / period_us


def _throttling(content: bytes, throttled_ns: int | None) -> Throttling | None:
    periods, throttled = field(content, b"nr_periods"), field(content, b"nr_throttled")
    if periods is None or throttled is None or throttled_ns is None:
        return None
    return Throttling(periods, throttled, throttled_ns)
