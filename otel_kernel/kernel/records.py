"""Records as bytes -> the events of events.py. Decoding is pure; the layout is checked against the C at start."""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from otel_kernel.kernel.events import (
    Call,
    CgroupChange,
    CgroupWrite,
    Decision,
    End,
    Ending,
    Event,
    Exec,
    Fork,
    Role,
    Throttled,
    Wait,
)

# struct record of bpf/include/record.h: name, struct code.
FIELDS = (
    ("start_ns", "Q"), ("end_ns", "Q"), ("process_start_ns", "Q"), ("parent_start_ns", "Q"), ("return_value", "q"),
    ("arguments", "6Q"), ("cgroup_id", "Q"), ("kind", "I"), ("nr", "I"), ("pid", "I"), ("thread_id", "I"),
    ("other_thread_id", "I"), ("parent_pid", "I"), ("child_pid", "I"), ("vpid", "I"), ("role", "I"), ("decision", "I"),
    ("flags", "I"), ("unread", "I"), ("namespaces", "8I"), ("lengths", "6I"),
)  # fmt: skip
# struct process: what the agent itself writes, when it tells of a daemon.
PROCESS = (
    ("start_ns", "Q"), ("parent_start_ns", "Q"), ("syscalls", "Q"), ("threads", "Q"), ("openat", "Q"),
    ("openat_errors", "Q"), ("cgroup_writes", "Q"), ("parent_pid", "I"), ("parent_thread_id", "I"), ("role", "I"),
    ("daemon_kind", "I"), ("root_moved", "I"), ("root_changed", "I"), ("entered", "I"), ("shim", "I"), ("execs", "I"),
    ("reported", "I"), ("alive", "I"), ("pad", "I"),
)  # fmt: skip
COUNTERS = (
    "sent", "lost_ring", "lost_processes", "lost_threads", "lost_texts", "not_birth", "compat", "lost_tail",
    "unwoken_bytes",
)  # fmt: skip
# Arrays come out as bytes, and are cut up where they are needed: most records have few strings and no namespaces.
_HEADER = struct.Struct(
    "<" + "".join(code if len(code) == 1 else f"{struct.calcsize('<' + code)}s" for _, code in FIELDS)
)
_ARGUMENTS, _NAMESPACES, _LENGTHS = struct.Struct("<6Q"), struct.Struct("<8I"), struct.Struct("<6I")
_NO_LENGTHS = bytes(_LENGTHS.size)
_PROCESS = struct.Struct("<" + "".join(code for _, code in PROCESS))
NO_RETURN, REFUSED, TRUNCATED = 1, 2, 4
_CUT = 256  # CUT(slot) is this, shifted by the slot
_ELLIPSIS = "…"
NAMESPACE_TYPES = ("mnt", "uts", "ipc", "pid", "net", "cgroup", "time", "user")
# include/uapi/linux/sched.h, in the order of NAMESPACE_TYPES.
_CLONE_NEW = (0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000, 0x2000000, 0x80, 0x10000000)
_NAMESPACE_CALLS = frozenset({"setns", "unshare", "clone", "clone3"})
_AT_DESCRIPTOR = frozenset({"open_tree", "open_tree_attr", "mount_setattr", "execveat", "openat", "openat2"})
_RELATIVE_BASE = ("/proc/self/fd/", "/proc/thread-self/fd/")


Layout = list[list[object]]  # [name, offset, size] of each field, as the compiler laid it out


class LayoutError(Exception):
    """The C struct and its decoder differ: nothing that was loaded may be used."""


class RecordError(Exception):
    """A record that cannot be decoded: of a wrong size or kind. It is counted, never raised further."""


_Texts = Sequence[bytes]
_NO_TEXTS: _Texts = (b"",) * 6
_ROLES = {role.value: role for role in Role}  # a look-up takes a tenth of a call of the class


class _Raw(NamedTuple):
    start_ns: int
    end_ns: int
    process_start_ns: int
    parent_start_ns: int
    return_value: int
    arguments: bytes
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
    namespaces: bytes
    texts: _Texts


def check_layout(record: Layout, counters: Layout, process: Layout) -> None:
    """Compare the C structs with what is decoded and written here. Raises LayoutError naming the first difference."""
    payload = ("payload", f"{record[-1][2] if record else 0}s")  # its size is the C side's alone
    compare("record", (*FIELDS, payload), record)
    compare("counters", [(name, "Q") for name in COUNTERS], counters)
    compare("process", PROCESS, process)


