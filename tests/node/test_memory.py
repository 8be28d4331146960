"""Memory as kernels of both versions tell it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.node import memory

V1_STAT = b"cache 9388032\nrss 10551296\ninactive_file 12288\ntotal_cache 954974208\ntotal_inactive_file 264704000\n"
V2_STAT = b"anon 1000\nfile 2000\nkernel 300\ninactive_anon 5\ninactive_file 1700\nactive_file 300\n"


def test_inactive_cache_is_that_of_the_whole_tree() -> None:
    """Version 1 tells a cgroup's own beside the tree's; the latter is meant. Version 2 tells the tree's alone."""
    assert memory.parse_inactive_file(V1_STAT) == 264_704_000
    assert memory.parse_inactive_file(V2_STAT) == 1700


def test_no_limit_is_none() -> None:
    """`max`, and version 1's largest number of pages of any size, are no limit."""
    assert memory.parse_limit(b"max\n") is None
    assert memory.parse_limit(b"9223372036854771712\n") is None  # pages of 4 KiB
    assert memory.parse_limit(b"9223372036854710272\n") is None  # pages of 64 KiB
    assert memory.parse_limit(b"67108864\n") == 64 << 20
    assert memory.parse_limit(b"0\n") == 0


def test_kills_of_both_versions() -> None:
    """The line is the same; a kernel before 4.13 has none, which is no zero."""
    assert memory.parse_oom_kills(b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n") == 2
    assert memory.parse_oom_kills(b"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n") == 7
    with pytest.raises(ValueError, match="oom_kill"):
        memory.parse_oom_kills(b"oom_kill_disable 0\nunder_oom 0\n")


def test_working_set_is_never_below_zero() -> None:
    """Two files are not read at one moment: the cache may be larger than the use."""
    assert memory.working_set(1000, 400) == 600
    assert memory.working_set(1000, 4000) == 0


@given(st.binary())
def test_any_content_is_told_or_refused(content: bytes) -> None:
    """No content makes anything but a value or a ValueError."""
    for parse in (memory.parse_bytes, memory.parse_limit, memory.parse_inactive_file, memory.parse_oom_kills):
        with suppress(ValueError):
            parse(content)
