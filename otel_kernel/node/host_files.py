"""The host's files, read so that no file can make the reader wait, swallow memory or leave the host's root."""

import ctypes
import errno
import os
import stat

_SYS_OPENAT2 = 437  # the same on every architecture (include/uapi/asm-generic/unistd.h)
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
# O_NONBLOCK: opening a FIFO would wait for its writer. O_NOFOLLOW: a file that is expected here is no link to another.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY

_libc = ctypes.CDLL(None, use_errno=True)


class NotRegularError(OSError):
    """What stands there is no regular file."""


class TooLargeError(OSError):
    """The file is larger than its reader allows."""


class _OpenHow(ctypes.Structure):
    """`struct open_how` of include/uapi/linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def read(path: str, host_root: str, limit_bytes: int) -> bytes:
    """Return the content of `path`, as processes under `host_root` see it.

    Raises OSError when it cannot be read (NotRegularError, TooLargeError among them), ValueError for a NUL in the path.
    """
    descriptor = _open(path, host_root)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotRegularError(errno.EINVAL, "not a regular file", path)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            content = file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise TooLargeError(errno.EFBIG, "too large", path)
    return content


def _open(path: str, host_root: str) -> int:
    if os.path.normpath(host_root) == "/":
        return os.open(path, _FLAGS)
    root = os.open(host_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _open_in_root(root, path)
    finally:
        os.close(root)


def _open_in_root(root: int, path: str) -> int:
    # An absolute link such as /var/run -> /run leads to the agent's own /run, not to the host's, unless the kernel
    # resolves it within the host's root: openat2 (Linux 5.6).
    how = _OpenHow(_FLAGS, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    descriptor: int = _libc.syscall(_SYS_OPENAT2, root, encoded, ctypes.byref(how), ctypes.sizeof(how))
    if descriptor >= 0:
        return descriptor
    code = ctypes.get_errno()
    if code in {errno.ENOSYS, errno.EPERM}:  # an older kernel, or a seccomp profile that does not know the call
        return os.open(path.lstrip("/"), _FLAGS, dir_fd=root)
    raise OSError(code, os.strerror(code), path)
