"""The agent as an operator runs it, with what a benchmark wants to know of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROGRAM = Path(sys.prefix) / "bin" / "otel-kernel"
STOP_LIMIT_S = 15


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent."""

    pid: int
    ready_s: float  # from its exec to its `ready:`

    def cpu_ns(self) -> int:
        """Return the CPU time that its threads have used. Those of /proc/PID/stat are in steps of 10 ms."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)


@contextlib.contextmanager
def running(settings: Mapping[str, str]) -> Iterator[Agent]:
    """Run an agent that observes by eBPF and has said so; end it by SIGTERM. Raises RuntimeError when it does not."""
    # The settings of the one who measures would make it another agent; PYTHON* make it another Python.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    settings = {"OTEL_KERNEL_EBPF": "require", "OTEL_KERNEL_KUBERNETES": "off"} | dict(settings)
    began = time.monotonic()
    process = subprocess.Popen(
        [PROGRAM, "run"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment | settings,
    )
    stderr = process.stderr
    try:
        if stderr is None:
            raise RuntimeError("no pipe to otel-kernel run")
        said = ""
        for line in stderr:  # sources of identity may have a word before
            said = line.decode(errors="replace").strip()
            if said.startswith("ready:"):
                break
        if not said.startswith("ready:"):
            process.kill()
            raise RuntimeError(f"otel-kernel run is not ready; it said: {_last_line(said, stderr)}")
        yield Agent(process.pid, time.monotonic() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if stderr:
            stderr.close()


def _last_line(said: str, stderr: IO[bytes]) -> str:
    rest = stderr.read().decode(errors="replace").strip()
    return (rest or said or "nothing").splitlines()[-1]


def measured(output: Path, metric: str) -> int:
    """Return the sum over the last values of a metric's series in an OTLP JSON-lines file; 0 when there are none."""
    last: dict[str, int] = {}
    for line in output.read_text().splitlines() if output.exists() else ():
        for resource in json.loads(line).get("resourceMetrics", ()):
            found = (each for scope in resource["scopeMetrics"] for each in scope["metrics"] if each["name"] == metric)
            for point in (point for each in found for point in each["sum"]["dataPoints"]):
                series = json.dumps([resource["resource"], point.get("attributes")])
                last[series] = int(point.get("asInt", last.get(series, 0)))
    return sum(last.values())


def counted(births: Path, attribute: str) -> int:
    """Return the sum of an integer attribute over all spans of an OTLP JSON-lines file; 0 when none has it."""
    told = births.read_text() if births.exists() else ""
    return sum(int(value) for value in re.findall(rf'"{re.escape(attribute)}","value":{{"intValue":"(\d+)"', told))
