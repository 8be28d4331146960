"""The end of `make test-kernels`: what each boot came to, in a line and in docs/support.md."""

import pytest

from tests.kernels import support
from tests.kernels.chosen import RUNS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what each boot came to; write it down where all of its cases were asked for."""
    for (series, run), outcome in config.stash.get(support.OUTCOMES, {}).items():
        terminalreporter.write_line(support.summary(series, run, outcome))
        if outcome.is_whole:
            page = support.PAGE.read_text()
            section = support.table(outcome, RUNS[run].cases)
            support.PAGE.write_text(support.write(page, series, run, section))
