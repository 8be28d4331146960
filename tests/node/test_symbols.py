"""Addresses as names: this process's own, and the kernel's."""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from otel_kernel.node import symbols

PROC = Path("/proc")


def address(name: str) -> int:
    """Return where a function of libc lies in this process."""
    return ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value or 0


@pytest.mark.root
def test_a_library_function() -> None:
    """An address inside a function has its name; libc calls many by two."""
    (name,) = symbols.user_frames(PROC, os.getpid(), (address("getppid") + 2,))
    assert name.strip("_") == "getppid"


@pytest.mark.root
def test_a_file_without_symbols(tmp_path: Path) -> None:
    """What has no name is the file and the offset in it."""
    source, program = tmp_path / "spin.c", tmp_path / "spin"
    source.write_text("int main(void) { for (;;) ; }\n")
    subprocess.run(["gcc", "-static", "-s", "-o", program, source], check=True, timeout=60)
    with subprocess.Popen([program]) as running:
        lines = Path(f"/proc/{running.pid}/maps").read_text().splitlines()
        code = next(line.split() for line in lines if line.split()[1].startswith("r-x") and line.endswith("/spin"))
        start = int(code[0].partition("-")[0], 16)
        assert symbols.user_frames(PROC, running.pid, (start + 16,)) == (f"spin+{int(code[2], 16) + 16:#x}",)
        running.kill()


def test_what_is_not_mapped() -> None:
    """An address of nothing, and one of a process that is gone, are not known."""
    assert symbols.user_frames(PROC, os.getpid(), (1,)) == ("unknown",)
    assert symbols.user_frames(PROC, 2**22 + 1, (1, 2)) == ("unknown", "unknown")


def test_kernel_symbols(tmp_path: Path) -> None:
    """Functions only, by where they begin; nothing has a name where the kernel tells no addresses."""
    (tmp_path / "kallsyms").write_text("ffffffff81000010 T b\nffffffff81000000 t a\nffffffff81000020 D data\n")
    told = symbols.kernel_symbols(tmp_path)
    names = {offset: told.name(0xFFFFFFFF81000000 + offset) for offset in (0, 15, 16, 100, -1)}
    assert names == {0: "a", 15: "a", 16: "b", 100: "b", -1: None}
    (tmp_path / "kallsyms").write_text("0000000000000000 T a\n0000000000000000 T b\n")
    assert symbols.kernel_symbols(tmp_path).name(0xFFFFFFFF81000000) is None
