"""OTLP JSON lines in a file."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from otel_kernel.health import Counter, Health
from otel_kernel.telemetry.otlp_json import json_line

log = logging.getLogger(__name__)


class FileError(OSError):
    """A file that cannot be written, said in one line."""


class JsonLinesFile:
    """A file that grows by one line for each request. A file that was moved away is made anew with the next line.

    For one thread: what is half written must be known when the next line comes.
    """

    def __init__(self, path: Path, health: Health) -> None:
        """Open the file for appending. Raises FileError when that is not possible."""
        self._path = path
        self._health = health
        self._torn = False
        self._failing = False
        try:
            self._descriptor = _open(path)
        except OSError as error:
            raise FileError(f"cannot write to {str(path)!r}: {error.strerror}") from error

    def offer(self, requests: Sequence[bytes], as_line: Callable[[bytes], bytes] = json_line) -> None:
        """Append requests, a trace's unless said otherwise; what cannot be written is counted and, once, logged."""
        for number, request in enumerate(requests):
            try:
                self._follow_rotation()
                self._append(as_line(request))
            except OSError as error:
                self._failed(error, len(requests) - number)
                return
        self._failing = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _follow_rotation(self) -> None:
        ours = os.fstat(self._descriptor)
        try:
            same = os.path.samestat(ours, self._path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            opened = _open(self._path)
            os.close(self._descriptor)
            self._descriptor, self._torn = opened, False

    def _append(self, line: bytes) -> None:
        # A disk that fills up leaves half a line; the next one must not be glued to it.
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            written = os.write(self._descriptor, rest)
            rest = rest[written:]
            self._torn = bool(rest)

    def _failed(self, error: OSError, requests: int) -> None:
        self._health.add(Counter.FILE_FAILURES, requests)
        if not self._failing:
            log.warning("births, metrics and events cannot be written to %r: %s", str(self._path), error.strerror)
        self._failing = True


def _open(path: Path) -> int:
    # Without O_NONBLOCK a pipe that nobody reads would hold the agent up; for files it means nothing.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
