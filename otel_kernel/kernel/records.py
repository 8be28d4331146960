"""Records as bytes -> the events of events.py. Decoding is pure; the layout is checked against the C struct's at start."""

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from otel_kernel.kernel.events import CgroupChange, CgroupWrite, Call, Decision, End, Ending, Event, Exec, Fork, Role, Wait

# struct record of bpf/include/record.h: name, struct code.
FIELDS = (
    ("start_ns", "Q"), ("end_ns", "Q"), ("process_start_ns", "Q"), ("parent_start_ns", "Q"), ("return_value", "q"),
    ("arguments", "6Q"), ("cgroup_id", "Q"), ("kind", "I"), ("nr", "I"), ("pid", "I"), ("thread_id", "I"),
    ("other_thread_id", "I"), ("parent_pid", "I"), ("child_pid", "I"), ("vpid", "I"), ("role", "I"), ("decision", "I"),
    ("flags", "I"), ("unread", "I"), ("namespaces", "8I"), ("lengths", "6I"),
)  # fmt: skip
COUNTERS = (
    "sent", "lost_ring", "lost_processes", "lost_threads", "lost_pending", "not_birth", "compat", "lost_tail", "unwoken_bytes",
)  # fmt: skip
_HEADER = struct.Struct("<" + "".join(code for _, code in FIELDS))
NO_RETURN, REFUSED, TRUNCATED = 1, 2, 4
NAMESPACE_TYPES = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "time", "user")
# include/uapi/linux/sched.h, in the order of NAMESPACE_TYPES.
_CLONE_NEW = (0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000, 0x2000000, 0x80, 0x10000000)
_RELATIVE_BASE = ("/proc/self/fd/", "/proc/thread-self/fd/")


class LayoutError(Exception):
    """The C struct and its decoder differ: the agent must not start."""


class RecordError(Exception):
    """A record that cannot be decoded: of a wrong size or kind. It is counted, never raised further."""


class _Raw(NamedTuple):
    start_ns: int
    end_ns: int
    process_start_ns: int
    parent_start_ns: int
    return_value: int
    arguments: tuple[int, ...]
    cgroup_id: int
    kind: int
    nr: int
    pid: int
    thread_id: int
    other_thread_id: int
    parent_pid: int
    child_pid: int
    vpid: int
    role: int
    decision: int
    flags: int
    unread: int
    namespaces: tuple[int, ...]
    texts: tuple[bytes, ...]


def check_layout(record: list[list[object]], counters: list[list[object]]) -> None:
    """Compare [name, offset, size] of the C structs with what is decoded here. Raises LayoutError naming the first difference."""
    expected: list[list[object]] = []
    offset = 0
    for name, code in FIELDS:
        size = struct.calcsize("<" + code)
        expected.append([name, offset, size])
        offset += size
    expected.append(["payload", offset, None])
    found = [*record[:-1], [*record[-1][:2], None]]
    expected_counters: list[list[object]] = [[name, 8 * at, 8] for at, name in enumerate(COUNTERS)]
    for want, have in ((expected, found), (expected_counters, counters)):
        if want != have:
            pair = next((p for p in zip(want, have, strict=False) if p[0] != p[1]), (want[-1], have[-1]))
            msg = f"the C struct and its decoder differ: expected {pair[0]}, compiled {pair[1]}"
            raise LayoutError(msg)


def _raw(record: memoryview) -> _Raw:
    try:
        fields = _HEADER.unpack_from(record)
    except struct.error as error:
        msg = f"a record of {len(record)} bytes is shorter than its header"
        raise RecordError(msg) from error
    texts, at = [], _HEADER.size
    for length in fields[32:38]:
        texts.append(bytes(record[at : at + length]))
        at += length
    if at > len(record):
        msg = f"a record of {len(record)} bytes should have {at}"
        raise RecordError(msg)
    return _Raw(*fields[:5], fields[5:11], *fields[11:24], fields[24:32], tuple(texts))


def _text(value: bytes) -> str | None:
    """A C string; bytes that are no UTF-8 are kept as lone surrogates (os.fsdecode's way)."""
    return value.partition(b"\0")[0].decode("utf-8", "surrogateescape") if value else None


