"""Pressure stall information."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.node import pressure
from otel_kernel.node.pressure import Pressure

CPU = b"some avg10=53.00 avg60=32.84 avg300=13.26 total=162117685\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=161\n"


def test_totals_are_microseconds() -> None:
    """Both totals are told."""
    assert pressure.parse(CPU) == Pressure(162_117_685, 161)


def test_the_cpu_of_older_kernels_has_no_full() -> None:
    """What a kernel does not tell is none, not zero."""
    assert pressure.parse(CPU.splitlines(keepends=True)[0]) == Pressure(162_117_685, None)


@pytest.mark.parametrize("content", [b"", b"some avg10=0.00 total=12", b"full total=1\n", b"awesome total=1\n"])
def test_what_is_cut_is_refused(content: bytes) -> None:
    """A file without a whole first line is broken."""
    with pytest.raises(ValueError, match="some"):
        pressure.parse(content)


@given(st.binary())
def test_any_content_is_told_or_refused(content: bytes) -> None:
    """No content makes anything but a value or a ValueError."""
    with suppress(ValueError):
        assert pressure.parse(content).some_us >= 0
