"""The drawn families: arguments, paths, flags and return values as the kernel had them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_kernel.kernel.events import Call, Exec, Fork
from tests.kernel.actors import TELL, Daemon, Kernel, Step, call

pytestmark = pytest.mark.root

AT_FDCWD = -100
AT_EMPTY_PATH, AT_RECURSIVE = 0x1000, 0x8000
NEW_NS, NEW_UTS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET, NEW_CGROUP = (
    0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x2000000,
)  # fmt: skip
CLONE_VM, CLONE_VFORK = 0x100, 0x4000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 1, 32, 4096, 8192, 16384, 1 << 18
MNT_DETACH = 2
O_PATH, O_DIRECTORY = 0o10000000, 0o200000
PRIVATE: tuple[Step, ...] = (
    call("unshare", NEW_NS),
    call("mount", "s:none", "s:/", 0, MS_REC | MS_PRIVATE, 0),
)


def open_path(path: object) -> Step:
    """A descriptor of a path, to be the next step's `r`."""
    return call("openat", AT_FDCWD, f"s:{path}", O_PATH)


def namespace(kind: str) -> int:
    """The inode number of this process's own namespace."""
    return Path(f"/proc/self/ns/{kind}").stat().st_ino


@pytest.fixture
def draw(daemon: Daemon, kernel: Kernel) -> Callable[..., list[Call]]:
    """Return a function that takes the steps in a mount namespace of their own and returns what was drawn of them.

    The kernel's return values are compared with what the program itself got.
    """

    def of(*steps: Step) -> list[Call]:
        ran = daemon.run("runc create x", *PRIVATE, *steps, TELL)
        drawn = [each for each in kernel.seen().of(Call, ran.pid) if each.name != "execve"]
        assert [each.return_value for each in drawn][:2] == [0, 0]
        results = list(ran.told[2:])
        for each in drawn[2:]:  # steps like openat are not drawn
            assert each.return_value in results
            del results[: results.index(each.return_value) + 1]
        return drawn[2:]

    return of


Draw = Callable[..., list[Call]]


def test_mount(draw: Draw, tmp_path: Path) -> None:
    """A mount tells source, target, type, data and raw flags."""
    (told,) = draw(call("mount", "s:none", f"s:{tmp_path}", "s:tmpfs", MS_RDONLY, "s:size=1m,mode=700"))
    assert (told.source, told.target, told.filesystem_type, told.data) == (
        "none",
        str(tmp_path),
        "tmpfs",
        "size=1m,mode=700",
    )
    assert (told.return_value, told.arguments[3], told.unread) == (0, MS_RDONLY, 0)
    assert told.end_ns > told.start_ns
    assert told.namespaces == ()


def test_failing_mount(draw: Draw) -> None:
    """A mount that fails tells the same, and the errno."""
    (told,) = draw(call("mount", "s:none", "s:/nonexistent/x", "s:tmpfs", 0, 0))
    assert (told.return_value, told.target, told.data) == (-2, "/nonexistent/x", None)


def test_data_of_a_remount(draw: Draw, tmp_path: Path) -> None:
    """A remount's options are data; a bind mount's fifth argument is none and not read."""
    tmpfs = call("mount", "s:none", f"s:{tmp_path}", "s:tmpfs", 0, 0)
    again = call("mount", "s:none", f"s:{tmp_path}", "s:tmpfs", MS_REMOUNT, "s:size=2m")
    bind = call("mount", f"s:{tmp_path}", f"s:{tmp_path}", 0, MS_BIND, "s:ignored")
    told = draw(tmpfs, again, bind)
    assert [each.data for each in told] == [None, "size=2m", None]
    assert [each.unread for each in told] == [0, 0, 0]


