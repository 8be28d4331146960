"""What the system-call tracepoints do that one would not expect."""

import os
import platform
import signal
from pathlib import Path

import pytest

from otel_kernel.kernel.events import Call, End, Ending, Exec, Fork, Wait
from tests.kernel.actors import NR, TELL, Daemon, Kernel, call, repeat

pytestmark = pytest.mark.root
NEW_NET, NEW_UTS = 0x40000000, 0x4000000
CLONE_THREAD = 0x10000
EPERM, ENOSYS = 1, 38


@pytest.mark.parametrize("others", ["thread", "crowd"])
def test_exec_from_another_thread(daemon: Daemon, kernel: Kernel, others: str) -> None:
    """An execve of a thread that is not the leader enters under the thread's id and returns under the process's."""
    ran = daemon.run("runc create x", (f"become-from-{others}", *daemon.words("runc init", repeat(11, "getppid"))))
    seen = kernel.seen()
    told = seen.calls("execve", ran.pid)[-1]
    assert told.thread_id == ran.pid
    assert told.entry_thread_id != ran.pid
    assert (told.return_value, told.target) == (0, daemon.program("runc"))
    assert seen.of(Exec)[-1].old_thread_id == told.entry_thread_id
    end = seen.end(ran.pid)
    assert (end.ending, end.exit_status, end.threads) == (Ending.EXIT, 0, 4)


def test_after_an_exec_from_another_thread(daemon: Daemon, kernel: Kernel) -> None:
    """After such an exec the calls of the new program are drawn as before."""
    steps = (("child", "clone", 0), repeat(11, "getppid"))
    ran = daemon.run("runc create x", ("become-from-thread", *daemon.words("runc init", *steps)))
    again = daemon.run(
        "runc create x", ("become-from-thread", *daemon.words("runc init", *steps, ("child", "clone", 0)))
    )
    seen = kernel.seen()
    assert len(seen.calls("clone", ran.pid)) == 1
    assert len(seen.calls("clone", again.pid)) == 2


def test_refused_call(daemon: Daemon, kernel: Kernel) -> None:
    """A call that seccomp refuses is drawn with what it was asked and the error it got, though it never entered."""
    ran = daemon.run(
        "runc create x",
        ("refuse", NR["mount"], EPERM),
        call("mount", "s:none", "n:/x", "s:tmpfs", 0, "s:size=1m"),
        TELL,
    )
    told = kernel.seen().call("mount", ran.pid)
    assert ran.told == (-EPERM,)
    assert (told.return_value, told.source, told.filesystem_type, told.data) == (-EPERM, "none", "tmpfs", "size=1m")
    assert told.end_ns >= told.start_ns


def test_refused_calls_count(daemon: Daemon, kernel: Kernel) -> None:
    """Refused calls are calls."""
    refuse = ("refuse", NR["getppid"], EPERM)
    few, many = (daemon.run("runc create x", refuse, repeat(times, "getppid")).pid for times in (1, 102))
    seen = kernel.seen()
    assert seen.end(many).syscalls - seen.end(few).syscalls == 101
    assert seen.of(Wait, many) == []


def test_refused_clone3(daemon: Daemon, kernel: Kernel) -> None:
    """A refused clone3 tells the flags it asked for, and no child."""
    ran = daemon.run("runc create x", ("refuse", NR["clone3"], ENOSYS), ("child", "clone3", NEW_UTS), TELL)
    told = kernel.seen().call("clone3", ran.pid)
    assert (told.return_value, told.child_pid, told.arguments[0]) == (-ENOSYS, 0, NEW_UTS)
    assert told.namespaces == ()


def test_refused_thread(daemon: Daemon, kernel: Kernel) -> None:
    """A refused thread is not drawn, like any other thread."""
    ran = daemon.run("runc create x", ("refuse", NR["clone3"], EPERM), ("child", "clone3", CLONE_THREAD), TELL)
    assert ran.told == (-EPERM,)
    assert kernel.seen().calls("clone3", ran.pid) == []


def test_killed_inside_a_call(daemon: Daemon, kernel: Kernel) -> None:
    """A process killed inside a call: the call is drawn as far as it came, and the end tells the signal."""
    ran = daemon.run("runc create x", ("die-in-vfork",))
    seen = kernel.seen()
    told = seen.call("vfork", ran.pid)
    (fork,) = seen.of(Fork)
    assert told.return_value in (None, fork.pid)
    assert told.child_pid == fork.pid
    assert ran.status == seen.end(ran.pid).exit_status == signal.SIGKILL


@pytest.mark.parametrize(
    "steps",
    [
        (("exit", 3),),
        (("raise", signal.SIGTERM),),
        (("crowd", 4),),
        (("leader-exits", 5), ("exit", 6)),
        (("leader-exits", 5), repeat(3, "getppid")),
    ],
)
def test_exit_status(daemon: Daemon, kernel: Kernel, steps: tuple[tuple[str | int, ...], ...]) -> None:
    """The end tells the status that wait(2) told, whichever thread ended the process, in any order."""
    ran = daemon.run("runc create x", *steps)
    end = kernel.seen().end(ran.pid)
    assert (end.ending, end.exit_status) == (Ending.EXIT, ran.status)


