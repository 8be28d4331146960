"""A lineage ends in a task at its exit or at the entry point: the exec after its root changed, in the container."""

from pathlib import Path

import pytest

from otel_kernel.kernel.events import Call, Decision, End, Ending, Exec, Fork, Role
from tests.kernel.actors import TELL, Daemon, Kernel, Step, call, repeat
from tests.kernel.pod_cgroups import PodCgroup

pytestmark = pytest.mark.root
NEW_NS = 0x20000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 4096, 8192, 16384, 1 << 18
MNT_DETACH, AT_FDCWD, AT_EMPTY_PATH, O_PATH = 2, -100, 0x1000, 0o10000000
APP: tuple[Step, ...] = (repeat(50, "getppid"), ("child", "clone", 0), call("unshare", NEW_NS), ("exit", 3))


def new_root(directory: Path) -> tuple[Step, ...]:
    """A mount namespace in which the directory shows the host's tree, to become the root."""
    return (
        call("unshare", NEW_NS),
        call("mount", "s:none", "s:/", 0, MS_REC | MS_PRIVATE, 0),
        call("mount", "s:/", f"s:{directory}", 0, MS_BIND | MS_REC, 0),
        call("chdir", f"s:{directory}"),
    )


PIVOT: tuple[Step, ...] = (call("pivot_root", "s:.", "s:."), call("umount2", "s:.", MNT_DETACH), call("chdir", "s:/"))
CHROOT: tuple[Step, ...] = (
    call("mount", "s:.", "s:/", 0, MS_MOVE, 0),
    call("chroot", "s:."),
    call("chdir", "s:/"),
)


def enter(directory: Path) -> Step:
    """A task moves itself into a cgroup."""
    return ("write", directory / "cgroup.procs", "0")


@pytest.mark.parametrize("change", [PIVOT, CHROOT], ids=["pivot_root", "mount and chroot"])
def test_entry_point(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path, change: tuple[Step, ...]) -> None:
    """The entry point's exec, its execve with its return, then the end; of the program itself only its exit."""
    become = ("become", *daemon.words("app", *APP))
    ran = daemon.run("runc create x", enter(pod.leaf), *new_root(tmp_path), *change, become)
    seen = kernel.seen()
    assert seen.decisions(ran.pid) == [Decision.RUNTIME, Decision.ENTRY_POINT]
    told = seen.of(Exec)[-1]
    assert told.arguments[0] == "app"
    assert told.cgroup_id == pod.leaf.stat().st_ino
    after = seen.of_processes[seen.of_processes.index(told) + 1 :]
    execve, entered, exited = (event for event in after if event.pid == ran.pid)
    assert isinstance(execve, Call)
    assert (execve.name, execve.return_value, execve.role) == ("execve", 0, Role.LINEAGE)
    assert isinstance(entered, End)
    assert entered.ending is Ending.ENTRY_POINT
    assert isinstance(exited, End)
    assert (exited.ending, exited.exit_status) == (Ending.EXIT, ran.status)
    assert (exited.syscalls, exited.process_start_ns) == (entered.syscalls, entered.process_start_ns)
    assert seen.of(Fork) == []