@pytest.mark.parametrize("how", ["s:", "n:"])
@pytest.mark.parametrize("directory", ["self", "thread-self"])
def test_target_by_descriptor_link(draw: Draw, tmp_path: Path, directory: str, how: str) -> None:
    """A target given as /proc/self/fd/N is the file behind it, also when its text was readable only at the return."""
    target = tmp_path / "target"
    target.mkdir()
    text = f"/proc/{directory}/fd/%ld"
    link = f"f:{text}" if how == "s:" else f"n:/proc/{directory}/fd/3"
    (told,) = draw(open_path(target), call("mount", f"s:{tmp_path}", link, 0, MS_BIND, 0))
    assert (told.return_value, told.target, told.source) == (0, str(target), str(tmp_path))


def test_source_by_descriptor_link(draw: Draw, tmp_path: Path) -> None:
    """A bind mount's source given as /proc/self/fd/N/rest is resolved too; a file system's is a name, not a path."""
    (tmp_path / "inner").mkdir()
    bind = call("mount", "f:/proc/self/fd/%ld/inner", f"s:{tmp_path}", 0, MS_BIND, 0)
    told = draw(open_path(tmp_path), bind, call("mount", "s:proc/self", f"s:{tmp_path}", "s:tmpfs", 0, 0))
    assert told[0].source == str(tmp_path / "inner")
    assert told[1].source == "proc/self"


def test_relative_target(draw: Draw, tmp_path: Path) -> None:
    """A relative path is joined to the working directory, `.` is that directory, and both hold across mount points."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    over = call("mount", "s:none", f"s:{tmp_path / 'a'}", "s:tmpfs", 0, 0)
    told = draw(
        over,
        call("chdir", f"s:{tmp_path / 'a'}"),
        call("mkdirat", AT_FDCWD, "s:c", 0o700),
        call("mount", "s:none", "s:c", "s:tmpfs", 0, 0),
        call("mount", "s:none", "s:./c", "s:tmpfs", 0, 0),
        call("mount", "s:none", "s:.", "s:tmpfs", 0, 0),
        call("umount2", "s:c", MNT_DETACH),
    )
    inner = str(tmp_path / "a" / "c")
    assert [each.target for each in told] == [str(tmp_path / "a"), inner, inner, str(tmp_path / "a"), inner]


def test_pivot_root(draw: Draw, tmp_path: Path) -> None:
    """pivot_root tells both its directories as they were called before it."""
    told = draw(
        call("mount", "s:/", f"s:{tmp_path}", 0, MS_BIND | MS_REC, 0),
        call("chdir", f"s:{tmp_path}"),
        call("pivot_root", "s:.", "s:."),
        call("umount2", "s:.", MNT_DETACH),
    )
    pivot = told[1]
    assert (pivot.name, pivot.return_value, pivot.source, pivot.target) == (
        "pivot_root",
        0,
        str(tmp_path),
        str(tmp_path),
    )
    assert (told[2].name, told[2].return_value) == ("umount2", 0)


def test_new_mount_api(draw: Draw, tmp_path: Path) -> None:
    """fsopen, fsconfig, fsmount, move_mount, open_tree and mount_setattr tell their names, keys, values and paths."""
    told = draw(
        call("fsopen", "s:tmpfs", 0),
        call("fsconfig", "r", 1, "s:size", "s:1m", 0),
        call("fsconfig", 3, 0, "s:ro", 0, 0),
        call("fsconfig", 3, 6, 0, 0, 0),
        call("fsmount", 3, 0, 0),
        call("move_mount", "r", "s:", AT_FDCWD, f"s:{tmp_path}", 4),
        call("open_tree", AT_FDCWD, f"s:{tmp_path}", 1),
        call("mount_setattr", "r", "s:", AT_EMPTY_PATH, 0, 0),
        open_path(tmp_path.parent),
        call("open_tree", "r", f"s:{tmp_path.name}", 0),
    )
    by_name = {(each.name, each.arguments[1] if each.name == "fsconfig" else 0): each for each in told}
    assert by_name["fsopen", 0].filesystem_type == "tmpfs"
    assert (by_name["fsconfig", 1].source, by_name["fsconfig", 1].target) == ("size", "1m")
    assert (by_name["fsconfig", 0].source, by_name["fsconfig", 0].target) == ("ro", None)
    assert (by_name["fsconfig", 6].source, by_name["fsconfig", 6].target) == (None, None)
    moved = by_name["move_mount", 0]
    assert (moved.return_value, moved.target) == (0, str(tmp_path))
    opened = [each for each in told if each.name == "open_tree"]
    assert [each.target for each in opened] == [str(tmp_path)] * 2
    assert all(each.return_value is not None and each.return_value > 2 for each in opened)
    assert by_name["mount_setattr", 0].return_value == -22  # its attribute structure has no size
    assert all(each.unread == 0 for each in told)


def test_directory_descriptor_of_move_mount(draw: Draw, tmp_path: Path) -> None:
    """move_mount's paths are joined to their own descriptors."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    told = draw(
        call("mount", "s:none", f"s:{source}", "s:tmpfs", 0, 0),
        open_path(tmp_path),
        call("move_mount", "r", "s:source", "r", "s:target", 0),
    )
    assert (told[1].return_value, told[1].source, told[1].target) == (0, str(source), str(target))


