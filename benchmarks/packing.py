"""Events back into the records that the kernel side sent, and these into a ring: what is measured starts from bytes."""

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence

from otel_kernel.kernel.events import Call, CgroupChange, CgroupWrite, End, Exec, Fork, Role, Wait
from otel_kernel.kernel.records import FIELDS, NAMESPACE_TYPES, NO_RETURN, TRUNCATED
from otel_kernel.kernel.ring import Ring

_HEADER = struct.Struct("<" + "".join(code for _, code in FIELDS))
_KINDS = {Fork: 1, Exec: 2, End: 3, Call: 4, Wait: 5, CgroupWrite: 9}
_CHANGES = {"mkdir": 6, "rmdir": 7, "attach": 8}
_U64 = (1 << 64) - 1
_Fields = dict[str, int | tuple[int, ...]]
_OfProcess = Fork | Exec | End | Call | Wait | CgroupWrite
Record = _OfProcess | CgroupChange


def pack(event: Record, numbers: Mapping[str, int]) -> bytes:
    """Return an event's record (struct record of bpf/include/record.h); `numbers` are those of the system calls."""
    fields: _Fields = dict.fromkeys((name for name, _ in FIELDS), 0)
    texts: list[bytes] = []
    if isinstance(event, CgroupChange):
        fields |= {"kind": _CHANGES[event.action], "start_ns": event.ns, "cgroup_id": event.cgroup_id, "pid": event.pid}
        texts = [_text(event.path)]
    else:
        fields |= {"kind": _KINDS[type(event)], "pid": event.pid, "process_start_ns": event.process_start_ns}
        texts = _fill(fields, event, numbers)
    texts += [b""] * (6 - len(texts))
    fields |= {"arguments": _exactly(fields["arguments"], 6), "namespaces": _exactly(fields["namespaces"], 8)}
    fields["lengths"] = tuple(len(text) for text in texts)
    flat = [part for name, _ in FIELDS for part in _parts(fields[name])]
    return _HEADER.pack(*flat) + b"".join(texts)


def _fill(fields: _Fields, event: _OfProcess, numbers: Mapping[str, int]) -> list[bytes]:
    """Fill in what this kind of record holds, and return its strings."""
    match event:
        case Fork():
            fields |= {"start_ns": event.ns, "parent_pid": event.parent_pid, "parent_start_ns": event.parent_start_ns}
            fields |= {"other_thread_id": event.parent_thread_id, "vpid": event.vpid, "cgroup_id": event.cgroup_id}
            fields["arguments"] = (event.clone_flags,)
            return []
        case Exec():
            fields |= {"start_ns": event.ns, "parent_pid": event.parent_pid, "parent_start_ns": event.parent_start_ns}
            fields |= {"other_thread_id": event.old_thread_id, "vpid": event.vpid, "cgroup_id": event.cgroup_id}
            fields |= {"decision": event.decision, "flags": TRUNCATED if event.truncated else 0}
            variables = "".join(f"{name}={value}\0" for name, value in event.environment)
            arguments = "".join(f"{argument}\0" for argument in event.arguments)
            return [_text(event.filename), _bytes(arguments), _bytes(variables), _walked(event.working_directory)]
        case End():
            fields |= {"start_ns": event.ns, "decision": event.ending}
            counts = (event.syscalls, event.threads, event.openat, event.openat_errors, event.cgroup_writes)
            fields["arguments"] = (*counts, event.exit_status)
            return []
        case Call():
            return _fill_call(fields, event, numbers)
        case Wait():
            fields |= _times(event) | {"nr": numbers[event.name], "return_value": event.return_value or 0}
            fields |= {"thread_id": event.thread_id, "cgroup_id": event.cgroup_id, "arguments": event.arguments}
            return [_text(event.path)]
        case CgroupWrite():
            fields |= {"start_ns": event.ns, "thread_id": event.thread_id}
            return [_walked(event.path)]


def _fill_call(fields: _Fields, event: Call, numbers: Mapping[str, int]) -> list[bytes]:
    fields |= _times(event) | {"nr": numbers[event.name], "return_value": event.return_value or 0}
    fields |= {"thread_id": event.thread_id, "other_thread_id": event.entry_thread_id, "cgroup_id": event.cgroup_id}
    fields |= {"role": event.role, "child_pid": event.child_pid, "arguments": event.arguments, "unread": event.unread}
    fields["flags"] = NO_RETURN if event.return_value is None else 0
    inodes = dict(event.namespaces)
    fields["namespaces"] = tuple(inodes.get(kind, 0) for kind in NAMESPACE_TYPES)
    source, kind, data = _text(event.source), _text(event.filesystem_type), _text(event.data)
    # runc mounts on descriptors that it has opened: the record has both that path and the one behind it.
    if event.name == "mount" and event.role is Role.LINEAGE and event.target:
        return [source, _text("/proc/self/fd/7"), kind, data, b"", _walked(event.target)]
    return [source, _text(event.target), kind, data]


def _times(event: Call | Wait) -> _Fields:
    return {"start_ns": event.start_ns, "end_ns": event.end_ns}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(text: str | None) -> bytes:
    return b"" if text is None else _bytes(text) + b"\0"


def _walked(path: str) -> bytes:
    """Names from the leaf to the root, as the kernel side walks them."""
    names = [name for name in path.split("/") if name] or ([path] if path else [])
    return b"".join(_text(name) for name in reversed(names))


def _exactly(value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    values = value if isinstance(value, tuple) else ()
    return tuple(each & _U64 for each in values) + (0,) * (count - len(values))


def _parts(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


@contextlib.contextmanager
def ring_of(records: Sequence[bytes]) -> Iterator[Ring]:
    """Make a ring that holds these records, of a file in memory laid out as the kernel's is (kernel/bpf/ringbuf.c)."""
    data = b"".join(_in_ring(record) for record in records)
    size = 1 << max(12, (len(data) - 1).bit_length())
    page = mmap.PAGESIZE
    descriptor = os.memfd_create("ring")
    try:
        os.truncate(descriptor, 2 * page + 2 * size)
        os.pwrite(descriptor, struct.pack("<Q", len(data)), page)
        os.pwrite(descriptor, data, 2 * page)
        ring = Ring(descriptor, size)
        try:
            yield ring
        finally:
            ring.close()
    finally:
        os.close(descriptor)


def _in_ring(record: bytes) -> bytes:
    header = struct.pack("<II", len(record), 0)
    return (header + record).ljust(-(-(len(record) + 8) // 8) * 8, b"\0")
