"""Records as bytes -> events."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.kernel import records
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
    Wait,
)

NR = {"clone": 56, "execve": 59, "mount": 165, "setns": 308, "unshare": 272, "open_tree": 428, "read": 0, "openat": 257}
DECODER = records.Decoder(NR)
FORK, EXEC, END, CALL, WAIT, MKDIR, RMDIR, ATTACH, WRITE = range(1, 10)
HEADER = struct.Struct("<" + "".join(code for _, code in records.FIELDS))
NEW_UTS, NEW_NET = 0x4000000, 0x40000000


def record(kind: int, texts: dict[int, bytes] | None = None, **values: int | list[int]) -> memoryview:
    """A record as the kernel side packs it: its fields, then its strings one after the other."""
    texts = texts or {}
    lengths = [len(texts.get(slot, b"")) for slot in range(6)]
    fields: dict[str, int | list[int]] = {"kind": kind, "role": Role.LINEAGE, "lengths": lengths, **values}
    flat: list[int] = []
    for name, code in records.FIELDS:
        value, count = fields.get(name, 0), int(code[:-1] or 1)
        flat += [*(value if isinstance(value, list) else [value]), *[0] * count][:count]
    return memoryview(HEADER.pack(*flat) + b"".join(texts.get(slot, b"") for slot in range(6)))


def decoded(kind: int, texts: dict[int, bytes] | None = None, **values: int | list[int]) -> Any:  # noqa: ANN401
    """The event of such a record, of the kind that the test knows."""
    return DECODER.decode(record(kind, texts, **values))


def test_fork() -> None:
    """A fork's record."""
    told = decoded(
        FORK, start_ns=5, pid=11, process_start_ns=5, parent_pid=10, parent_start_ns=1, other_thread_id=12, vpid=2,
        arguments=[NEW_NET], cgroup_id=7,
    )  # fmt: skip
    assert told == Fork(5, 11, 5, 10, 1, 12, 2, NEW_NET, 7)


def test_exec() -> None:
    """An exec's record: file, arguments, CNI variables, working directory."""
    texts = {0: b"/bin/ptp\0", 1: b"ptp\0\0x y\0", 2: b"CNI_COMMAND=ADD\0CNI_ARGS=A=1;B=2\0", 3: b"b\0a\0"}
    told = decoded(
        EXEC, texts, start_ns=5, pid=11, process_start_ns=4, parent_pid=10, parent_start_ns=1, other_thread_id=12,
        vpid=2, decision=Decision.CNI_ADD, cgroup_id=7,
    )  # fmt: skip
    environment = (("CNI_COMMAND", "ADD"), ("CNI_ARGS", "A=1;B=2"))
    assert told == Exec(
        5, 11, 4, 10, 1, 12, 2, Decision.CNI_ADD, 7, "/bin/ptp", ("ptp", "", "x y"), environment, "/a/b", False
    )


def test_exec_without_anything() -> None:
    """An exec whose strings could not be read has none."""
    told = decoded(EXEC, decision=Decision.INHERITED, flags=records.TRUNCATED)
    assert (told.filename, told.arguments, told.environment, told.working_directory, told.truncated) == (
        "",
        (),
        (),
        "",
        True,
    )


def test_end() -> None:
    """An end's record carries the counts in its arguments."""
    told = decoded(
        END, start_ns=9, pid=11, process_start_ns=4, decision=Ending.ENTRY_POINT, arguments=[1, 2, 3, 4, 5, 6]
    )
    assert told == End(9, 11, 4, Ending.ENTRY_POINT, 6, 1, 2, 3, 4, 5)


def test_call() -> None:
    """A call's record."""
    told = decoded(
        CALL, {0: b"proc\0", 1: b"/proc\0", 2: b"proc\0", 3: b"hidepid=2\0"}, start_ns=1, end_ns=2, pid=11,
        process_start_ns=4, thread_id=12, other_thread_id=13, cgroup_id=7, role=Role.DAEMON, nr=165, return_value=-16,
        arguments=[1, 2, 3, 4, 5, 6], unread=1,
    )  # fmt: skip
    assert told == Call(
        1,
        2,
        11,
        4,
        12,
        13,
        7,
        Role.DAEMON,
        "mount",
        -16,
        (1, 2, 3, 4, 5, 6),
        "proc",
        "/proc",
        "proc",
        "hidepid=2",
        0,
        (),
        1,
    )


