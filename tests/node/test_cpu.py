"""CPU time, limits and throttling, as kernels of both versions tell them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.node import cpu
from otel_kernel.node.cpu import CpuStat, Throttling

# Linux 6.12, pure version 2, a scope with CPUQuota=10%.
V2 = b"""\
usage_usec 5012345
user_usec 4900000
system_usec 112345
nice_usec 0
core_sched.force_idle_usec 0
nr_periods 512
nr_throttled 500
throttled_usec 45012345
nr_bursts 0
burst_usec 0
"""
# Linux 6.18, the version 2 side of a hybrid host: no CPU controller.
V2_HYBRID = b"usage_usec 3934004406\nuser_usec 2611704319\nsystem_usec 1322300087\nnice_usec 216948794\n"
# Linux 6.18, version 1.
V1 = b"nr_periods 52\nnr_throttled 50\nthrottled_time 4501234567\nnr_bursts 0\nburst_time 0\n"


def test_version_2_tells_microseconds() -> None:
    """Microseconds of use and of throttling become nanoseconds."""
    assert cpu.parse_stat(V2) == CpuStat(5_012_345_000, Throttling(512, 500, 45_012_345_000))


def test_version_2_without_the_controller_tells_use_alone() -> None:
    """Without a CPU controller there is no throttling, rather than none of it."""
    assert cpu.parse_stat(V2_HYBRID) == CpuStat(3_934_004_406_000, None)


def test_version_1_tells_nanoseconds_and_no_use() -> None:
    """Version 1 tells throttled time in nanoseconds, and CPU time in another file."""
    assert cpu.parse_stat_v1(V1) == CpuStat(None, Throttling(52, 50, 4_501_234_567))
    assert cpu.parse_usage_v1(b"123456789012\n") == 123_456_789_012


@pytest.mark.parametrize(
    ("content", "cores"),
    [
        (b"10000 100000\n", 0.1),
        (b"250000 100000\n", 2.5),
        (b"max 100000\n", None),
        (b"1000 1000000\n", 0.001),
    ],
)
def test_a_limit_is_quota_by_period(content: bytes, cores: float | None) -> None:
    """The limit counts CPUs; `max` is none."""
    assert cpu.parse_limit(content) == cores


def test_limits_of_version_1() -> None:
    """A quota of -1 is none."""
    assert cpu.parse_limit_v1(b"5000\n", b"50000\n") == 0.1
    assert cpu.parse_limit_v1(b"-1\n", b"100000\n") is None


@pytest.mark.parametrize("content", [b"", b"max", b"100 0\n", b"100\n", b"-5 100\n", b"100 100", b"a b\n"])
def test_what_is_no_limit_is_refused(content: bytes) -> None:
    """A file of limits that is cut, or tells no period, is broken."""
    with pytest.raises(ValueError, match="quota"):
        cpu.parse_limit(content)


@pytest.mark.parametrize("parse", [cpu.parse_stat, cpu.parse_stat_v1])
def test_a_file_that_tells_nothing_known_is_broken(parse: type) -> None:
    """A cpu.stat without any line that is known is refused, not told as zero."""
    with pytest.raises(ValueError, match=r"cpu\.stat"):
        parse(b"nr_perio")


@given(st.binary())
def test_any_content_is_told_or_refused(content: bytes) -> None:
    """No content makes anything but a value or a ValueError."""
    for parse in (cpu.parse_stat, cpu.parse_stat_v1, cpu.parse_usage_v1, cpu.parse_limit):
        with suppress(ValueError):
            parse(content)
