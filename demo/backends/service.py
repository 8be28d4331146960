"""One backend as a process on loopback, which can be stopped, killed and started again with what it kept."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

READY_LIMIT_S = 60
STOP_LIMIT_S = 30


class Service:
    """A context: a program that runs and answers at `ready_url`."""

    def __init__(self, arguments: list[str | Path], environment: Mapping[str, str], log: Path, ready_url: str) -> None:
        self._arguments = arguments
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(log.parent), **environment}
        self._log = log
        self._ready_url = ready_url
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id; 0 when it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError with the last it said instead."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, env=self._environment, cwd=self._log.parent, stdout=log, stderr=log
            )
        deadline = time.monotonic() + READY_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                name = Path(self._arguments[0]).name
                raise RuntimeError(f"{name} does not answer: {self.said()[-600:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it by SIGTERM, by SIGKILL when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it by SIGKILL: what it had in memory is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def said(self) -> str:
        """Return what it has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready_url, timeout=5) as answer:  # noqa: S310 - http, on loopback
                return bool(answer.status == 200)  # noqa: PLR2004 - OK
        except (urllib.error.URLError, OSError):
            return False


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody uses."""
    taken = [socket.socket() for _ in range(count)]
    try:
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in taken]
    finally:
        for each in taken:
            each.close()
