"""How long the agent needs to be ready."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import agent
from benchmarks.results import Bar, Result, Row

NEEDS = ()
RUNS = 5
LIMIT_S = 2


def measure(say: Callable[[str], None]) -> Result:
    """Start the agent several times; the first may have to write bytecode and the header shim: it is not counted."""
    with tempfile.TemporaryDirectory() as directory:
        settings = {"OTEL_KERNEL_OUTPUT": f"file:{Path(directory) / 'births.jsonl'}"}
        ready_s = []
        for number in range(RUNS + 1):
            with agent.running(settings) as started:
                ready_s.append(started.ready_s)
            say(f"start {number} of {RUNS}: {started.ready_s:.2f} s{'' if number else ' (not counted)'}")
    counted = ready_s[1:]
    bar = Bar(max(counted), LIMIT_S, "s", of="slowest")
    method = (
        "From the exec of `otel-kernel run` to its `ready:` line: programs compiled, loaded and attached, /proc and "
        "cgroups read."
    )
    return Result("How long does the agent need to be ready?", method, [Row("exec to `ready:`", counted, "s", bar=bar)])
