"""How much memory a cgroup has, may have, and how often its processes were killed for it.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst, mm/memcontrol.c, mm/memcontrol-v1.c.
"""

from otel_kernel.node.fields import field, line, number

# Version 1 tells `no limit` as PAGE_COUNTER_MAX pages: LONG_MAX rounded down to a page, which is 64 KiB at most
# (include/linux/page_counter.h).
_UNLIMITED = (1 << 63) - (64 << 10)


def parse_bytes(content: bytes) -> int:
    """Return `memory.current` or `memory.usage_in_bytes`. Raises ValueError."""
    amount = number(line(content) or b"")
    if amount is None:
        raise ValueError("memory usage is no number")
    return amount


def parse_limit(content: bytes) -> int | None:
    """Return `memory.max` or `memory.limit_in_bytes`; None without a limit. Raises ValueError."""
    told = line(content) or b""
    if told == b"max":
        return None
    limit = number(told)
    if limit is None:
        raise ValueError("the memory limit is no number")
    return limit if limit < _UNLIMITED else None


def parse_inactive_file(content: bytes) -> int:
    """Return the inactive page cache of a cgroup and all below it, from `memory.stat`. Raises ValueError."""
    # Version 1 tells it of the cgroup alone, too, and calls the sum `total_`.
    found = field(content, b"total_inactive_file")
    found = field(content, b"inactive_file") if found is None else found
    if found is None:
        raise ValueError("memory.stat does not tell inactive_file")
    return found


def parse_oom_kills(content: bytes) -> int:
    """Return how many processes were killed: `memory.events`, or `memory.oom_control` since 4.13. Raises ValueError."""
    kills = field(content, b"oom_kill")
    if kills is None:
        raise ValueError("oom_kill is not told")
    return kills


def working_set(usage_bytes: int, inactive_file_bytes: int) -> int:
    """Return what could not be had back at once: the kubelet's rule (cadvisor, container/libcontainer/handler.go)."""
    return max(0, usage_bytes - inactive_file_bytes)
