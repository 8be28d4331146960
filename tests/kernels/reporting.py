"""A plug-in of the pytest that runs under another kernel: it tells of each test at once, in lines of JSON.

A machine that hangs or ends has told everything until then.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

FILE = "OTEL_KERNEL_TESTS_REPORT"  # taken out of the environment: agents refuse variables that they do not know
_path = os.environ.pop(FILE, "")


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one test."""

    outcome: str  # passed, failed, skipped
    duration_s: float
    text: str  # of a failure, or why it was skipped


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Tell of one phase of a test: set-up, call or tear-down."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    line = {"case": report.nodeid, "outcome": report.outcome, "duration_s": report.duration, "text": text}
    with Path(_path).open("a") as file:
        file.write(json.dumps(line) + "\n")


def read(path: Path) -> Mapping[str, Result]:
    """Return the result of each test that was told of, its phases taken together."""
    results: dict[str, Result] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        phase = json.loads(line)
        before = results.get(phase["case"], Result("passed", 0, ""))
        worse = before if before.outcome != "passed" else Result(phase["outcome"], 0, phase["text"])
        results[phase["case"]] = Result(worse.outcome, before.duration_s + phase["duration_s"], worse.text)
    return results