def test_call_that_never_returned() -> None:
    """A call that its task did not survive has no return value, and led nowhere."""
    told = decoded(CALL, nr=272, flags=records.NO_RETURN, arguments=[NEW_NET])
    assert (told.return_value, told.namespaces) == (None, ())


def test_unknown_call() -> None:
    """A call that the table does not know is named by its number."""
    assert decoded(CALL, nr=9999).name == "syscall_9999"


def test_wait() -> None:
    """A wait's record, with what was opened."""
    told = decoded(
        WAIT,
        {0: b"/exec.fifo\0"},
        start_ns=1,
        end_ns=9,
        pid=11,
        process_start_ns=4,
        thread_id=12,
        nr=257,
        return_value=3,
    )
    assert told == Wait(1, 9, 11, 4, 12, 0, "openat", 3, (0,) * 6, "/exec.fifo")


@pytest.mark.parametrize(("kind", "action"), [(MKDIR, "mkdir"), (RMDIR, "rmdir"), (ATTACH, "attach")])
def test_cgroup(kind: int, action: str) -> None:
    """A cgroup's record."""
    assert decoded(kind, {0: b"/kubepods/podx\0"}, start_ns=1, cgroup_id=7, pid=11) == CgroupChange(
        1, action, 7, "/kubepods/podx", 11
    )


def test_cgroup_write() -> None:
    """A daemon's write, with its path as it was walked."""
    told = decoded(WRITE, {0: b"cgroup.procs\0x\0"}, start_ns=1, pid=11, process_start_ns=4, thread_id=12)
    assert told == CgroupWrite(1, 11, 4, 12, "/x/cgroup.procs")


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [
        (b"/abs\0", b"", "/abs"),
        (b"/proc/self/fd/7\0", b"b\0a\0", "/a/b"),
        (b"/proc/self/fd/7/c/d\0", b"b\0a\0", "/a/b/c/d"),
        (b"/proc/thread-self/fd/7/c\0", b"b\0a\0", "/a/b/c"),
        (b"/proc/self/fd/7/c\0", b"/\0", "/c"),
        (b"/proc/self/fd/7\0", b"", "/proc/self/fd/7"),  # no such descriptor
        (b"c\0", b"b\0a\0", "/a/b/c"),
        (b"./c\0", b"b\0a\0", "/a/b/c"),
        (b".\0", b"b\0a\0", "/a/b"),
        (b"\0", b"b\0a\0", "/a/b"),
        (b"c\0", b"/\0", "/c"),
        (b".\0", b"/\0", "/"),
        (b"c\0", b"", "c"),
        (b"", b"b\0a\0", None),  # could not be read
        (b"\0", b"memfd:runc\0", "/memfd:runc"),
    ],
)
def test_path_and_what_it_is_relative_to(path: bytes, base: bytes, expected: str | None) -> None:
    """A path is joined to the directory it was relative to, a descriptor's link is the file behind it."""
    assert decoded(CALL, {1: path, 5: base}, nr=428, arguments=[3, 1]).target == expected
    assert decoded(CALL, {0: path, 4: base}, nr=165).source == expected


def test_descriptor_without_a_path() -> None:
    """NULL beside a descriptor is the descriptor itself."""
    assert decoded(CALL, {5: b"b\0a\0"}, nr=428, arguments=[3, 0]).target == "/a/b"


def test_cut() -> None:
    """A text that was cut ends in an ellipsis, a path without its beginning begins with one; the others are whole."""
    texts = {0: b"source\0", 1: b"target\0", 3: b"data\0", 5: b"b\0a\0"}
    told = decoded(CALL, texts, nr=165, flags=256 << 3 | 256 << 5)
    assert (told.source, told.target, told.data) == ("source", "…/a/b/target", "data…")
    assert decoded(EXEC, {3: b"b\0a\0"}, flags=256 << 3).working_directory == "…/a/b"
    assert decoded(EXEC, {1: b"runc\0"}, flags=256 << 3).truncated is False


