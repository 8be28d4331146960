"""Files of the kernel that are read again and again, kept open: to open one costs several times a reading."""

import errno
import os
import resource
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_CHUNK_BYTES = 4 << 10  # nearly all are smaller, and Python makes room for as much as is asked for
_LARGEST_BYTES = 4 << 20
# A file of records gives at most a page of whole ones at a time (fs/seq_file.c).
_SURELY_ALL_BYTES = 3 << 10
# The kernel keeps a page for each open file of a cgroup (fs/seq_file.c), charged to the agent: 8192 are 34 MiB
# on a node of 250 pods; one of 110 has a third of them.
_MOST_KEPT = 8192


class OpenFiles:
    """Reads files by path and keeps the first `limit` of them open. Owns the descriptors."""

    def __init__(self, limit: int | None = None) -> None:
        """Keep at most `limit` files open; by default as many as pay, and leave half of what the process may open."""
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = _MOST_KEPT if allowed == resource.RLIM_INFINITY else min(_MOST_KEPT, allowed // 2)
        self._limit = kept if limit is None else limit
        self._directories: dict[str, dict[str, int]] = {}
        self._open = 0

    def parsed(self, directory: str, name: str, parse: Callable[[bytes], T]) -> T:
        """Return what `parse` makes of a file as it is now. Raises what `read` and `parse` do."""
        kept = self._directories.get(directory)
        descriptor = kept.get(name) if kept is not None else None
        if descriptor is not None:
            try:
                return parse(content(descriptor))
            except OSError as error:
                self.forget(directory)
                if error.errno != errno.ENODEV:
                    raise
        # Either it was not open, or its cgroup is gone: another one may bear its name by now.
        return parse(self._read(directory, name))

    def read(self, directory: str, name: str, *, keep: bool = True) -> bytes:
        """Return the content of a file as it is now. Raises OSError, ENODEV among them for a cgroup that is gone."""
        return self.parsed(directory, name, _as_it_is) if keep else read(f"{directory}/{name}")

    def forget(self, directory: str) -> None:
        """Close what is open of a directory."""
        for descriptor in self._directories.pop(directory, {}).values():
            os.close(descriptor)
            self._open -= 1

    def close(self) -> None:
        """Close everything."""
        for directory in tuple(self._directories):
            self.forget(directory)

    def __len__(self) -> int:
        return self._open

    def _read(self, directory: str, name: str) -> bytes:
        descriptor = os.open(f"{directory}/{name}", _FLAGS)
        try:
            found = content(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if self._open < self._limit:
            self._directories.setdefault(directory, {})[name] = descriptor
            self._open += 1
        else:
            os.close(descriptor)
        return found


def _as_it_is(content: bytes) -> bytes:
    return content


def read(path: str) -> bytes:
    """Return the content of a file that is looked at once. Raises OSError."""
    descriptor = os.open(path, _FLAGS)
    try:
        return content(descriptor)
    finally:
        os.close(descriptor)


def content(descriptor: int) -> bytes:
    """Return all that is in a file of the kernel, 4 MiB at most. Raises OSError."""
    chunk = os.pread(descriptor, _CHUNK_BYTES, 0)
    if len(chunk) < _SURELY_ALL_BYTES:
        return chunk
    chunks, size_bytes = [], 0
    while chunk and size_bytes < _LARGEST_BYTES:
        chunks.append(chunk)
        size_bytes += len(chunk)
        chunk = os.pread(descriptor, _CHUNK_BYTES, size_bytes)
    return b"".join(chunks)