def test_leader_that_ends_first(daemon: Daemon, kernel: Kernel) -> None:
    """A process whose leader ended goes on until its last thread does, and is told as one."""
    ran = daemon.run("runc create x", ("leader-exits", 0), repeat(1009, "getppid"), ("child", "clone", 0))
    seen = kernel.seen()
    assert seen.end(ran.pid).syscalls > 1009
    made = seen.call("clone", ran.pid)
    assert made.thread_id != ran.pid
    assert seen.of(Fork)[0].parent_pid == ran.pid


def test_threads_that_end_together(daemon: Daemon, kernel: Kernel) -> None:
    """Threads that end at the same moment on several CPUs end their process once, and leave nothing behind."""
    pids = [daemon.run("runc create x", ("crowd", 8)).pid for _ in range(200)]
    ends = [end.pid for end in kernel.seen().of(End)]
    assert ends == pids


def test_process_id_used_again(daemon: Daemon, kernel: Kernel) -> None:
    """Two processes with the same id are told apart by the time of their fork."""
    wanted = next(pid for pid in range(4_000, 30_000) if not Path(f"/proc/{pid}").exists())
    ran = daemon.run("runc create x", ("child-at", wanted), ("child-at", wanted), TELL)
    assert ran.told == (wanted, wanted)
    seen = kernel.seen()
    first, second = seen.of(Fork)
    assert first.pid == second.pid == wanted
    assert first.process_start_ns < second.process_start_ns
    assert [end.process_start_ns for end in seen.of(End, wanted)] == [first.process_start_ns, second.process_start_ns]


def test_interrupted_call(daemon: Daemon, kernel: Kernel) -> None:
    """A call that signals interrupt and the kernel restarts is several calls, each with its own return value."""
    ran = daemon.run("runc create x", ("restart",))
    reads = [wait.return_value for wait in kernel.seen().of(Wait, ran.pid) if wait.name == "read"]
    assert reads[:2] == [-512, -512]  # ERESTARTSYS


def test_waits(daemon: Daemon, kernel: Kernel) -> None:
    """A call of 1 ms or longer is told with its duration; idling in a sleep is not, nor is a short call."""
    ran = daemon.run("runc create x", ("wait", 7), ("sleep", 7), ("wait", 0))
    (told,) = [wait for wait in kernel.seen().of(Wait, ran.pid) if wait.name != "openat"]
    assert told.name == "poll"
    assert told.return_value == 0
    assert 7_000_000 <= told.end_ns - told.start_ns < 5_000_000_000


only_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="32-bit calls from 64-bit code exist on x86 only")


@only_x86
def test_compat_calls(daemon: Daemon, kernel: Kernel) -> None:
    """32-bit calls are counted and never decoded: number 165 is mount only in the 64-bit table."""
    few, many = (daemon.run("runc create x", ("compat", times, NR["mount"], 0)).pid for times in (1, 102))
    seen = kernel.seen()
    assert seen.end(many).syscalls - seen.end(few).syscalls == 101
    assert kernel.counted().compat == 103
    assert {each.name for each in seen.of(Call) if each.pid != daemon.pid} == {"execve"}


@only_x86
def test_refused_compat_calls(daemon: Daemon, kernel: Kernel) -> None:
    """A 32-bit call that seccomp refuses is counted and not decoded either."""
    ran = daemon.run("runc create x", ("refuse", NR["mount"], EPERM), ("compat", 3, NR["mount"], 0))
    assert kernel.seen().calls("mount", ran.pid) == []
    assert kernel.counted().compat == 3


@only_x86
def test_compat_calls_of_a_daemon(daemon: Daemon, kernel: Kernel) -> None:
    """A daemon's 32-bit getpid, which is writev's number, is no write to the file its register happens to name."""
    if not Path("/sys/fs/cgroup").is_dir():
        pytest.skip("no cgroups")
    group = next(Path("/sys/fs/cgroup").rglob("cgroup.procs"))
    told = daemon.do(call("openat", -100, f"s:{group}", os.O_RDONLY), TELL).told
    assert told[0] > 0
    daemon.do(("compat", 2, NR["writev"], told[0]))
    assert [event for event in kernel.seen().events if type(event).__name__ == "CgroupWrite"] == []


def test_many_at_once(kernel: Kernel) -> None:
    """Daemons that start children at the same time are told apart, and every child ends."""
    daemons = [kernel.daemon() for _ in range(3)]
    ran = [
        daemon.run("runc create x", ("threads", 3, 7), ("child", "vfork", 0)).pid
        for _ in range(20)
        for daemon in daemons
    ]
    seen = kernel.seen()
    assert {end.pid for end in seen.of(End)} >= set(ran)
    assert len(seen.of(End)) == 2 * len(ran)
