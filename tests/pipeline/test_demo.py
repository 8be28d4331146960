"""`make demo BACKENDS=1`, as somebody at a terminal would run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.containerd, pytest.mark.go, pytest.mark.slow]


def test_the_demonstration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """It says where the birth and the metrics are, once they are there, and leaves nothing running."""
    directory = tmp_path_factory.mktemp("demo")
    arguments: list[str | Path] = [sys.executable, "-m", "demo", "--backends", "--directory", directory]
    ended = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    spans = re.search(r"^  (\d+) spans: http://127\.0\.0\.1:\d+/api/traces/[0-9a-f]{32}$", ended.stdout, re.MULTILINE)
    metrics = re.search(r"^  (\d+) metrics: http://127\.0\.0\.1:\d+/api/v1/query", ended.stdout, re.MULTILINE)
    assert spans is not None
    assert int(spans[1]) > 50
    assert metrics is not None
    assert int(metrics[1]) >= 10
    assert {path.suffix for path in directory.iterdir()} == {".jsonl", ".log"}
