"""The host's files, when openat2 is not to be had."""

import errno
from pathlib import Path

import pytest

from otel_kernel.node import host_files


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_without_openat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """On an older kernel, or where seccomp refuses the call, paths without absolute links lead to the host's files."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/name").write_text("host")
    monkeypatch.setattr(host_files._libc, "syscall", lambda *_: -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: code)
    assert host_files.read("/etc/name", str(tmp_path), 100) == b"host"
    with pytest.raises(FileNotFoundError):
        host_files.read("/etc/absent", str(tmp_path), 100)


def test_no_such_root(tmp_path: Path) -> None:
    """A root that is not there is an error of its own."""
    with pytest.raises(FileNotFoundError, match="absent"):
        host_files.read("/etc/hostname", str(tmp_path / "absent"), 100)


def test_at_the_limit(tmp_path: Path) -> None:
    """A file as large as allowed is read whole, one byte more is refused."""
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert len(host_files.read(str(tmp_path / "file"), "/", 100)) == 100
    with pytest.raises(host_files.TooLargeError):
        host_files.read(str(tmp_path / "file"), "/", 99)
