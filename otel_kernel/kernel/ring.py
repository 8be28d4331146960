"""The BPF ring buffer, read by mmap without a call per record (Documentation/bpf/ringbuf.rst; kernel/bpf/ringbuf.c)."""

import mmap
import struct
from collections.abc import Generator

_HEADER = struct.Struct("<I")
_BUSY, _DISCARD = 1 << 31, 1 << 30


class Ring:
    """The consumer's side of one ring. Owns the two mappings; the descriptor stays the map's."""

    def __init__(self, fd: int, size: int) -> None:
        """Map the ring of `size` bytes of data. Raises OSError."""
        page = mmap.PAGESIZE
        self.fd = fd
        self._mask = size - 1
        self._consumer = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._producer = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        self._data = memoryview(self._producer)[page:]
        # One store of eight bytes each time: struct.pack_into clears its room first, and a kernel that reads 0 as our
        # position takes the ring for full (CPython: Modules/_struct.c, s_pack_internal).
        self._consumed = memoryview(self._consumer).cast("Q")
        self._produced = memoryview(self._producer)[:page].cast("Q")

    def records(self) -> Generator[memoryview, None, None]:
        """Yield each record's bytes and give its room back when the next is asked for. The view is valid until then."""
        at = self._consumed[0]
        while True:
            end = self._produced[0]
            if at >= end:
                return
            while at < end:
                offset = at & self._mask
                header = _HEADER.unpack_from(self._data, offset)[0]
                if header & _BUSY:
                    return
                length = header & ~_DISCARD
                at += (length + 8 + 7) & ~7
                try:
                    if not header & _DISCARD:
                        yield self._data[offset + 8 : offset + 8 + length]
                finally:  # also when the reader stops here: it has seen this record
                    self._consumed[0] = at

    def close(self) -> None:
        """Unmap."""
        for view in (self._data, self._consumed, self._produced):
            view.release()
        self._producer.close()
        self._consumer.close()
