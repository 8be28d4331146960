"""The ring buffer's consumer, over a file that stands in for the kernel's map."""

import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.kernel.ring import Ring

PAGE = mmap.PAGESIZE
SIZE = PAGE
BUSY, DISCARDED = 1 << 31, 1 << 30


class Producer:
    """Writes records as kernel/bpf/ringbuf.c does. Unlike there the second half is a copy, not the same memory."""

    def __init__(self, path: Path, start: int) -> None:
        self._file = path.open("w+b")
        self._file.truncate(2 * PAGE + 2 * SIZE)
        self.memory = mmap.mmap(self._file.fileno(), 0)
        self.at = start
        self._set(0, start)
        self._set(PAGE, start)
        self.ring = Ring(self._file.fileno(), SIZE)

    def write(self, record: bytes, bits: int = 0) -> int:
        """Append a record; return where it lies."""
        offset = self.at % SIZE
        framed = struct.pack("<II", len(record) | bits, 0) + record
        for copy in (0, SIZE):
            begin = 2 * PAGE + offset + copy
            fits = framed[: max(0, 2 * PAGE + 2 * SIZE - begin)]
            self.memory[begin : begin + len(fits)] = fits
            rest = max(0, offset + len(framed) - SIZE)
            if rest and not copy:
                self.memory[2 * PAGE : 2 * PAGE + rest] = framed[len(framed) - rest :]
        self.at += (len(framed) + 7) & ~7
        self._set(PAGE, self.at)
        return offset

    def finish(self, offset: int, length: int) -> None:
        """Take the busy bit from a record."""
        for copy in (0, SIZE):
            self.memory[2 * PAGE + offset + copy : 2 * PAGE + offset + copy + 4] = struct.pack("<I", length)

    @property
    def consumed(self) -> int:
        """How far the reader gave room back."""
        return int(struct.unpack_from("<Q", self.memory, 0)[0])

    def read(self) -> list[bytes]:
        """Return all records that can be read now."""
        return [bytes(record) for record in self.ring.records()]

    def _set(self, at: int, value: int) -> None:
        self.memory[at : at + 8] = struct.pack("<Q", value)

    def close(self) -> None:
        """Give everything back."""
        self.ring.close()
        self.memory.close()
        self._file.close()


@pytest.fixture
def producer(tmp_path: Path) -> Iterator[Producer]:
    """A ring from its beginning."""
    made = Producer(tmp_path / "ring", 0)
    yield made
    made.close()


def test_empty(producer: Producer) -> None:
    """An empty ring gives nothing."""
    assert producer.read() == []


def test_records_in_order(producer: Producer) -> None:
    """Records of any length come in order, once, and their room is given back."""
    sent = [bytes([n]) * n for n in range(1, 40)]
    for record in sent:
        producer.write(record)
    assert producer.read() == sent
    assert producer.consumed == producer.at
    assert producer.read() == []


def test_discarded(producer: Producer) -> None:
    """A discarded record is passed over."""
    producer.write(b"one")
    producer.write(b"discarded", DISCARDED)
    producer.write(b"two")
    assert producer.read() == [b"one", b"two"]
    assert producer.consumed == producer.at


def test_busy(producer: Producer) -> None:
    """A record that another CPU is still writing stops the reader, and is read when it is finished."""
    producer.write(b"one")
    offset = producer.write(b"busy", BUSY)
    producer.write(b"two")
    assert producer.read() == [b"one"]
    assert producer.read() == []
    producer.finish(offset, 4)
    assert producer.read() == [b"busy", b"two"]


def test_round_the_end(tmp_path: Path) -> None:
    """A record that goes over the ring's end is whole, at any position, far beyond 32 bits too."""
    producer = Producer(tmp_path / "ring", (1 << 40) + SIZE - 24)
    producer.write(b"x" * 100)
    producer.write(b"y" * 100)
    assert producer.read() == [b"x" * 100, b"y" * 100]
    assert producer.consumed == producer.at
    producer.close()


def test_written_while_reading(producer: Producer) -> None:
    """What is written while the reader is at work is read in the same go."""
    producer.write(b"one")
    read = []
    for record in producer.ring.records():
        read.append(bytes(record))
        if len(read) < 3:
            producer.write(b"more")
    assert read == [b"one", b"more", b"more"]


def test_reader_that_stops(producer: Producer) -> None:
    """A reader that stops in the middle has read what it was given: it comes once."""
    for record in (b"one", b"two", b"three"):
        producer.write(record)
    reading = producer.ring.records()
    assert bytes(next(reading)) == b"one"
    reading.close()
    assert producer.read() == [b"two", b"three"]


def test_room_is_kept_until_the_next(producer: Producer) -> None:
    """The room of a record is not given back while the reader looks at it."""
    producer.write(b"one")
    producer.write(b"two")
    reading = producer.ring.records()
    next(reading)
    assert producer.consumed == 0
    next(reading)
    assert producer.consumed == 16
    reading.close()


def test_no_such_map() -> None:
    """A descriptor that is no ring is refused."""
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="Errno"):
        Ring(reader, SIZE)
    os.close(reader)
    os.close(writer)


def test_the_position_never_goes_back(tmp_path: Path) -> None:
    """Whoever looks while room is given back, as the kernel does, never sees a position before the last one."""
    path = tmp_path / "ring"
    producer = Producer(path, 1 << 40)
    watching, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_went_back(path, ready))
    os.read(watching, 1)
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        for _ in range(40):
            producer.write(b"record")
        assert len(producer.read()) == 40
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the position was seen to go back"
    for fd in (watching, ready):
        os.close(fd)
    producer.close()


def _went_back(path: Path, ready: int) -> int:
    """Return once the consumer's position was seen to go back."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), PAGE, prot=mmap.PROT_READ) as memory:
        position, last = memoryview(memory).cast("Q"), 0
        os.write(ready, b"1")
        while (seen := position[0]) >= last:
            last = seen
        position.release()
    return 1
