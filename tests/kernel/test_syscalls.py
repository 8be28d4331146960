"""System-call numbers by name."""

import ctypes
import os
import platform
from pathlib import Path

import pytest

from otel_kernel.kernel import syscalls


def test_numbers_are_this_kernels() -> None:
    """A number from the table makes the call it names."""
    libc = ctypes.CDLL(None)
    assert libc.syscall(syscalls.table()["getppid"]) == os.getppid()
    assert libc.syscall(syscalls.table()["getpid"]) == os.getpid()


def test_every_drawn_call_is_known() -> None:
    """All families that are drawn have a number, those newer than the installed headers too."""
    table = syscalls.table()
    namespaces = "clone clone3 unshare setns execve execveat openat openat2"
    mounts = "mount umount2 pivot_root move_mount open_tree open_tree_attr mount_setattr fsopen fsconfig fsmount"
    assert set(f"{namespaces} {mounts}".split()) <= table.keys()
    assert len(set(table.values())) == len(table)
    assert "syscalls" not in table


def test_headers_win_over_what_is_known_by_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed header's numbers are taken as they stand."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    file = tmp_path / "x86_64-linux-gnu" / "asm" / "unistd_64.h"
    file.parent.mkdir(parents=True)
    file.write_text("#ifndef _X\n#define __NR_read 0\n#define __NR_open_tree_attr 999\n#endif\n")
    table = syscalls.table(tmp_path)
    assert (table["read"], table["open_tree_attr"], table["futex_wait"]) == (0, 999, 455)


def test_generic_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """arm64's table gives 64-bit names: the aliases of the 3264 numbers, without the table's own length."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    file = tmp_path / "asm-generic" / "unistd.h"
    file.parent.mkdir(parents=True)
    file.write_text(
        "#define __NR3264_fcntl 25\n#define __NR_fcntl __NR3264_fcntl\n#define __NR_execve 221\n"
        "#define __NR_syscalls 454\n#define __NR_arch_specific_syscall 244\n"
    )
    table = syscalls.table(tmp_path)
    assert (table["fcntl"], table["execve"]) == (25, 221)
    assert "syscalls" not in table


def test_no_header(tmp_path: Path) -> None:
    """Without the header the error names it."""
    with pytest.raises(OSError, match="unistd"):
        syscalls.table(tmp_path)
