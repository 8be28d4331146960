"""The bpf(2) system call: maps, links and program information, by descriptors that the loader handed over."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from pathlib import Path

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _TEST_RUN, _INFO, _RAW_TRACEPOINT_OPEN = 1, 2, 3, 4, 10, 15, 17
_LOOKUP_AND_DELETE = 21
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    """Issue bpf(2) with a 128-byte union bpf_attr (include/uapi/linux/bpf.h). Raises OSError."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = int(_libc.syscall(_NUMBERS[platform.machine()], command, buffer, 128))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def possible_cpus() -> int:
    """Return how many values a per-CPU map holds for each key."""
    possible = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(possible.strip().split(",")[-1].split("-")[-1]) + 1


def open_raw_tracepoint(name: str, program_fd: int) -> int:
    """Attach a program; returns the link's descriptor, which keeps it attached. Raises OSError."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(text), program_fd))


def run_raw_tracepoint(program_fd: int, *arguments: int) -> None:
    """Run a raw tracepoint's program once, here and now, with these arguments (since 5.10). Raises OSError."""
    context = struct.pack(f"<{len(arguments)}Q", *arguments)
    held = ctypes.create_string_buffer(context, len(context))
    _bpf(_TEST_RUN, struct.pack("<I36xI4xQ", program_fd, len(context), ctypes.addressof(held)))


def recursion_misses(program_fd: int) -> int:
    """Return how often the program was skipped because it was running on that CPU; 0 before 5.12.

    Source: struct bpf_prog_info of include/uapi/linux/bpf.h. Raises OSError.
    """
    info = ctypes.create_string_buffer(232)
    _bpf(_INFO, struct.pack("<IIQ", program_fd, len(info), ctypes.addressof(info)))
    return int(struct.unpack_from("<Q", info, 208)[0])


class Map:
    """A BPF map: keys and values as bytes. Owns its descriptor."""

    def __init__(self, fd: int) -> None:
        """Ask the kernel for the map's sizes. Raises OSError."""
        self.fd = fd
        info = ctypes.create_string_buffer(80)
        _bpf(_INFO, struct.pack("<IIQ", fd, len(info), ctypes.addressof(info)))
        self.kind, _, self.key_size, self.value_size, self.max_entries, _ = struct.unpack_from("<6I", info)
        per_cpu = self.kind in (5, 6, 10)  # BPF_MAP_TYPE_PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH
        self._room = -(-self.value_size // 8) * 8 * possible_cpus() if per_cpu else self.value_size

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value, None if absent. A per-CPU map's is all CPUs' values, each rounded up to 8 bytes.

        Raises OSError.
        """
        held, value = ctypes.create_string_buffer(key, self.key_size), ctypes.create_string_buffer(self._room)
        try:
            _bpf(_LOOKUP, struct.pack("<IxxxxQQQ", self.fd, ctypes.addressof(held), ctypes.addressof(value), 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set a value. Raises OSError: E2BIG when the map is full."""
        held, room = ctypes.create_string_buffer(key, self.key_size), ctypes.create_string_buffer(value, self._room)
        _bpf(_UPDATE, struct.pack("<IxxxxQQQ", self.fd, ctypes.addressof(held), ctypes.addressof(room), 0))

    def delete(self, key: bytes) -> None:
        """Remove a key; absent is fine."""
        held = ctypes.create_string_buffer(key, self.key_size)
        try:
            _bpf(_DELETE, struct.pack("<IxxxxQQQ", self.fd, ctypes.addressof(held), 0, 0))
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def keys(self) -> Iterator[bytes]:
        """Yield the keys. One that vanishes meanwhile may make the kernel begin again: callers take duplicates."""
        following = ctypes.create_string_buffer(self.key_size)
        current: ctypes.Array[ctypes.c_char] | None = None
        for _ in range(self.max_entries * 2):
            address = ctypes.addressof(current) if current is not None else 0
            try:
                _bpf(_NEXT_KEY, struct.pack("<IxxxxQQQ", self.fd, address, ctypes.addressof(following), 0))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield following.raw
            current = ctypes.create_string_buffer(following.raw, self.key_size)

    def memory_bytes(self) -> int:
        """Return the kernel memory charged for the map (/proc/self/fdinfo: memlock)."""
        lines = Path(f"/proc/self/fdinfo/{self.fd}").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), 0)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)


class Queue:
    """A BPF queue of u32: values go in at one end and come out at the other."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def push(self, value: int) -> None:
        """Put a value in. Raises OSError: E2BIG when it is full."""
        room = ctypes.create_string_buffer(struct.pack("<I", value), 4)
        _bpf(_UPDATE, struct.pack("<IxxxxQQQ", self.fd, 0, ctypes.addressof(room), 0))

    def pop(self) -> int | None:
        """Take a value out; None when it is empty. Raises OSError."""
        room = ctypes.create_string_buffer(4)
        try:
            _bpf(_LOOKUP_AND_DELETE, struct.pack("<IxxxxQQQ", self.fd, 0, ctypes.addressof(room), 0))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return int(struct.unpack("<I", room.raw)[0])
