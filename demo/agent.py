"""The agent as an operator runs it: `otel-kernel run` beside a lab."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAM = Path(sys.prefix) / "bin" / "otel-kernel"
READY_LIMIT_S = 300  # on a machine as busy as tests make it, or emulated
STOP_LIMIT_S = 60  # the agent promises 10, which an emulated machine does not keep


class Agent:
    """A context: an agent that observes, ended by SIGTERM. Waterfalls go to our own output, messages to the log."""

    def __init__(self, settings: Mapping[str, str], log: Path, prefix: Sequence[str] = ()) -> None:
        """`prefix` begins its command: a program that starts it as its only child."""
        self._settings = settings
        self._prefix = prefix
        self._log = log

    def __enter__(self) -> Self:
        """Start it and wait until it is ready. Raises RuntimeError with what it said instead."""
        # Settings of the one who runs us would show another agent than the one described.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._prefix, PROGRAM, "run"],
                stdin=subprocess.DEVNULL,
                stderr=log,
                env=environment | dict(self._settings),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            self.stop()

    @property
    def pid(self) -> int:
        """The agent's process id."""
        pid = self._process.pid
        while self._prefix and (child := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            pid = int(child[0])
        return pid

    def messages(self) -> list[str]:
        """Return the lines it has said so far."""
        return self._log.read_text(errors="replace").splitlines()

    def stop(self) -> int:
        """End it by SIGTERM and return its exit status. Raises subprocess.TimeoutExpired when it does not end."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while not any(line.startswith("ready:") for line in self.messages()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = "\n".join(self.messages()[-10:]) or "nothing"
                raise RuntimeError(f"otel-kernel run is not ready within {READY_LIMIT_S} s; it said:\n{said}")
            time.sleep(0.02)
