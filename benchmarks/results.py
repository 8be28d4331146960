"""Figures, bars, tables: how results are said."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

RESAMPLES = 4000
SEED = 1  # the interval of the same figures is the same each time


@dataclass(frozen=True, slots=True)
class Bar:
    """What is to be reached: a figure and its limit. `of` says which figure, where it is not the row's median."""

    figure: float
    limit: float
    unit: str
    of: str = ""
    at_least: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether the figure keeps the limit."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        told = f"{self.of} {said(self.figure, self.unit)}, " if self.of else ""
        verdict = "reached" if self.is_reached else "NOT REACHED"
        return f"{told}{sign} {said(self.limit, self.unit)}: {verdict}"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured: a sample for each round, and how it compares."""

    what: str
    samples: Sequence[float]
    unit: str
    ratio: str = ""
    bar: Bar | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the row as it stands in a table."""
        single = len(self.samples) == 1
        spread = "" if single else f"{said(min(self.samples))} .. {said(max(self.samples), self.unit)}"
        median = said(statistics.median(self.samples), self.unit)
        return self.what, median, spread, "" if single else str(len(self.samples)), self.ratio, str(self.bar or "")


HEADINGS = ("", "median", "min .. max", "n", "ratio", "bar")


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one question."""

    question: str
    method: str
    rows: Sequence[Row]
    notes: Sequence[str] = field(default=())

    @property
    def bars(self) -> list[Bar]:
        """What was to be reached."""
        return [row.bar for row in self.rows if row.bar is not None]

    def markdown(self) -> str:
        """Return the answer as a section with a table, its columns aligned so that it reads in a terminal too."""
        lines = [HEADINGS, *(row.cells() for row in self.rows)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
        table = [_line(line, widths) for line in lines]
        notes = "".join(f"\n- {note}" for note in self.notes)
        text = "\n".join([table[0], _rule(widths), *table[1:]])
        return f"## {self.question}\n\n{self.method}\n\n{text}\n{notes}{notes and chr(10)}"


def _rule(widths: Sequence[int]) -> str:
    ends = ["-" if at in (0, len(widths) - 2, len(widths) - 1) else ":" for at in range(len(widths))]
    return "|" + "|".join("-" * (width + 1) + end for width, end in zip(widths, ends, strict=True)) + "|"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Text to the left, figures to the right."""
    last = len(cells) - 2
    padded = [
        cell.rjust(width) if 0 < at < last else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def said(value: float, unit: str = "") -> str:
    """Return a figure with as many digits as mean something, and its unit."""
    size = abs(value)
    number = f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"  # noqa: PLR2004
    return f"{number} {unit}" if unit else number


def times(ratios: Sequence[float], of: str) -> str:
    """Return the median of ratios in words: `1.32 x empty pair`."""
    return f"{statistics.median(ratios):.2f} x {of}"


def interval_of_median(samples: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median by bootstrap (percentiles; Efron and Tibshirani 1993, chapter 13)."""
    draw = random.Random(SEED)  # noqa: S311 - statistics, no secrets
    medians = sorted(statistics.median(draw.choices(samples, k=len(samples))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES) - 1]
