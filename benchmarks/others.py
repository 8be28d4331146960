"""What else one might watch with: bpftrace and strace, as contexts that last from watching to having stopped."""

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import IO

COUNT_BY_CGROUP = """
tracepoint:raw_syscalls:sys_enter { @[cgroup, args->id] = count(); }
interval:ms:100 { printf("watching\\n"); }
"""
# bpftrace needs tracefs; a mount namespace of its own leaves the machine's mounts as they are.
WITH_TRACEFS = 'mount -t tracefs tracefs /sys/kernel/tracing && exec bpftrace -e "$0"'
STOP_LIMIT_S = 20


class Counts:
    """What bpftrace counted, known once its context is left."""

    def __init__(self) -> None:
        self._text = ""

    def take(self, text: str) -> None:
        """Take in what bpftrace printed at its end."""
        self._text = text

    def of(self, number: int) -> int:
        """Return how often the system call of this number was made, in all cgroups together."""
        return sum(int(count) for count in re.findall(rf"^@\[\d+, {number}\]: (\d+)$", self._text, re.MULTILINE))


@contextlib.contextmanager
def bpftrace() -> Iterator[Counts]:
    """Count all system calls by cgroup and number with bpftrace. Raises RuntimeError when it does not start."""
    counts = Counts()
    command = ["unshare", "--mount", "sh", "-c", WITH_TRACEFS, COUNT_BY_CGROUP]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        _wait_for("watching", process.stdout, "bpftrace")
        yield counts
    finally:
        process.send_signal(signal.SIGINT)
        counts.take(_end(process))


@contextlib.contextmanager
def strace(pid: int) -> Iterator[None]:
    """Trace all system calls of a process, its threads and all it forks. Raises RuntimeError when it does not start."""
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for("attached", process.stderr, "strace")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        _end(process)


def _wait_for(word: str, said: IO[str] | None, program: str) -> None:
    lines = []
    for line in said or ():
        if word in line:
            return
        lines.append(line.strip())
    raise RuntimeError(f"{program} does not watch; it said: {' '.join(lines) or 'nothing'}")


def _end(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=STOP_LIMIT_S)[0] or ""
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0] or ""
