"""`make test-kernels`: the chosen part of the suite under each kernel, each of its tests a test of ours.

Not collected with the rest of the suite (its name says so to pytest): emulated processors take minutes for what these
here do in seconds.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from tests.kernels import reporting, virtual_machine
from tests.kernels.chosen import RUNS, SERIES
from tests.kernels.debian import kernel
from tests.kernels.support import OUTCOMES, Outcome

LIMIT_S = 1500  # for one boot; it is 600 on a machine that has nothing else to do
ALL = [(series, run, case) for series in SERIES for run, chosen in RUNS.items() for case in chosen.cases]


class Machines:
    """Boots each machine once, with the cases of it that were asked for."""

    def __init__(self, directory: Path, wanted: Mapping[tuple[str, str], list[str]]) -> None:
        self._directory = directory
        self._wanted = wanted
        self.outcomes: dict[tuple[str, str], Outcome] = {}

    def outcome(self, series: str, run: str) -> Outcome:
        """Return what became of a run under a kernel."""
        if (series, run) not in self.outcomes:
            self.outcomes[series, run] = self._boot(series, run)
        return self.outcomes[series, run]

    def _boot(self, series: str, run: str) -> Outcome:
        try:
            chosen = kernel(series)
        except LookupError as error:
            pytest.skip(str(error))
        exchange = self._directory / f"{series} {run}"
        exchange.mkdir()
        report = exchange / "report"
        settings = {reporting.FILE: f"{virtual_machine.EXCHANGE}/report"}
        command = [sys.executable, "-m", "pytest", "-p", "tests.kernels.reporting", *self._wanted[series, run]]
        machine = virtual_machine.Machine(chosen, RUNS[run].init, LIMIT_S)
        began = time.monotonic()
        try:
            end = f"pytest ended with {virtual_machine.run(machine, command, exchange, settings)}"
        except (TimeoutError, RuntimeError) as error:
            end = str(error)
        is_whole = set(self._wanted[series, run]) == set(RUNS[run].cases)
        told = f"{chosen.release}, Debian's {chosen.version}"
        return Outcome(told, reporting.read(report), time.monotonic() - began, end, is_whole)


@pytest.fixture(scope="session")
def machines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Machines:
    """Return what boots machines; what was run is told at the end, and written down when it was all of it."""
    if (reason := virtual_machine.absent()) is not None:
        pytest.skip(reason)
    wanted: dict[tuple[str, str], list[str]] = {}
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.originalname == "test_case":
            series, run, case = cast(tuple[str, str, str], item.callspec.params["chosen"])
            wanted.setdefault((series, run), []).append(case)
    made = Machines(tmp_path_factory.mktemp("machines"), wanted)
    request.config.stash[OUTCOMES] = made.outcomes
    return made


@pytest.mark.parametrize("chosen", ALL, ids=[f"{series}, {run}: {case}" for series, run, case in ALL])
def test_case(machines: Machines, chosen: tuple[str, str, str]) -> None:
    """What became of this test under that kernel."""
    series, run, case = chosen
    outcome = machines.outcome(series, run)
    result = outcome.results.get(case)
    if result is None:
        pytest.fail(f"nothing is known of it: {outcome.end}", pytrace=False)
    if result.outcome == "skipped":
        pytest.skip(result.text)
    if result.outcome == "failed":
        pytest.fail(result.text, pytrace=False)
