"""The independent observer: strace on a runtime's daemons for the time of one birth."""

import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.agreement.strace_log import Log, read_log

ATTACH_LIMIT_S = 300
END_LIMIT_S = 300
# -y: descriptors' paths, -v: environments, -s: whole strings; host ids beside those of other PID namespaces.
COMMAND = ("nice", "-n", "-10", "strace")  # every call of a birth waits for it twice
OPTIONS = ("-f", "-ttt", "-y", "-v", "-s", "8192", "--decode-pids=pidns")


class Strace:
    """A context: strace attached to the processes and all they fork; afterwards `log` is what it saw."""

    def __init__(self, pids: list[int], output: Path) -> None:
        self._pids = pids
        self._output = output
        self.attached: dict[int, int] = {}  # thread -> process

    def __enter__(self) -> Self:
        attach = [word for pid in self._pids for word in ("-p", str(pid))]
        self._process = subprocess.Popen([*COMMAND, *OPTIONS, "-o", self._output, *attach], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + ATTACH_LIMIT_S
        while not all(self._is_traced(pid) for pid in self._pids):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end()
                raise RuntimeError(f"strace did not attach to {self._pids}")
            time.sleep(0.01)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    @property
    def log(self) -> Log:
        """What it saw."""
        with self._output.open(errors="surrogateescape") as lines:
            return read_log(lines)

    def _is_traced(self, pid: int) -> bool:
        """Return whether strace holds every thread of a process, and remember them."""
        for thread in (int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()):
            status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
            if f"TracerPid:\t{self._process.pid}\n" not in status:
                return False
            self.attached[thread] = pid
        return True

    def _end(self) -> None:
        """Detach; a strace that does not is killed, which detaches too."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
