"""Every reader of a file is called here: timed, and judged whether there was nothing to read or something is broken."""

import errno
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# A cgroup or process that is gone, a controller that is not enabled, PSI that is switched off at boot.
_NOT_THERE = frozenset(
    {errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.ENOTDIR, errno.EOPNOTSUPP, errno.ENXIO, errno.ENOTCONN}
)

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Record:
    """How one kind of reader has done since the agent's start."""

    calls: int = 0
    absent: int = 0
    failures: int = 0
    time_ns: int = 0


class Judge:
    """Calls readers and keeps their record."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self.failures = 0

    @property
    def records(self) -> Mapping[str, Record]:
        """The record of each reader that was called."""
        return self._records

    def call(self, reader: str, read: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Return what the reader returns; None when what it reads is not there, or is broken, which is counted.

        What is broken is logged when it is so for the first time.
        """
        record = self._records.get(reader)
        if record is None:
            record = self._records[reader] = Record()
        record.calls += 1
        began_ns = time.perf_counter_ns()
        try:
            return read(*args, **kwargs)
        except OSError as error:
            if error.errno in _NOT_THERE:
                record.absent += 1
            else:
                self._failed(reader, record, error.strerror or type(error).__name__)
        except ValueError as error:
            self._failed(reader, record, str(error))
        finally:
            record.time_ns += time.perf_counter_ns() - began_ns
        return None

    def _failed(self, reader: str, record: Record, reason: str) -> None:
        record.failures += 1
        self.failures += 1
        if record.failures == 1:
            log.warning("%s cannot be read: %s (told once, counted from now on)", reader, reason)