def test_text_not_resident_at_entry(draw: Draw, tmp_path: Path) -> None:
    """Strings in pages that the call itself faults in are read at its return."""
    (told,) = draw(call("mount", "n:none", f"n:{tmp_path}", "n:tmpfs", 0, "n:size=1m"))
    assert (told.return_value, told.unread) == (0, 0)
    assert (told.source, told.target, told.filesystem_type, told.data) == ("none", str(tmp_path), "tmpfs", "size=1m")


def test_relative_text_not_resident_at_entry(draw: Draw, tmp_path: Path) -> None:
    """A relative path that was readable only at the return is joined to the working directory all the same."""
    (tmp_path / "a").mkdir()
    (told,) = draw(call("chdir", f"s:{tmp_path}"), call("mount", "s:none", "n:a", "s:tmpfs", 0, 0))
    assert (told.return_value, told.target) == (0, str(tmp_path / "a"))


def test_unreadable_text(draw: Draw) -> None:
    """A pointer to nothing is counted as unread, not made into a text."""
    (told,) = draw(call("mount", "s:none", 1, "s:tmpfs", 0, 0))
    assert (told.return_value, told.target, told.unread) == (-14, None, 1)


def test_unreadable_text_beside_a_descriptor(draw: Draw, tmp_path: Path) -> None:
    """A path that cannot be read is not the directory it would have been relative to; NULL is."""
    told = draw(open_path(tmp_path), call("open_tree", 3, 1, 0), call("mount_setattr", 3, 0, AT_EMPTY_PATH, 0, 0))
    assert [(each.target, each.unread) for each in told] == [(None, 1), (str(tmp_path), 0)]


def test_long_path(draw: Draw) -> None:
    """A text beyond the limit is cut and shows it; one of just the limit's length is whole."""
    fits, long = "/" + "a" * 254, "/" + "/".join(["b" * 100] * 4)
    told = draw(call("umount2", f"s:{fits}", 0), call("umount2", f"s:{long}", 0))
    assert told[0].target == fits
    assert told[1].target == long[:255] + "…"


def test_deep_working_directory(draw: Draw, tmp_path: Path) -> None:
    """A working directory too deep to be followed to the root shows that it is cut, and is no other path."""
    deep = tmp_path.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    (told,) = draw(call("chdir", f"s:{deep}"), call("umount2", "s:x", 0))
    assert told.target is not None
    head, _, tail = told.target.partition("…")
    assert head == ""
    assert str(deep / "x").endswith(tail)
    assert tail.startswith("/d/d/d/")


def test_bytes_that_are_no_text(daemon: Daemon, kernel: Kernel, tmp_path: Path) -> None:
    """Invalid UTF-8 and control characters in a path are kept as they are, told apart from any other name."""
    hostile = tmp_path / os.fsdecode(b"\xff\xfe\x1b[31m")
    hostile.mkdir()
    daemon.run("runc create x", call("umount2", f"s:{hostile}", 0))
    assert kernel.seen().call("umount2").target == str(hostile)


