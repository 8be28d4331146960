"""The one place where readers are called."""

import errno
import logging
import os

import pytest

from otel_kernel.metrics.judge import Judge


def failing(error: Exception) -> object:
    """Raise."""
    raise error


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EOPNOTSUPP])
def test_what_is_not_there_is_no_failure(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing is, nothing is broken, and nothing is said."""
    judge = Judge()
    assert judge.call("cpu.stat", failing, OSError(code, os.strerror(code))) is None
    assert (judge.failures, judge.records["cpu.stat"].absent, caplog.messages) == (0, 1, [])


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), ValueError("no number")])
def test_what_is_broken_is_counted_and_said_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """Each failure counts; the first of a reader is logged with its reason."""
    judge = Judge()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert judge.call("cpu.stat", failing, error) is None
    assert (judge.failures, judge.records["cpu.stat"].failures) == (3, 3)
    (message,) = caplog.messages
    assert message.startswith("cpu.stat cannot be read: ")


def test_what_is_read_is_returned_and_timed() -> None:
    """A reader's value comes back as it is, and the time it took is kept."""
    judge = Judge()
    assert judge.call("sum", sum, range(100_000)) == 4_999_950_000
    record = judge.records["sum"]
    assert (record.calls, record.failures, record.absent) == (1, 0, 0)
    assert record.time_ns > 0


def test_other_errors_are_not_hidden() -> None:
    """A mistake of ours is no broken file."""
    with pytest.raises(TypeError):
        Judge().call("cpu.stat", failing, TypeError())