@pytest.mark.parametrize(
    ("name", "arguments", "result", "expected"),
    [
        ("unshare", [NEW_UTS | NEW_NET], 0, (("uts", 102), ("net", 105))),
        ("unshare", [NEW_UTS], -1, ()),
        ("clone", [NEW_NET | 17], 4242, (("net", 105),)),
        ("clone", [NEW_NET | 17], -11, ()),
        ("setns", [3, NEW_NET, 77], 0, (("net", 105),)),
        ("setns", [3, 0, 102], 0, (("uts", 102),)),
        ("setns", [3, 0, 77], 0, ()),
        ("setns", [3, NEW_NET, 105], -22, ()),
        ("mount", [NEW_NET], 0, ()),
    ],
)
def test_namespaces(name: str, arguments: list[int], result: int, expected: tuple[tuple[str, int], ...]) -> None:
    """The namespaces of a call are those it led to, by the flags it asked with or by the descriptor's."""
    inodes = [101, 102, 103, 104, 105, 106, 107, 108]
    assert (
        decoded(CALL, nr=NR[name], arguments=arguments, return_value=result, namespaces=inodes).namespaces == expected
    )


def test_bytes_that_are_no_text() -> None:
    """Invalid UTF-8 is kept, control characters too: what is done about them is the viewer's business."""
    told = decoded(CALL, {1: b"/\xff\x1b[31m\n\0"}, nr=165)
    assert told.target.encode("utf-8", "surrogateescape") == b"/\xff\x1b[31m\n"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (memoryview(b""), "shorter than its header"),
        (record(CALL, {1: b"/x\0"})[:-1], "should have"),
        (record(CALL, lengths=[0, 0xFFFFFFFF]), "should have"),
        (record(0), "unknown kind 0"),
        (record(11), "unknown kind 11"),
        (record(CALL, role=9), "9 is not a valid Role"),
        (record(EXEC, decision=99), "99 is not a valid Decision"),
        (record(END, decision=0), "0 is not a valid Ending"),
    ],
)
def test_record_that_cannot_be_decoded(broken: memoryview, reason: str) -> None:
    """A record of a wrong size or kind is refused with the reason."""
    with pytest.raises(records.RecordError, match=reason):
        DECODER.decode(broken)


@given(st.binary(max_size=HEADER.size + 64))
def test_any_bytes(noise: bytes) -> None:
    """Whatever bytes there are, they are an event or refused."""
    try:
        event: Event | None = DECODER.decode(memoryview(noise))
    except records.RecordError:
        event = None
    assert event is None or len(noise) >= HEADER.size


def layouts() -> dict[str, records.Layout]:
    """The three structs as the compiler should lay them out."""
    fields = {
        "record": records.FIELDS,
        "counters": [(name, "Q") for name in records.COUNTERS],
        "process": records.PROCESS,
    }
    found = {name: records._layout(laid) for name, laid in fields.items()}
    found["record"].append(["payload", HEADER.size, 6400])
    return found


def test_layout_that_agrees() -> None:
    """Structs as Python expects them pass, whatever room the payload has."""
    records.check_layout(**layouts())


@pytest.mark.parametrize("struct_name", ["record", "counters", "process"])
@pytest.mark.parametrize("change", ["renamed", "moved", "resized", "missing", "added", "empty"])
def test_layout_that_differs(struct_name: str, change: str) -> None:
    """A struct that differs in a name, a place, a size or a member is refused by name."""
    found = layouts()
    changed = found[struct_name]
    name, offset, size = changed[1]
    changes: dict[str, records.Layout] = {
        "renamed": [changed[0], ["other", offset, size], *changed[2:]],
        "moved": [changed[0], [name, int(str(offset)) + 4, size], *changed[2:]],
        "resized": [changed[0], [name, offset, 1], *changed[2:]],
        "missing": [changed[0], *changed[2:]],
        "added": [*changed[:2], ["more", 0, 4], *changed[2:]],
        "empty": [],
    }
    found[struct_name] = changes[change]
    with pytest.raises(records.LayoutError, match=f"C and Python differ on struct {struct_name}: expected"):
        records.check_layout(**found)


def test_a_daemon_as_the_agent_writes_it() -> None:
    """The value for a daemon that was there before has its role and kind where the C struct has them."""
    value = records.daemon(2)
    at = {name: offset for name, offset, _ in layouts()["process"]}
    assert struct.unpack_from("<I", value, int(str(at["role"])))[0] == Role.DAEMON
    assert struct.unpack_from("<I", value, int(str(at["daemon_kind"])))[0] == 2
    assert len(value) == 104
