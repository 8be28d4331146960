"""What `make test-kernels` says at its end, and writes into docs/support.md."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kernels.reporting import Result

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
BEGIN, END = "<!-- make test-kernels: {} -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one boot."""

    kernel: str  # its release, and its package's version
    results: Mapping[str, Result]
    duration_s: float
    end: str  # how it ended, where that explains what is missing
    is_whole: bool  # whether all of its cases were asked for


OUTCOMES = pytest.StashKey[dict[tuple[str, str], Outcome]]()  # of a session, by series and run


def summary(series: str, run: str, outcome: Outcome) -> str:
    """Return one line on a boot."""
    told = [result.outcome for result in outcome.results.values()]
    counts = ", ".join(f"{told.count(each)} {each}" for each in ("passed", "failed", "skipped") if each in told)
    return f"{series}, {run}: {counts or outcome.end} in {outcome.duration_s:.0f} s ({outcome.kernel})"


def table(outcome: Outcome, cases: tuple[str, ...]) -> str:
    """Return the section on a boot of all of its cases, as markdown."""
    lines = [
        f"{time.strftime('%Y-%m-%d')}, Linux {outcome.kernel}, {outcome.duration_s:.0f} s with its boot:",
        "",
        "| test | result |",
        "|---|---|",
        *(f"| `{case.removeprefix('tests/')}` | {_told(outcome, case)} |" for case in cases),
    ]
    return "\n".join(lines)


def _told(outcome: Outcome, case: str) -> str:
    result = outcome.results.get(case)
    if result is None:
        return f"not reached: {_in_one_line(outcome.end)}"
    reason = f": {_in_one_line(result.text)}" if result.text else ""
    return f"{result.outcome}{reason} ({result.duration_s:.0f} s)"


def _in_one_line(text: str) -> str:
    """Return the last line that says something of an error, fit for a table."""
    errors = [line[2:].strip() for line in text.splitlines() if line.startswith("E ")] or text.splitlines()[-1:]
    return errors[0].replace("|", "\\|")[:200] if errors else ""


def write(page: str, series: str, run: str, section: str) -> str:
    """Return the page with another section on a boot. Raises ValueError when it has no place for it."""
    begin = BEGIN.format(f"{series}, {run}")
    found = re.compile(f"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
    if not found.search(page):
        raise ValueError(f"docs/support.md has no line {begin}")
    return found.sub(lambda _: f"{begin}\n{section}\n{END}", page)
