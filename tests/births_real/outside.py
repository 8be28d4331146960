"""An agent outside the host's PID namespace, as in a pod without `hostPID`."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.agent import PROGRAM, Agent
from tests.births_real.observation import QUIET_S, Observation

_NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def own_proc() -> tuple[str, ...]:
    """Return what begins a command whose /proc shows nothing but itself."""
    return _NAMESPACE


def hosts_proc(at: Path) -> tuple[str, ...]:
    """Return what begins a command that is outside as well, and sees the host's /proc at a directory of its own."""
    at.mkdir()
    script = 'mount --bind /proc "$0" && exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(at), *_NAMESPACE)


@contextlib.contextmanager
def observing(directory: Path, prefix: tuple[str, ...], **settings: str) -> Iterator[Observation]:
    """Run an agent that writes all to a file, and end it; it must end well and without a complaint."""
    output = directory / "told.jsonl"
    mine = {"OUTPUT": f"file:{output}", "BIRTH_QUIET": str(QUIET_S), "KUBERNETES": "off", **settings}
    environment = {f"OTEL_KERNEL_{name}": value for name, value in mine.items()}
    environment["OTEL_METRIC_EXPORT_INTERVAL"] = "1000"
    with Agent(environment, directory / "agent.log", prefix) as agent:
        yield Observation(agent, output)
        assert agent.stop() == 0
    assert [line for line in agent.messages() if "Traceback" in line] == []


def checked(prefix: tuple[str, ...], *arguments: str) -> dict[str, dict[str, Any]]:
    """Return what `check` says of each signal."""
    command = [*prefix, str(PROGRAM), "check", "--json", *arguments]
    told = subprocess.run(command, check=True, capture_output=True, timeout=120).stdout
    return {signal["signal"]: signal for signal in json.loads(told)["signals"]}


def named(told: Path) -> set[str]:
    """Return the names of the pods of which something was measured."""
    found = set()
    for line in told.read_text().splitlines():
        for resource in json.loads(line).get("resourceMetrics", ()):
            found |= {
                each["value"]["stringValue"]
                for each in resource["resource"]["attributes"]
                if each["key"] == "k8s.pod.name"
            }
    return found