def test_entry_point_of_a_thread(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """An entry point that another thread executed ends the lineage all the same."""
    become = ("become-from-thread", *daemon.words("app", *APP))
    ran = daemon.run("runc create x", enter(pod.leaf), *new_root(tmp_path), *PIVOT, become)
    seen = kernel.seen()
    assert [end.ending for end in seen.of(End, ran.pid)] == [Ending.ENTRY_POINT, Ending.EXIT]
    assert seen.calls("unshare", ran.pid)[1:] == []


def test_root_changed_by_the_parent(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """A child of the task whose root changed enters as well; its parent's own exit is an exit."""
    child = (("descend", "clone", 0), enter(pod.leaf), ("become", *daemon.words("app", *APP)))
    ran = daemon.run("runc create x", *new_root(tmp_path), *PIVOT, *child)
    seen = kernel.seen()
    (fork,) = seen.of(Fork)
    assert seen.decisions(fork.pid) == [Decision.ENTRY_POINT]
    assert [end.ending for end in seen.of(End, fork.pid)] == [Ending.ENTRY_POINT, Ending.EXIT]
    assert seen.end(ran.pid).ending is Ending.EXIT


def test_exec_before_the_root_changed(daemon: Daemon, kernel: Kernel, pod: PodCgroup) -> None:
    """As runc init does: an exec of itself, by a descriptor and in the pod's cgroup already, ends nothing."""
    itself = (
        call("openat", AT_FDCWD, f"s:{daemon.program('actor')}", O_PATH),
        call("execveat", "r", "s:", 0, 0, AT_EMPTY_PATH),
    )
    ran = daemon.run("runc create x", enter(pod.leaf), *itself)
    seen = kernel.seen()
    assert seen.decisions(ran.pid) == [Decision.RUNTIME, Decision.INHERITED]
    assert seen.end(ran.pid).ending is Ending.EXIT


@pytest.mark.parametrize(
    "failed",
    [
        (call("pivot_root", "s:/nonexistent", "s:/"),),
        (call("mount", "s:/nonexistent", "s:/", 0, MS_MOVE, 0), call("chroot", "s:/")),
        (call("chroot", "s:."),),
    ],
    ids=["pivot_root fails", "move fails", "chroot alone"],
)
def test_root_that_did_not_change(
    daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path, failed: tuple[Step, ...]
) -> None:
    """A call that failed changes no root, nor does a chroot without a moved mount: the exec after it enters nothing."""
    steps = (enter(pod.leaf), *new_root(tmp_path), *failed, ("become", *daemon.words("app", ("child", "clone", 0))))
    ran = daemon.run("runc create x", *steps)
    seen = kernel.seen()
    assert seen.decisions(ran.pid) == [Decision.RUNTIME, Decision.INHERITED]
    assert len(seen.of(Fork)) == 1
    assert seen.end(ran.pid).ending is Ending.EXIT


def test_mounts_that_a_daemon_moved(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """A mount that the daemon moved says nothing of its children's roots: a chroot alone does not change them."""
    source, target, root = (tmp_path / name for name in ("source", "target", "root"))
    for directory in (source, target, root):
        directory.mkdir()
    moved = daemon.do(
        call("unshare", NEW_NS),
        call("mount", "s:none", "s:/", 0, MS_REC | MS_PRIVATE, 0),
        call("mount", "s:none", f"s:{source}", "s:tmpfs", 0, 0),
        call("mount", f"s:{source}", f"s:{target}", 0, MS_MOVE, 0),
        TELL,
    )
    assert moved.told == (0, 0, 0, 0)
    ran = daemon.run("runc create x", enter(pod.leaf), *new_root(root), CHROOT[1], ("become", *daemon.words("app")))
    assert kernel.seen().decisions(ran.pid) == [Decision.RUNTIME, Decision.INHERITED]


def test_outside_the_container(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """An exec after the root changed is no entry point in the pod's own cgroup, where no container is."""
    ran = daemon.run("runc create x", enter(pod.path), *new_root(tmp_path), *PIVOT, ("become", *daemon.words("app")))
    assert kernel.seen().decisions(ran.pid) == [Decision.RUNTIME, Decision.INHERITED]


def test_entry_point_that_does_not_exist(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """An execve of an entry point that fails is drawn with its errno, and the process ends by exiting."""
    steps = (enter(pod.leaf), *new_root(tmp_path), *PIVOT, call("execve", "s:/nonexistent", 0, 0), ("exit", 1))
    ran = daemon.run("runc create x", *steps)
    seen = kernel.seen()
    assert [(each.target, each.return_value) for each in seen.calls("execve", ran.pid)][1:] == [("/nonexistent", -2)]
    assert (seen.end(ran.pid).ending, seen.end(ran.pid).exit_status) == (Ending.EXIT, 256)


def test_entry_point_killed(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """An entry point with threads that a signal kills is told with that signal, once."""
    app = daemon.words("app", ("threads", 4, 3), ("raise", 9))
    ran = daemon.run("runc create x", enter(pod.leaf), *new_root(tmp_path), *PIVOT, ("become", *app))
    assert [end.exit_status for end in kernel.seen().of(End, ran.pid)] == [0, 9]
