"""System-call numbers and names of the running architecture, from libc's UAPI header <asm/unistd.h>."""

import platform
import re
from pathlib import Path

_DEFINE = re.compile(r"^#define\s+__NR(?:3264)?_(\w+)\s+(?:__NR_\w+|(\d+))", re.MULTILINE)
_NEWER = {
    "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "statmount": 457, "listmount": 458,
    "open_tree_attr": 467,
}  # fmt: skip
# In the generic table: its length, the place of an architecture's own calls, and another order of arguments under the
# number of sync_file_range, which no 64-bit architecture with this table has.
_NOT_CALLS = frozenset(("syscalls", "arch_specific_syscall", "sync_file_range2"))
_COMPAT_FILES = {"x86_64": "x86_64-linux-gnu/asm/unistd_32.h"}
_FILES = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


def table(include: Path = Path("/usr/include")) -> dict[str, int]:
    """Return name -> number.

    Calls newer than the headers that we know by name are added: their numbers are one on all architectures.
    Raises OSError when the header is not there (Debian: package linux-libc-dev).
    """
    text = (include / _FILES.get(platform.machine(), "asm-generic/unistd.h")).read_text()
    found = {name: int(number) for name, number in _DEFINE.findall(text) if number and name not in _NOT_CALLS}
    return _NEWER | found


def compat_table(include: Path = Path("/usr/include")) -> dict[str, int]:
    """Return name -> number of the 32-bit calls that this architecture runs; nothing where no header tells them."""
    file = _COMPAT_FILES.get(platform.machine())
    try:
        text = (include / file).read_text() if file else ""
    except OSError:
        return {}
    return {name: int(number) for name, number in _DEFINE.findall(text) if number}
