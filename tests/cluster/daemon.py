"""One daemon of the cluster: started, waited for, ended."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

START_LIMIT_S = 240  # on a machine as busy as tests make it
STOP_LIMIT_S = 20


class Daemon:
    """A process that writes its log beside the others' and lives no longer than we do."""

    def __init__(self, name: str, command: list[str], logs: Path) -> None:
        self._name = name
        self._log = logs / f"{name}.log"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, serves: Callable[[], bool]) -> None:
        """Start it and wait until it serves. Raises RuntimeError with the end of its log."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._name} does not serve:\n{self.tail()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it: by SIGTERM, after a while by SIGKILL."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it as a crash would: one that serves watches takes its time to end otherwise."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def tail(self) -> str:
        """Return the end of its log."""
        return "\n".join(line[:300] for line in self._log.read_text(errors="replace").splitlines()[-8:])
