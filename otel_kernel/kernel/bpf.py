"""The bpf(2) system call: maps, links and program information, by descriptors that the loader handed over."""

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _PROG_LOAD = 0, 1, 2, 3, 4, 5
_TEST_RUN, _INFO, _RAW_TRACEPOINT_OPEN, _FREEZE, _LOOKUP_BATCH, _ENABLE_STATS = 10, 15, 17, 22, 24, 32
_RUN_TIME = 0  # BPF_STATS_RUN_TIME
_LINK_CREATE = 28
KPROBE, _RAW_TRACEPOINT, TRACING = 2, 17, 26  # BPF_PROG_TYPE_KPROBE, _RAW_TRACEPOINT, _TRACING
FENTRY, FEXIT, _PERF_EVENT = 24, 25, 41  # BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_PERF_EVENT
# perf_event_open(2) by architecture; include/uapi/linux/perf_event.h.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_SET_BPF, _ENABLE, _CLOSE_ON_EXEC = 0x40042408, 0x2400, 8
_LOG_SIZE = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command: int, attributes: bytes) -> int:
    """Issue bpf(2) with a 128-byte union bpf_attr (include/uapi/linux/bpf.h). Raises OSError."""
    return _issue(command, ctypes.create_string_buffer(attributes, 128))


def _issue(command: int, attributes: "ctypes.Array[ctypes.c_char]") -> int:
    """Issue bpf(2); what the kernel tells in the attributes is there afterwards, even if it fails. Raises OSError."""
    result = int(_libc.syscall(_NUMBERS[platform.machine()], command, attributes, 128))
    if result < 0:
        raise _last_error()
    return result


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class Shape(NamedTuple):
    """What a map is made by."""

    name: str
    kind: int  # enum bpf_map_type
    key_size: int
    value_size: int
    max_entries: int
    flags: int


def shape_of(fd: int) -> Shape:
    """Return what a map was made by (struct bpf_map_info). Raises OSError."""
    info = ctypes.create_string_buffer(80)
    _bpf(_INFO, struct.pack("<IIQ", fd, len(info), ctypes.addressof(info)))
    kind, _, key_size, value_size, max_entries, flags = struct.unpack_from("<6I", info)
    return Shape(info.raw[24:40].partition(b"\0")[0].decode(), kind, key_size, value_size, max_entries, flags)


def create_map(shape: Shape) -> int:
    """Make a map; returns its descriptor. Raises OSError naming the map."""
    sizes = (shape.kind, shape.key_size, shape.value_size, shape.max_entries, shape.flags)
    try:
        return _bpf(_MAP_CREATE, struct.pack("<5I8x16s", *sizes, shape.name.encode()[:15]))
    except OSError as error:
        raise OSError(error.errno, f"map {shape.name}: {error.strerror}") from error


class ProgramKind(NamedTuple):
    """Where a program may be attached."""

    type: int = _RAW_TRACEPOINT
    attach_type: int = 0
    function: int = 0  # of TRACING: its id in the kernel's BTF


def load_program(name: str, instructions: bytes, kind: ProgramKind = ProgramKind()) -> int:  # noqa: B008 - immutable
    """Load a program; returns its descriptor. Raises OSError with the verifier's last word."""
    code, licence = ctypes.create_string_buffer(instructions, len(instructions)), ctypes.create_string_buffer(b"GPL")
    word = ctypes.create_string_buffer(_LOG_SIZE)
    about = (kind.type, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence))
    for log in ((0, 0, 0), (1, len(word), ctypes.addressof(word))):
        try:
            head = struct.pack("<IIQQIIQII16s", *about, *log, 0, 0, name.encode()[:15])
            return _bpf(_PROG_LOAD, head + struct.pack("<II36xI", 0, kind.attach_type, kind.function))
        except OSError as error:
            refused = error
    lines = [line for line in word.value.decode(errors="replace").splitlines() if line and "processed" not in line]
    said = f": {lines[-1]}" if lines else ""
    raise OSError(refused.errno, f"program {name}: {refused.strerror}{said}")


def possible_cpus() -> int:
    """Return how many values a per-CPU map holds for each key."""
    possible = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return int(possible.strip().split(",")[-1].split("-")[-1]) + 1


def open_raw_tracepoint(name: str, program_fd: int) -> int:
    """Attach a program; returns the link's descriptor, which keeps it attached. Raises OSError."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", ctypes.addressof(text), program_fd))


def open_tracing(program_fd: int, attach_type: int, cookie: int = 0) -> int:
    """Attach a TRACING program to its function; returns the link's descriptor. A cookie takes 5.19. Raises OSError."""
    if not cookie:
        return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("<QI", 0, program_fd))
    return _bpf(_LINK_CREATE, struct.pack("<IIIIIxxxxQ", program_fd, 0, attach_type, 0, 0, cookie))