def test_unshare(draw: Draw) -> None:
    """An unshare tells the namespaces it made; the program sees the same inode numbers in /proc."""
    told = draw(call("unshare", NEW_UTS | NEW_IPC | NEW_NET | NEW_CGROUP), call("unshare", NEW_UTS), call("unshare", 1))
    own = {kind: namespace(kind) for kind in ("uts", "ipc", "net", "cgroup")}
    assert [kind for kind, _ in told[0].namespaces] == ["uts", "ipc", "net", "cgroup"]
    assert all(inode > 0 and inode != own[kind] for kind, inode in told[0].namespaces)
    assert told[1].namespaces[0] != told[0].namespaces[0]
    assert (told[2].return_value, told[2].namespaces) == (-22, ())


def test_failing_unshare_makes_none(draw: Draw) -> None:
    """An unshare that fails has no resulting namespace, although its flags name one."""
    (told,) = draw(call("unshare", NEW_NET | 1))
    assert (told.return_value, told.namespaces) == (-22, ())


@pytest.mark.parametrize(("kind", "flag"), [("net", NEW_NET), ("net", 0), ("uts", NEW_UTS), ("mnt", NEW_NS)])
def test_setns(draw: Draw, kind: str, flag: int) -> None:
    """A setns tells the kind of the namespace, also without a flag that names it, and its inode number."""
    opened = call("openat", AT_FDCWD, f"s:/proc/{os.getpid()}/ns/{kind}", 0)
    told = draw(opened, call("unshare", NEW_NET | NEW_UTS), call("setns", 3, flag))
    inode = namespace(kind)
    assert (told[1].return_value, told[1].namespaces) == (0, ((kind, inode),))


def test_setns_by_process(draw: Draw) -> None:
    """A setns by a process's descriptor tells every namespace it took, of that process."""
    target = os.getpid()
    told = draw(
        call("pidfd_open", target, 0),
        call("unshare", NEW_NET | NEW_UTS),
        call("setns", 3, NEW_NET | NEW_UTS),
        call("setns", 3, NEW_NET),
    )
    expected = tuple((kind, namespace(kind)) for kind in ("uts", "net"))
    assert told[1].namespaces == expected
    assert told[2].namespaces == expected[1:]


def test_setns_with_noise_above(draw: Draw) -> None:
    """Only the lower half of a register is the namespace's descriptor."""
    opened = call("openat", AT_FDCWD, f"s:/proc/{os.getpid()}/ns/net", 0)
    told = draw(opened, call("unshare", NEW_NET), call("setns", 0x7F0000000003, 0))
    assert told[1].namespaces == (("net", namespace("net")),)


def test_failing_setns(draw: Draw) -> None:
    """A setns that fails leads nowhere."""
    opened = call("openat", AT_FDCWD, f"s:/proc/{os.getpid()}/ns/net", 0)
    told = draw(opened, call("setns", 3, NEW_UTS), call("setns", 77, 0))
    assert [(each.return_value, each.namespaces) for each in told] == [(-22, ()), (-9, ())]


@pytest.mark.parametrize("how", ["clone", "clone3", "clone3-cold"])
def test_clone(daemon: Daemon, kernel: Kernel, how: str) -> None:
    """A clone tells its flags (clone3: in its structure, resident or not), its child, and the child's namespaces."""
    ran = daemon.run("runc create x", ("child", how, NEW_UTS | NEW_NET), TELL)
    seen = kernel.seen()
    told = seen.call(how.removesuffix("-cold"), ran.pid)
    (fork,) = seen.of(Fork)
    assert (told.return_value, told.child_pid) == (ran.told[0], ran.told[0])
    assert told.arguments[0] & ~0xFF == NEW_UTS | NEW_NET
    assert [kind for kind, inode in told.namespaces if inode] == ["uts", "net"]
    assert (fork.pid, fork.parent_pid, fork.parent_thread_id) == (ran.told[0], ran.pid, ran.pid)
    assert fork.clone_flags & ~0xFF == NEW_UTS | NEW_NET
    assert seen.end(fork.pid).exit_status == 0


