"""Bars on the time axis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.view.bar import Axis, bar
from otel_kernel.view.picture import ASCII, UNICODE

AXIS = Axis(1000, 1080, 10)  # a cell is 8 ns: an eighth of it is 1 ns


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "before", "text"),
    [
        (1000, 1080, 0, "█" * 10),
        (1000, 1008, 0, "█"),
        (1000, 1003, 0, "▍"),
        (1000, 1012, 0, "█▌"),
        (1008, 1017, 1, "█▏"),
        (1004, 1016, 0, "▐█"),
        (1007, 1016, 0, "▕█"),
        (1001, 1016, 0, "██"),
        (1005, 1006, 0, "▕"),
        (1004, 1008, 0, "▐"),
        (1002, 1002, 0, "▏"),
        (1080, 1080, 9, "▕"),
        (900, 1200, 0, "█" * 10),
        (1050, 1010, 6, "▏"),
    ],
)
def test_bars_to_an_eighth_of_a_cell(start_ns: int, end_ns: int, before: int, text: str) -> None:
    """A bar begins to a half and ends to an eighth of a cell, is never empty and never leaves the axis."""
    drawn = bar(start_ns, end_ns, AXIS, UNICODE)
    assert (drawn.before, drawn.text) == (before, text)


@given(st.integers(0, 2000), st.integers(0, 2000), st.integers(1, 200), st.integers(0, 1500), st.integers(0, 1500))
def test_every_bar_is_on_its_axis(start_ns: int, end_ns: int, width: int, axis_start_ns: int, length_ns: int) -> None:
    """Whatever the times, there is a bar of at least one cell between the ends of the axis, in ASCII too."""
    for signs in (UNICODE, ASCII):
        drawn = bar(start_ns, end_ns, Axis(axis_start_ns, axis_start_ns + length_ns, width), signs)
        assert drawn.text
        assert drawn.before >= 0
        assert drawn.before + len(drawn.text) <= width
