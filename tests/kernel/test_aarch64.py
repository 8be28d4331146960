"""The other architecture: what can be known of it without a machine of its kind."""

import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_kernel.kernel import headers, loader, parts, syscalls

INCLUDE = Path("/usr/aarch64-linux-gnu/include")  # Debian: linux-libc-dev-arm64-cross
ABSENT = "open creat mkdir rename fork vfork pipe dup2 access epoll_wait".split()  # calls that aarch64 never had


@pytest.fixture(autouse=True)
def _needs_headers(require: Callable[[object, str], None]) -> None:
    require(INCLUDE.is_dir(), "needs aarch64's UAPI headers (Debian: linux-libc-dev-arm64-cross)")


def test_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of its own header (include/uapi/asm-generic/unistd.h): every family that is drawn has one."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    table = syscalls.table(INCLUDE)
    assert (table["clone"], table["execve"], table["openat"], table["clone3"]) == (220, 221, 56, 435)
    assert len(set(table.values())) == len(table)
    assert not table.keys() & set(ABSENT)
    drawn = "clone clone3 unshare setns execve execveat mount umount2 pivot_root move_mount fsopen fsconfig fsmount"
    assert set(drawn.split()) <= table.keys()


def test_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in for kernel headers links those of the architecture."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(headers, "UAPI", INCLUDE)
    made = headers.make(tmp_path)
    assert (made / "arch" / "arm64" / "include").is_dir()
    assert (made / "include" / "uapi" / "asm").resolve() == INCLUDE / "asm"


@pytest.mark.root
def test_programs(tmp_path: Path) -> None:
    """Each program is compiled for it, and this kernel's verifier finds no fault with what came of it."""
    command = [sys.executable, "-m", "tests.kernel.aarch64_programs", str(INCLUDE), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert {name: reason for name, reason in told.items() if reason} == {}
    optional = {name for part in parts.PARTS for name in part.programs}
    assert set(told) == {*loader.PROGRAMS, *loader.DROP_PROGRAMS, *optional}