def _texts(value: bytes) -> tuple[str, ...]:
    return tuple(value.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0")) if value else ()


def _walked(value: bytes) -> str | None:
    """Names from the leaf to the root, each with its NUL -> a path; None when nothing was walked."""
    if not value:
        return None
    names = value[:-1].decode("utf-8", "surrogateescape").split("\0")
    return "/" + "/".join(reversed([name for name in names if name != "/"]))


def _resolved(path: str | None, base: bytes) -> str | None:
    """A path joined to what it is relative to: a directory, or the file behind /proc/self/fd/N."""
    if path is None or not base:
        return path if path is not None else _walked(base)
    root = _walked(base) or "/"
    if path.startswith(_RELATIVE_BASE):
        _, _, rest = path.split("/fd/", 1)[1].partition("/")
        return f"{root.rstrip('/')}/{rest}" if rest else root
    if path in ("", "."):
        return root
    return f"{root.rstrip('/')}/{path.removeprefix('./')}"


def _namespaces(name: str, raw: _Raw) -> tuple[tuple[str, int], ...]:
    if name == "setns":
        inode = raw.arguments[2]
        by_flag = [kind for kind, bit in zip(NAMESPACE_TYPES, _CLONE_NEW, strict=True) if raw.arguments[1] & bit]
        kinds = by_flag or [kind for kind, now in zip(NAMESPACE_TYPES, raw.namespaces, strict=True) if now == inode][:1]
        if len(kinds) == 1:
            return ((kinds[0], inode),)
        return tuple((kind, raw.namespaces[NAMESPACE_TYPES.index(kind)]) for kind in kinds)
    if name in ("unshare", "clone", "clone3"):
        flags = raw.arguments[0]
        return tuple(
            (kind, inode)
            for kind, bit, inode in zip(NAMESPACE_TYPES, _CLONE_NEW, raw.namespaces, strict=True)
            if flags & bit and inode
        )
    return ()


class Decoder:
    """Decodes records, given the running architecture's system-call names."""

    def __init__(self, syscalls: Mapping[str, int]) -> None:
        """Take name -> number."""
        self._names = {number: name for name, number in syscalls.items()}
        self._decoders: dict[int, Callable[[_Raw], Event]] = {
            1: self._fork, 2: self._exec, 3: self._end, 4: self._call, 5: self._wait,
            6: self._mkdir, 7: self._rmdir, 8: self._attach, 9: self._write,
        }  # fmt: skip

    def decode(self, record: memoryview) -> Event:
        """Return the event. Raises RecordError."""
        raw = _raw(record)
        decoder = self._decoders.get(raw.kind)
        if decoder is None:
            msg = f"a record of unknown kind {raw.kind}"
            raise RecordError(msg)
        return decoder(raw)

    def name(self, number: int) -> str:
        """Return a system call's name, `syscall_<nr>` for one the table does not know."""
        return self._names.get(number) or f"syscall_{number}"

    def _fork(self, raw: _Raw) -> Event:
        return Fork(
            raw.start_ns, raw.pid, raw.process_start_ns, raw.parent_pid, raw.parent_start_ns, raw.other_thread_id, raw.vpid,
            raw.arguments[0], raw.cgroup_id,
        )  # fmt: skip

    def _exec(self, raw: _Raw) -> Event:
        variables = tuple((key, value) for key, _, value in (text.partition("=") for text in _texts(raw.texts[2])))
        return Exec(
            raw.start_ns, raw.pid, raw.process_start_ns, raw.parent_pid, raw.parent_start_ns, raw.other_thread_id, raw.vpid,
            Decision(raw.decision), raw.cgroup_id, _text(raw.texts[0]) or "", _texts(raw.texts[1]), variables,
            _walked(raw.texts[3]) or "", bool(raw.flags & TRUNCATED),
        )  # fmt: skip

    def _end(self, raw: _Raw) -> Event:
        syscalls, threads, openat, openat_errors, cgroup_writes, status = raw.arguments
        return End(
            raw.start_ns, raw.pid, raw.process_start_ns, Ending(raw.decision), status, syscalls, threads, openat, openat_errors,
            cgroup_writes,
        )  # fmt: skip

    def _call(self, raw: _Raw) -> Event:
        name = self.name(raw.nr)
        source, target, kind, data, source_base, target_base = raw.texts
        at_target = name in ("open_tree", "open_tree_attr", "mount_setattr", "execveat", "openat", "openat2")
        return Call(
            raw.start_ns, raw.end_ns, raw.pid, raw.process_start_ns, raw.thread_id, raw.other_thread_id, raw.cgroup_id,
            Role(raw.role), name, None if raw.flags & NO_RETURN else raw.return_value, raw.arguments,
            _resolved(_text(source), source_base), _resolved(_text(target) or ("" if at_target else None), target_base),
            _text(kind), _text(data), raw.child_pid, _namespaces(name, raw), raw.unread,
        )  # fmt: skip

    def _wait(self, raw: _Raw) -> Event:
        return Wait(
            raw.start_ns, raw.end_ns, raw.pid, raw.process_start_ns, raw.thread_id, raw.cgroup_id, self.name(raw.nr),
            raw.return_value, raw.arguments, _text(raw.texts[0]),
        )  # fmt: skip

    def _mkdir(self, raw: _Raw) -> Event:
        return CgroupChange(raw.start_ns, "mkdir", raw.cgroup_id, _text(raw.texts[0]) or "", raw.pid)

    def _rmdir(self, raw: _Raw) -> Event:
        return CgroupChange(raw.start_ns, "rmdir", raw.cgroup_id, _text(raw.texts[0]) or "", raw.pid)

    def _attach(self, raw: _Raw) -> Event:
        return CgroupChange(raw.start_ns, "attach", raw.cgroup_id, _text(raw.texts[0]) or "", raw.pid)

    def _write(self, raw: _Raw) -> Event:
        return CgroupWrite(raw.start_ns, raw.pid, raw.process_start_ns, raw.thread_id, _walked(raw.texts[0]) or "")
