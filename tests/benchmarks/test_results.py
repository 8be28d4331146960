"""How figures are judged and said."""

import statistics

import pytest

from benchmarks.results import Bar, Result, Row, interval_of_median, said


@pytest.mark.parametrize(
    ("figure", "limit", "at_least", "reached"),
    [(5.0, 5.0, False, True), (5.1, 5.0, False, False), (5.0, 5.0, True, True), (4.9, 5.0, True, False)],
)
def test_bar(figure: float, limit: float, at_least: bool, reached: bool) -> None:
    """A bar is reached at its limit and on its good side, and says so in words."""
    bar = Bar(figure, limit, "ms", at_least=at_least)
    assert bar.is_reached is reached
    assert str(bar).endswith(": reached" if reached else ": NOT REACHED")


def test_interval_holds_the_median() -> None:
    """The interval of the median lies around it, inside the samples, and is the same each time."""
    samples = [1.0, 2.0, 3.0, 4.0, 100.0, 6.0, 7.0, 8.0, 9.0]
    lowest, highest = interval_of_median(samples)
    assert min(samples) <= lowest <= statistics.median(samples) <= highest <= max(samples)
    assert interval_of_median(samples) == (lowest, highest)


def test_interval_is_narrow_where_samples_agree() -> None:
    """Equal samples leave no doubt."""
    assert interval_of_median([3.0] * 9) == (3.0, 3.0)


def test_table_shows_median_spread_and_bar() -> None:
    """A row shows the median, the extremes, how many samples there were, and the bar; a single figure has no spread."""
    rows = [Row("many", [1.0, 3.0, 2.0], "ms", bar=Bar(2.0, 5.0, "ms")), Row("one", [7.0], "MB")]
    table = [line for line in Result("How?", "So.", rows).markdown().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[2] == ["many", "2.00 ms", "1.00 .. 3.00 ms", "3", "", "≤ 5.00 ms: reached"]
    assert cells[3] == ["one", "7.00 MB", "", "", "", ""]
    assert len({len(line) for line in table}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (-0.5, "-0.50"), (24260.0, "24,260")]
)
def test_said(value: float, text: str) -> None:
    """A figure is said with three digits or so."""
    assert said(value) == text