@pytest.mark.parametrize(("how", "flags"), [("fork", 0), ("vfork", CLONE_VM | CLONE_VFORK)])
def test_fork_and_vfork(daemon: Daemon, kernel: Kernel, how: str, flags: int) -> None:
    """Both fork and vfork are drawn under their own names, with the flags they stand for."""
    ran = daemon.run("runc create x", ("child", how, 0), TELL)
    seen = kernel.seen()
    told = seen.call(how, ran.pid)
    assert (told.return_value, told.child_pid, told.arguments[0]) == (ran.told[0], ran.told[0], flags)
    assert seen.of(Fork)[0].clone_flags & ~0xFF == flags


def test_failing_clone(draw: Draw) -> None:
    """A clone that fails has no child."""
    (told,) = draw(call("clone", NEW_NS | 0x200, 0, 0, 0, 0))
    assert (told.return_value, told.child_pid, told.namespaces) == (-22, 0, ())


def test_clone_in_a_pid_namespace(daemon: Daemon, kernel: Kernel) -> None:
    """In a PID namespace a clone returns the child's id as its caller counts it; the host's id stands beside it."""
    inside = (("child", "clone", 0), TELL)
    ran = daemon.run("runc create x", ("descend", "clone", NEW_PID), *inside)
    seen = kernel.seen()
    first, second = seen.of(Fork)
    assert (first.parent_pid, first.vpid) == (ran.pid, 1)
    assert (second.parent_pid, second.vpid) == (first.pid, 2)
    told = seen.call("clone", first.pid)
    assert ran.told == (2,)
    assert (told.return_value, told.child_pid) == (2, second.pid)
    assert told.child_pid > 2


def test_execve(daemon: Daemon, kernel: Kernel) -> None:
    """An execve tells its path and returns 0; one that fails tells the errno and is followed by no exec."""
    program = daemon.program("second")
    steps = (call("execve", "s:/nonexistent", 0, 0), call("execve", f"s:{program}", 0, 0))
    ran = daemon.run("runc create x", *steps)
    seen = kernel.seen()
    told = seen.calls("execve", ran.pid)
    assert [(each.target, each.return_value) for each in told[1:]] == [("/nonexistent", -2), (program, 0)]
    assert [each.filename for each in seen.of(Exec)][1:] == [program]


def test_execve_of_a_path_not_resident(daemon: Daemon, kernel: Kernel) -> None:
    """An execve's path not readable at entry is the one the kernel itself read: the caller's memory is gone."""
    program = daemon.program("second")
    ran = daemon.run("runc create x", call("execve", f"n:{program}", 0, 0))
    told = kernel.seen().calls("execve", ran.pid)[-1]
    assert (told.return_value, told.target, told.unread) == (0, program, 0)


def test_execveat_of_a_descriptor(daemon: Daemon, kernel: Kernel) -> None:
    """An execveat of a descriptor is the file behind it, as runc executes itself."""
    program = daemon.program("actor")
    steps = (open_path(program), call("execveat", "r", "s:", 0, 0, AT_EMPTY_PATH))
    ran = daemon.run("runc create x", *steps)
    told = kernel.seen().call("execveat", ran.pid)
    assert (told.return_value, told.target) == (0, program)


def test_descriptor_with_noise_above(draw: Draw, tmp_path: Path) -> None:
    """Only the lower half of a register is a descriptor; what lies above is as little ours as the kernel's."""
    (told,) = draw(open_path(tmp_path), call("open_tree", 0x7F0000000003, "s:.", 0))
    assert (told.return_value is not None and told.return_value > 2, told.target) == (True, str(tmp_path))
