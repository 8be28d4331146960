"""What the machines are made of, and what is told of them: without a machine."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.kernels import debian, initramfs, reporting, support
from tests.kernels.chosen import RUNS, SERIES
from tests.kernels.reporting import Result
from tests.kernels.support import Outcome

NAMES = """linux-image-6.1.0-9-amd64 linux-image-6.1.0-56-amd64 linux-image-6.1.0-57-cloud-amd64
linux-image-6.1.0-58-rt-amd64 linux-image-6.1.0-59-amd64-dbg linux-image-6.1.0-60-amd64-unsigned
linux-image-6.12.107+deb12-amd64 linux-image-6.12.99+deb12-amd64 linux-image-6.12.117+deb12-cloud-amd64
linux-image-6.12-amd64-dbg linux-image-6.12-amd64"""


@pytest.mark.parametrize(("series", "release"), [("6.1", "6.1.0-56-amd64"), ("6.12", "6.12.107+deb12-amd64")])
def test_the_newest_of_a_series(series: str, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and not by letter; neither the kernels for clouds or real time nor debug symbols."""
    monkeypatch.setattr(debian, "_run", lambda *_: NAMES)
    assert debian._newest(series) == (f"linux-image-{release}", release)


def test_a_series_that_debian_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named."""
    monkeypatch.setattr(debian, "_run", lambda *_: NAMES)
    with pytest.raises(LookupError, match=r"linux-image-6\.2\.\*-amd64"):
        debian._newest("6.2")


def test_the_archives_entries() -> None:
    """Header, name and content, each padded to four bytes, lengths in hexadecimal."""
    entry = initramfs._entry("init", initramfs.PROGRAM, b"12345")
    assert entry[:6] == b"070701"
    assert (int(entry[14:22], 16), int(entry[54:62], 16), int(entry[94:102], 16)) == (0o100755, 5, 5)
    assert entry[110:] == b"init\0\0" + b"12345\0\0\0"


def told(tmp_path: Path, *phases: tuple[str, str, float, str]) -> Mapping[str, Result]:
    """Return what is read of these phases."""
    path = tmp_path / "report"
    keys = ("case", "outcome", "duration_s", "text")
    path.write_text("".join(json.dumps(dict(zip(keys, phase, strict=True))) + "\n" for phase in phases))
    return reporting.read(path)


def test_a_tests_phases_are_taken_together(tmp_path: Path) -> None:
    """The first that did not go well decides; the time is that of all."""
    phases = [("a", "passed", 1, ""), ("a", "failed", 2, "why"), ("a", "passed", 3, ""), ("b", "skipped", 1, "no")]
    assert told(tmp_path, *phases) == {"a": Result("failed", 6, "why"), "b": Result("skipped", 1, "no")}


def test_nothing_was_told(tmp_path: Path) -> None:
    """A machine that ended at once."""
    assert reporting.read(tmp_path / "absent") == {}


def test_a_machine_that_did_not_reach_a_case() -> None:
    """The table says of each case what became of it, and why nothing is known."""
    results = {"tests/a": Result("passed", 2, ""), "tests/b": Result("failed", 3, "trace\nE   it | broke\nmore")}
    outcome = Outcome("6.1.0", results, 61, "not done", is_whole=True)
    lines = support.table(outcome, ("tests/a", "tests/b", "tests/c")).splitlines()
    assert lines[-3:] == [
        "| `a` | passed (2 s) |",
        "| `b` | failed: it \\| broke (3 s) |",
        "| `c` | not reached: not done |",
    ]
    assert support.summary("6.1", "systemd", outcome) == "6.1, systemd: 1 passed, 1 failed in 61 s (6.1.0)"


def test_the_page_has_a_place_for_each_boot() -> None:
    """What is written there stands there, and nothing else has changed."""
    page = support.PAGE.read_text()
    for series in SERIES:
        for run in RUNS:
            written = support.write(page, series, run, "new")
            assert support.write(written, series, run, "a newer one").count("a newer one") == 1
            assert len(written.splitlines()) <= len(page.splitlines())
    with pytest.raises(ValueError, match=r"2\.6, pure"):
        support.write(page, "2.6", "pure cgroup v2", "new")


def test_every_case_is_there() -> None:
    """What is chosen exists: the file, and the test in it."""
    for run in RUNS.values():
        for case in run.cases:
            path, _, name = case.partition("::")
            assert f"def {name.partition('[')[0]}(" in Path(path).read_text()
