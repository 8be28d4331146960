"""What tests say when the machine lacks what they need."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LACKING = '''
"""Tests that lack something."""
import pytest

def test_by_fixture(require):
    """Lacks what it asks for."""
    require(None, "no such program")

@pytest.mark.skip(reason="no such marker")
def test_by_marker():
    """Lacks what its marker asks for."""

@pytest.mark.xfail(reason="known")
def test_known():
    """Fails as expected: it ran."""
    assert False
'''


def summary(directory: Path, *, required: bool) -> tuple[int, str]:
    """Return exit status and last line of the tests above, run in a directory with our conftest."""
    (directory / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (directory / "test_lacking.py").write_text(LACKING)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "--rootdir", directory, "-p", "no:cacheprovider", directory],
        cwd=directory,
        env=os.environ | ({"OTEL_KERNEL_TESTS_REQUIRE": "1"} if required else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ended.returncode, ended.stdout.strip().splitlines()[-1]


def test_skips_where_allowed(tmp_path: Path) -> None:
    """On a laptop a test that lacks something skips."""
    status, line = summary(tmp_path, required=False)
    assert status == 0
    assert "2 skipped, 1 xfailed" in line


def test_fails_where_required(tmp_path: Path) -> None:
    """Where nothing may be skipped, each skip is a failure; an expected failure is not a skip."""
    status, line = summary(tmp_path, required=True)
    assert status == 1
    assert "1 failed, 1 xfailed, 1 error" in line
