"""A stand-in for kernel headers, made at run time from libc's UAPI headers.

BCC asks for a kernel source directory, but our programs use UAPI constants and BTF offsets only, so nothing of the
running kernel's own headers is needed: a node need not have them, and headers of another kernel can do no harm.
"""

import hashlib
import json
import platform
import shutil
import tempfile
from pathlib import Path

UAPI = Path("/usr/include")
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}

_TYPES = """\
#pragma once
#include <uapi/linux/types.h>
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;
typedef _Bool bool;
typedef __kernel_pid_t pid_t; typedef __kernel_size_t size_t; typedef __kernel_ssize_t ssize_t;
typedef unsigned long uintptr_t; typedef unsigned short umode_t;
#ifndef NULL
#define NULL ((void *)0)
#endif
#define true 1
#define false 0
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef AT_FDCWD
#define AT_FDCWD -100
#endif
"""


_TEXTS = {
    "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n#define CONFIG_X86_64 1\n",
    "include/linux/types.h": _TYPES,
    "include/linux/version.h": "#include <uapi/linux/version.h>\n",
    "include/linux/log2.h": "",
    "include/asm/page.h": "#define PAGE_SIZE 4096UL\n",
    "include/uapi/linux/bpf.h": "",
    "include/uapi/linux/bpf_common.h": "",
}
# Part of the directory's name: another version of the agent never meets this one's texts.
_VERSION = hashlib.sha256(json.dumps(_TEXTS).encode()).hexdigest()[:12]


class HeadersMissingError(Exception):
    """libc's UAPI headers are not installed."""


def make(cache: Path) -> Path:
    """Return the directory for BCC_KERNEL_SOURCE, made below `cache` if absent. Raises HeadersMissingError, OSError."""
    uapi_asm = UAPI / f"{platform.machine()}-linux-gnu" / "asm"
    if not uapi_asm.exists():
        uapi_asm = UAPI / "asm"
    if not (UAPI / "linux" / "mount.h").exists() or not uapi_asm.exists():
        raise HeadersMissingError(f"no UAPI headers in {UAPI} (Debian: package linux-libc-dev)")
    directory = cache / f"kernel-headers-{_VERSION}"
    if directory.is_dir() and not _is_whole(directory):
        shutil.rmtree(directory, ignore_errors=True)  # its links lead nowhere any more
    if not directory.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        _build(directory, uapi_asm)
    return directory


def _is_whole(directory: Path) -> bool:
    uapi = directory / "include" / "uapi"
    return (uapi / "asm").exists() and (uapi / "linux" / "mount.h").exists()


def _build(directory: Path, uapi_asm: Path) -> None:
    """Build beside and rename, so that two agents starting at once never see half of it."""
    fresh = Path(tempfile.mkdtemp(dir=directory.parent))
    for name, text in _TEXTS.items():
        file = fresh / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (fresh / "arch" / ARCHITECTURES.get(platform.machine(), platform.machine()) / "include").mkdir(parents=True)
    uapi = fresh / "include" / "uapi"
    for header in (UAPI / "linux").iterdir():
        if header.name not in ("bpf.h", "bpf_common.h"):
            (uapi / "linux" / header.name).symlink_to(header)
    (uapi / "asm").symlink_to(uapi_asm)
    (uapi / "asm-generic").symlink_to(UAPI / "asm-generic")
    try:
        fresh.replace(directory)
    except OSError:
        shutil.rmtree(fresh)
        if not directory.is_dir():
            raise
