"""What the kernel must have for any of our programs: told in words before a compiler or verifier says it in theirs."""

import errno
import os
from pathlib import Path

from otel_kernel.kernel import bpf

LOCKDOWN = Path("/sys/kernel/security/lockdown")
_RING = bpf.Shape("ring", 27, 0, 0, 4096, 0)  # BPF_MAP_TYPE_RINGBUF


class NeedsError(Exception):
    """The kernel cannot run our programs: one line that says why."""


def check(lockdown: Path = LOCKDOWN) -> None:
    """Return when the kernel has what our programs need. Raises NeedsError for what it lacks.

    Sources: kernel/bpf/syscall.c (map_create: EINVAL for a kind of map that it does not know), security/lockdown.
    """
    if _is_locked_down(lockdown):
        raise NeedsError("the kernel is locked down (confidentiality): BPF may not read its memory")
    try:
        os.close(bpf.create_map(_RING))
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise NeedsError("the kernel has no BPF ring buffer (since 5.8)") from error
        if error.errno == errno.ENOSYS:
            raise NeedsError("the kernel has no bpf(2) (CONFIG_BPF_SYSCALL)") from error
        raise


def _is_locked_down(file: Path) -> bool:
    """Return whether the file marks that level; without securityfs the verifier says so later."""
    try:
        return "[confidentiality]" in file.read_text()
    except OSError:
        return False