def open_kprobe(kind: int, function: str, *, is_return: bool) -> int:
    """Make a kprobe; returns the perf event's descriptor. `kind` is its PMU's type. Raises OSError."""
    name = ctypes.create_string_buffer(function.encode())
    # struct perf_event_attr: type, size, config, 5 words, then kprobe_func (config1) and probe_offset (config2).
    attributes = struct.pack("<IIQ40xQQ", kind, 112, int(is_return), ctypes.addressof(name), 0)
    held = ctypes.create_string_buffer(attributes, 112)
    number = _PERF_EVENT_OPEN[platform.machine()]
    event = int(_libc.syscall(number, held, -1, 0, -1, _CLOSE_ON_EXEC))  # one CPU's: the program runs on all
    if event < 0:
        raise _last_error()
    return event


def run_at_event(event: int, program_fd: int, cookie: int = 0) -> list[int]:
    """Run a program at a perf event for as long as that is open; returns what else is to be kept open.

    A cookie takes 5.15. Raises OSError.
    """
    if cookie:
        return [_bpf(_LINK_CREATE, struct.pack("<IIIIQ", program_fd, event, _PERF_EVENT, 0, cookie))]
    for request, argument in ((_SET_BPF, program_fd), (_ENABLE, 0)):
        fcntl.ioctl(event, request, argument)
    return []


def run_raw_tracepoint(program_fd: int, *arguments: int) -> int:
    """Run a raw tracepoint's program once, here and now, with these arguments (since 5.10).

    Returns what the program returns. Raises OSError.
    """
    context = struct.pack(f"<{len(arguments)}Q", *arguments)
    held = ctypes.create_string_buffer(context, len(context))
    attributes = struct.pack("<I36xI4xQ", program_fd, len(context), ctypes.addressof(held))
    told = ctypes.create_string_buffer(attributes, 128)
    _issue(_TEST_RUN, told)
    return int(struct.unpack_from("<I", told, 4)[0])


class Runs(NamedTuple):
    """How long and how often a program ran, how often it was skipped: that CPU was just running it."""

    time_ns: int  # only while statistics are enabled, as the next
    runs: int
    misses: int  # 0 before 5.12


def runs(program_fd: int) -> Runs:
    """Return what the kernel counted of a program (include/uapi/linux/bpf.h: struct bpf_prog_info). Raises OSError."""
    info = ctypes.create_string_buffer(232)
    _bpf(_INFO, struct.pack("<IIQ", program_fd, len(info), ctypes.addressof(info)))
    return Runs(*struct.unpack_from("<3Q", info, 192))


def enable_run_statistics() -> int:
    """Let the kernel count and time the runs of all programs (5.8) until the descriptor is closed. Raises OSError."""
    return _bpf(_ENABLE_STATS, struct.pack("<I", _RUN_TIME))


class Map:
    """A BPF map: keys and values as bytes. Owns its descriptor."""

    def __init__(self, fd: int) -> None:
        """Ask the kernel for the map's sizes. Raises OSError."""
        self.fd = fd
        _, self.kind, self.key_size, self.value_size, self.max_entries, _ = shape_of(fd)
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

    def push(self, value: bytes) -> None:
        """Put a value behind the last of a queue. Raises OSError: E2BIG when it is full."""
        room = ctypes.create_string_buffer(value, self._room)
        _bpf(_UPDATE, struct.pack("<IxxxxQQQ", self.fd, 0, ctypes.addressof(room), 0))

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

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Return all keys and values of a hash map, read at once (since 5.6). Raises OSError."""
        key_size, value_size = self.key_size, self.value_size
        keys = ctypes.create_string_buffer(key_size * self.max_entries)
        values = ctypes.create_string_buffer(value_size * self.max_entries)
        place = ctypes.create_string_buffer(max(4, key_size))
        addresses = (ctypes.addressof(place), ctypes.addressof(keys), ctypes.addressof(values))
        told = ctypes.create_string_buffer(struct.pack("<QQQQII", 0, *addresses, self.max_entries, self.fd), 128)
        try:
            _issue(_LOOKUP_BATCH, told)
        except OSError as error:
            if error.errno != errno.ENOENT:  # there is no more than was read
                raise
        count = struct.unpack_from("<I", told, 32)[0]
        key_bytes, value_bytes = memoryview(keys), memoryview(values)
        return [
            (
                bytes(key_bytes[at * key_size : (at + 1) * key_size]),
                bytes(value_bytes[at * value_size : (at + 1) * value_size]),
            )
            for at in range(count)
        ]

    def freeze(self) -> None:
        """Let user space never write it again (since 5.2). Raises OSError."""
        _bpf(_FREEZE, struct.pack("<I", self.fd))

    def memory_bytes(self) -> int:
        """Return the kernel memory charged for the map (/proc/self/fdinfo: memlock)."""
        lines = Path(f"/proc/self/fdinfo/{self.fd}").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("memlock:")), 0)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)