def compare(name: str, fields: Iterable[tuple[str, str]], compiled: Layout) -> None:
    """Compare a C struct with its fields' names and struct codes. Raises LayoutError naming the first difference."""
    for wanted, have in zip_longest(_layout(fields), compiled):
        if wanted != have:
            raise LayoutError(f"C and Python differ on struct {name}: expected {wanted}, compiled {have}")


def _layout(fields: Iterable[tuple[str, str]]) -> Layout:
    laid: Layout = []
    offset = 0
    for name, code in fields:
        size = struct.calcsize("<" + code)
        laid.append([name, offset, size])
        offset += size
    return laid


def daemon(kind: int) -> bytes:
    """Return the value in the map `processes` of a daemon that was there before."""
    values = dict.fromkeys((name for name, _ in PROCESS), 0) | {"role": Role.DAEMON, "daemon_kind": kind}
    return _PROCESS.pack(*values.values())


def _raw(record: memoryview) -> _Raw:
    try:
        fields = _HEADER.unpack_from(record)
    except struct.error as error:
        raise RecordError(f"a record of {len(record)} bytes is shorter than its header") from error
    return _Raw._make((*fields[:-1], _cut_up(record, fields[-1])))


def _cut_up(record: memoryview, lengths: bytes) -> _Texts:
    if lengths == _NO_LENGTHS:
        return _NO_TEXTS
    payload = bytes(record[_HEADER.size :])
    texts, at = [], 0
    for length in _LENGTHS.unpack(lengths):
        texts.append(payload[at : at + length])
        at += length
    if at > len(payload):
        raise RecordError(f"a record of {len(record)} bytes should have {_HEADER.size + at}")
    return texts


def _string(raw: _Raw, slot: int) -> str | None:
    """A C string, None when there was none; bytes that are no UTF-8 are kept as lone surrogates (os.fsdecode's way).

    One that was cut ends in an ellipsis: it must not be taken for another, shorter one.
    """
    value = raw.texts[slot]
    if not value:
        return None
    text = value.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return text + _ELLIPSIS if raw.flags & _CUT << slot else text


