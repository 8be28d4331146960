"""Directories, watched by the kernel. Source: inotify(7), include/uapi/linux/inotify.h.

Three calls of the C library and one structure: a dependency would be larger than what it replaces.
"""

import ctypes
import errno
import os
import select
import struct
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Self

_libc = ctypes.CDLL(None, use_errno=True)
_HEADER = struct.Struct("iIII")  # struct inotify_event: wd, mask, cookie, len
# One event with the longest name fits (inotify(7)); the rest lets a burst be read in one call.
_BUFFER_BYTES = 64 << 10

_IN_CREATE = 0x00000100
_IN_DELETE = 0x00000200
_IN_MODIFY = 0x00000002
_IN_Q_OVERFLOW = 0x00004000
_IN_IGNORED = 0x00008000
_IN_ONLYDIR = 0x01000000
_IN_DONT_FOLLOW = 0x02000000
_IN_ISDIR = 0x40000000


class Kind(StrEnum):
    """What happened."""

    MADE = "made"  # a directory
    REMOVED = "removed"  # a directory
    MODIFIED = "modified"  # a watched file has new content
    ENDED = "ended"  # the watch itself; its number is not used again
    OVERFLOW = "overflow"  # the kernel's queue was full and changes were lost: look at everything again


class Change(NamedTuple):
    """Something happened to a watched directory or file."""

    kind: Kind
    watch: int  # as `Inotify.watch_*` returned it; -1 for an overflow
    name: str  # of the directory in it that was made or removed, else empty


class Inotify:
    """One inotify instance; a context manager. Raises OSError when the kernel gives no further instance."""

    def __init__(self) -> None:
        self._descriptor: int = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return the descriptor, readable when there are changes."""
        return self._descriptor

    def close(self) -> None:
        """End all watches. A second time it does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def watch_directory(self, path: str) -> int:
        """Watch which directories are made and removed in `path`; return the number of the watch.

        Raises OSError: FileNotFoundError when it is gone, ENOSPC when the user's limit of watches is reached.
        """
        return self._watch(path, _IN_CREATE | _IN_DELETE | _IN_ONLYDIR | _IN_DONT_FOLLOW)

    def watch_file(self, path: str) -> int:
        """Watch the content of `path`; return the number of the watch. Raises OSError as `watch_directory` does."""
        return self._watch(path, _IN_MODIFY | _IN_DONT_FOLLOW)

    def unwatch(self, watch: int) -> None:
        """End a watch; one that has ended is no error."""
        # kernfs keeps the inode of a removed cgroup, and so the watch on it, until the watch is ended.
        _libc.inotify_rm_watch(self._descriptor, watch)

    def wait(self, timeout_s: float) -> bool:
        """Return whether there are changes, at the latest after the timeout."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(max(0, round(timeout_s * 1000))))

    def changes(self) -> list[Change]:
        """Return what has happened since the last call, in its order. Does not wait."""
        found: list[Change] = []
        while content := self._read():
            found += _decode(content)
        return found

    def _watch(self, path: str, mask: int) -> int:
        return _checked(_libc.inotify_add_watch(self._descriptor, os.fsencode(path), ctypes.c_uint32(mask)), path)

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, _BUFFER_BYTES)
        except BlockingIOError:
            return b""


def _decode(content: bytes) -> list[Change]:
    found: list[Change] = []
    offset = 0
    while offset < len(content):
        watch, mask, _, length = _HEADER.unpack_from(content, offset)
        name = content[offset + _HEADER.size : offset + _HEADER.size + length].rstrip(b"\0")
        offset += _HEADER.size + length
        kind = _kind(mask)
        if kind is not None:
            found.append(Change(kind, watch, os.fsdecode(name)))
    return found


def _kind(mask: int) -> Kind | None:
    if mask & _IN_Q_OVERFLOW:
        return Kind.OVERFLOW
    if mask & _IN_IGNORED:
        return Kind.ENDED
    if mask & _IN_MODIFY:
        return Kind.MODIFIED
    if not mask & _IN_ISDIR:  # files of a new cgroup appear too
        return None
    return Kind.MADE if mask & _IN_CREATE else Kind.REMOVED


def _checked(result: int, path: str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        reason = "no inotify watches are left (sysctl fs.inotify.max_user_watches)" if code == errno.ENOSPC else ""
        raise OSError(code, reason or os.strerror(code), path)
    return result
