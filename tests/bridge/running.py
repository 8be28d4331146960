"""A bridge as an operator's cluster runs it: `otel-kernel bridge`, a process of its own."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import requests

from demo.agent import PROGRAM

READY_LIMIT_S = 30


class RunningBridge:
    """A bridge that runs. `stop` and `kill` end it; `start` begins anew with the same state."""

    def __init__(self, directory: Path, url: str, **settings: object) -> None:
        self.port = free_port()
        self.state = directory / "state"
        directory.mkdir(exist_ok=True)
        self._log = directory / "bridge.log"
        given = {"URL": url, "STATE": self.state, "LISTEN": f"127.0.0.1:{self.port}", **settings}
        self._settings = {f"OTEL_KERNEL_BRIDGE_{name}": str(value) for name, value in given.items()}
        self.scheme = "https" if "LISTEN_CERT_FILE" in settings else "http"

    @property
    def at(self) -> str:
        """Where it listens."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it is ready. Raises RuntimeError with what it said instead."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self._begins_at = len(self.messages())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "bridge"], stderr=log, env=clean | self._settings)
        deadline = time.monotonic() + READY_LIMIT_S
        while not any(line.startswith("ready:") for line in self.messages()[self._begins_at :]):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("the bridge is not ready: " + "\n".join(self.messages()[-10:]))
            time.sleep(0.02)

    def messages(self) -> list[str]:
        """Return the lines it has said so far."""
        return self._log.read_text(errors="replace").splitlines() if self._log.exists() else []

    def stop(self) -> int:
        """End it by SIGTERM and return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()
        self._process.wait()

    def counts(self, **words: object) -> dict[str, float]:
        """Return its metrics that are not zero, by name and labels."""
        text = requests.get(f"{self.at}/metrics", timeout=10, **words).text  # type: ignore[arg-type]
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines if float(value)}

    def count(self, outcome: str, kind: str = "pod_creation") -> int:
        """Return how many messages of a kind came to this."""
        return int(self.counts().get(f'otel_kernel_bridge_messages_total{{kind="{kind}",outcome="{outcome}"}}', 0))

    def rss_bytes(self) -> tuple[int, int]:
        """Return its resident memory now, and at its highest."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
        return int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024


@contextlib.contextmanager
def bridging(directory: Path, url: str, **settings: object) -> Iterator[RunningBridge]:
    """Run a bridge; it must never have shown a traceback."""
    bridge = RunningBridge(directory, url, **settings)
    bridge.start()
    try:
        yield bridge
    finally:
        if bridge._process.poll() is None:
            bridge.stop()
    assert [line for line in bridge.messages() if "Traceback" in line] == []


def free_port() -> int:
    """Return a port of the loopback that nobody uses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
