"""Empty programs on raw tracepoints, by default on both of system calls: the floor of whatever looks at every event."""

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator

from otel_kernel.kernel import bpf, syscalls

BPF_PROG_LOAD = 5  # enum bpf_cmd, include/uapi/linux/bpf.h
BPF_PROG_TYPE_RAW_TRACEPOINT = 17
RETURN_ZERO = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
TRACEPOINTS = ("sys_enter", "sys_exit")


@contextlib.contextmanager
def attached(*tracepoints: str) -> Iterator[None]:
    """Attach the empty programs for as long as the context lasts. Raises OSError."""
    program = _load()
    try:
        links = [bpf.open_raw_tracepoint(tracepoint, program) for tracepoint in tracepoints or TRACEPOINTS]
        try:
            yield
        finally:
            for link in links:
                os.close(link)
    finally:
        os.close(program)


def _load() -> int:
    """Return the descriptor of a program that does nothing (union bpf_attr, BPF_PROG_LOAD)."""
    instructions = ctypes.create_string_buffer(RETURN_ZERO, len(RETURN_ZERO))
    license_ = ctypes.create_string_buffer(b"GPL")
    count, addresses = len(RETURN_ZERO) // 8, (ctypes.addressof(instructions), ctypes.addressof(license_))
    attributes = struct.pack("<IIQQ", BPF_PROG_TYPE_RAW_TRACEPOINT, count, *addresses)
    held = ctypes.create_string_buffer(attributes, 128)
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(syscalls.table()["bpf"], BPF_PROG_LOAD, held, 128)
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(descriptor)
