"""Files of the kernel that are read again and again, kept open: to open one costs several times a reading."""

import errno
import os
import resource
from array import array
from collections.abc import Callable
from typing import NamedTuple, TypeVar

T = TypeVar("T")

_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_CHUNK_BYTES = 4 << 10  # nearly all are smaller, and Python makes room for as much as is asked for
_LARGEST_BYTES = 4 << 20
# A file of records gives at most a page of whole ones at a time (fs/seq_file.c).
_SURELY_ALL_BYTES = 3 << 10
# The kernel keeps a page for each open file of a cgroup (fs/seq_file.c), charged to the agent: 8192 are 34 MiB
# on a node of 250 pods; one of 110 has a third of them.
_MOST_KEPT = 8192
_CLOSED = -1


class Place(NamedTuple):
    """Where one kind of file is of every cgroup. Made by `OpenFiles.place`."""

    number: int
    root: str  # of the hierarchy
    name: str


class OpenFiles:
    """Reads files of cgroups and keeps the first `limit` of them open. Owns the descriptors."""

    def __init__(self, limit: int | None = None) -> None:
        """Keep at most `limit` files open; by default as many as pay, and leave half of what the process may open."""
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = _MOST_KEPT if allowed == resource.RLIM_INFINITY else min(_MOST_KEPT, allowed // 2)
        self._limit = kept if limit is None else limit
        self._places = 0
        self._descriptors: dict[str, array[int]] = {}  # by cgroup, then by place; _CLOSED: not open
        self._open = 0

    def place(self, root: str, name: str) -> Place:
        """Return where the file `name` is of each cgroup below `root`. For a dozen of files, before any is read."""
        self._places += 1
        return Place(self._places - 1, root, name)

    def parsed(self, cgroup: str, place: Place, parse: Callable[[bytes], T]) -> T:
        """Return what `parse` makes of a file as it is now. Raises what it does, and OSError."""
        kept = self._descriptors.get(cgroup)
        descriptor = kept[place.number] if kept is not None else _CLOSED
        if descriptor != _CLOSED:
            try:
                return parse(content(descriptor))
            except OSError as error:
                self.forget(cgroup)
                if error.errno != errno.ENODEV:
                    raise
        # Either it was not open, or its cgroup is gone: another one may bear its name by now.
        return parse(self._read(cgroup, place))

    def forget(self, cgroup: str) -> None:
        """Close what is open of a cgroup."""
        for descriptor in self._descriptors.pop(cgroup, ()):
            if descriptor != _CLOSED:
                os.close(descriptor)
                self._open -= 1

    def close(self) -> None:
        """Close everything."""
        for cgroup in tuple(self._descriptors):
            self.forget(cgroup)

    def __len__(self) -> int:
        return self._open

    def _read(self, cgroup: str, place: Place) -> bytes:
        descriptor = os.open(f"{place.root}{cgroup}/{place.name}", _FLAGS)
        try:
            found = content(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if self._open < self._limit:
            # Arrays: a full node has a thousand of them.
            self._descriptors.setdefault(cgroup, array("i", (_CLOSED,) * self._places))[place.number] = descriptor
            self._open += 1
        else:
            os.close(descriptor)
        return found


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
