"""How long the agent needs to be ready."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import agent
from benchmarks.results import Bar, Result, Row

NEEDS = ()
RUNS = 5
LIMIT_S = 2


def measure(say: Callable[[str], None]) -> Result:
    """Start the agent several times with its programs compiled before, and several times with nothing kept."""
    kept = [_start(say, f"start {number} of {RUNS}", {}) for number in range(RUNS + 1)][1:]  # the first may compile
    anew = []
    for number in range(RUNS):
        with tempfile.TemporaryDirectory() as cache:
            anew.append(_start(say, f"first start {number + 1} of {RUNS}", {"XDG_CACHE_HOME": cache}))
    rows = [
        Row("exec to `ready:`", kept, "s", bar=Bar(max(kept), LIMIT_S, "s", of="slowest")),
        Row("the same, with the compiler", anew, "s", bar=Bar(max(anew), LIMIT_S, "s", of="slowest")),
    ]
    method = (
        "From the exec of `otel-kernel run` to its `ready:` line: programs loaded and attached, /proc and cgroups "
        "read. What the compiler made is kept on disk for this kernel; the second row is a start with an empty cache."
    )
    return Result("How long does the agent need to be ready?", method, rows)


def _start(say: Callable[[str], None], what: str, environment: Mapping[str, str]) -> float:
    with tempfile.TemporaryDirectory() as directory:
        settings = {"OTEL_KERNEL_OUTPUT": f"file:{Path(directory) / 'births.jsonl'}"}
        with agent.running(settings | dict(environment)) as started:
            say(f"{what}: {started.ready_s:.2f} s")
            return started.ready_s