def _texts(value: bytes) -> tuple[str, ...]:
    return tuple(value.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\0")) if value else ()


def _walked(raw: _Raw, slot: int) -> str | None:
    """Names from the leaf to the root, each with its NUL -> a path; None when nothing was walked.

    A path whose beginning was not reached, or in which a name was cut, begins with an ellipsis: it is no absolute path.
    """
    value = raw.texts[slot]
    if not value:
        return None
    names = value[:-1].decode("utf-8", "surrogateescape").split("\0")
    path = "/" + "/".join(reversed([name for name in names if name != "/"]))
    return _ELLIPSIS + path if raw.flags & _CUT << slot else path


def _resolved(path: str | None, root: str | None) -> str | None:
    """A path joined to what it is relative to: a directory, or the file behind /proc/self/fd/N."""
    if path is None or root is None:
        return path
    if path.startswith(_RELATIVE_BASE):
        _, _, rest = path.split("/fd/", 1)[1].partition("/")
        return f"{root.rstrip('/')}/{rest}" if rest else root
    if path in ("", "."):
        return root
    return f"{root.rstrip('/')}/{path.removeprefix('./')}"


def _namespaces(name: str, raw: _Raw, arguments: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """The namespaces that a call led to; a failing one led nowhere."""
    if name not in _NAMESPACE_CALLS or raw.return_value < 0:
        return ()
    inodes = _NAMESPACES.unpack(raw.namespaces)
    flags = arguments[1] if name == "setns" else arguments[0]
    if name == "setns" and not flags:  # whatever kind the descriptor is of: the one that the task is in now
        now = zip(NAMESPACE_TYPES, inodes, strict=True)
        return tuple((kind, inode) for kind, inode in now if inode == arguments[2])
    led = zip(NAMESPACE_TYPES, inodes, _CLONE_NEW, strict=True)
    return tuple((kind, inode) for kind, inode, bit in led if flags & bit and inode)


class Decoder:
    """Decodes records, given the running architecture's system-call names."""

    def __init__(self, syscalls: Mapping[str, int]) -> None:
        """Take name -> number."""
        self._names = {number: name for name, number in syscalls.items()}
        self._decoders: dict[int, Callable[[_Raw], Event]] = {
            1: self._fork, 2: self._exec, 3: self._end, 4: self._call, 5: self._wait,
            6: self._mkdir, 7: self._rmdir, 8: self._attach, 9: self._write,
            10: self._throttled,
        }  # fmt: skip

    def decode(self, record: memoryview) -> Event:
        """Return the event. Raises RecordError."""
        raw = _raw(record)
        decoder = self._decoders.get(raw.kind)
        if decoder is None:
            raise RecordError(f"a record of unknown kind {raw.kind}")
        try:
            return decoder(raw)
        except ValueError as error:  # an unknown role, decision or ending
            raise RecordError(str(error)) from error

    def name(self, number: int) -> str:
        """Return a system call's name, `syscall_<nr>` for one the table does not know."""
        return self._names.get(number) or f"syscall_{number}"

    def _fork(self, raw: _Raw) -> Event:
        return Fork(
            raw.start_ns, raw.pid, raw.process_start_ns, raw.parent_pid, raw.parent_start_ns, raw.other_thread_id,
            raw.vpid, _ARGUMENTS.unpack(raw.arguments)[0], raw.cgroup_id,
        )  # fmt: skip

    def _exec(self, raw: _Raw) -> Event:
        variables = tuple((key, value) for key, _, value in (text.partition("=") for text in _texts(raw.texts[2])))
        return Exec(
            raw.start_ns, raw.pid, raw.process_start_ns, raw.parent_pid, raw.parent_start_ns, raw.other_thread_id,
            raw.vpid, Decision(raw.decision), raw.cgroup_id, _string(raw, 0) or "", _texts(raw.texts[1]), variables,
            _walked(raw, 3) or "", bool(raw.flags & TRUNCATED),
        )  # fmt: skip

    def _end(self, raw: _Raw) -> Event:
        syscalls, threads, openat, openat_errors, cgroup_writes, status = _ARGUMENTS.unpack(raw.arguments)
        return End(
            raw.start_ns, raw.pid, raw.process_start_ns, Ending(raw.decision), status, syscalls, threads, openat,
            openat_errors, cgroup_writes,
        )  # fmt: skip

    def _call(self, raw: _Raw) -> Event:
        name, arguments = self.name(raw.nr), _ARGUMENTS.unpack(raw.arguments)
        source = target = filesystem_type = data = None
        if raw.texts is not _NO_TEXTS:
            source, target = _resolved(_string(raw, 0), _walked(raw, 4)), _string(raw, 1)
            filesystem_type, data = _string(raw, 2), _string(raw, 3)
        if name in _AT_DESCRIPTOR and not arguments[1]:
            target = ""  # NULL: the descriptor itself
        return Call(
            raw.start_ns, raw.end_ns, raw.pid, raw.process_start_ns, raw.thread_id, raw.other_thread_id, raw.cgroup_id,
            _ROLES.get(raw.role) or Role(raw.role), name, None if raw.flags & NO_RETURN else raw.return_value,
            arguments, source, _resolved(target, _walked(raw, 5)), filesystem_type, data, raw.child_pid,
            _namespaces(name, raw, arguments), raw.unread,
        )  # fmt: skip

    def _wait(self, raw: _Raw) -> Event:
        return Wait(
            raw.start_ns, raw.end_ns, raw.pid, raw.process_start_ns, raw.thread_id, raw.cgroup_id, self.name(raw.nr),
            raw.return_value, _ARGUMENTS.unpack(raw.arguments), _string(raw, 0),
        )  # fmt: skip

    def _mkdir(self, raw: _Raw) -> Event:
        return CgroupChange(raw.start_ns, "mkdir", raw.cgroup_id, _string(raw, 0) or "", raw.pid)

    def _rmdir(self, raw: _Raw) -> Event:
        return CgroupChange(raw.start_ns, "rmdir", raw.cgroup_id, _string(raw, 0) or "", raw.pid)

    def _attach(self, raw: _Raw) -> Event:
        return CgroupChange(raw.start_ns, "attach", raw.cgroup_id, _string(raw, 0) or "", raw.pid)

    def _write(self, raw: _Raw) -> Event:
        return CgroupWrite(raw.start_ns, raw.pid, raw.process_start_ns, raw.thread_id, _walked(raw, 0) or "")

    def _throttled(self, raw: _Raw) -> Event:
        return Throttled(raw.start_ns, raw.end_ns, raw.cgroup_id, *raw.arguments[:2])
