"""The counts in a process's end are exact."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_kernel.kernel.events import Call, Fork
from tests.agreement.expectation import process_counts
from tests.agreement.roles import roles
from tests.agreement.strace import Strace
from tests.kernel.actors import NR, Daemon, Kernel, Step, call, repeat

pytestmark = pytest.mark.root
AT_FDCWD = -100


def test_every_call_counts(daemon: Daemon, kernel: Kernel) -> None:
    """A program that makes 997 calls more has a count greater by just that."""
    few, many = (daemon.run("runc create x", repeat(times, "getppid")).pid for times in (1, 998))
    seen = kernel.seen()
    assert seen.end(many).syscalls - seen.end(few).syscalls == 997


def test_opens(daemon: Daemon, kernel: Kernel) -> None:
    """Both openat and openat2 are counted together, and those that fail apart; none is drawn."""
    steps = (
        repeat(13, "openat", AT_FDCWD, "s:/dev/null", 0),
        repeat(7, "openat", AT_FDCWD, "s:/nonexistent", 0),
        repeat(3, "openat2", AT_FDCWD, "s:/dev/null", 0, 0),
    )
    ran = daemon.run("runc create x", *steps)
    seen = kernel.seen()
    assert (seen.end(ran.pid).openat, seen.end(ran.pid).openat_errors) == (23, 10)
    assert {each.name for each in seen.of(Call, ran.pid)} == {"execve"}


def test_open_that_never_returns(daemon: Daemon, kernel: Kernel, tmp_path: Path) -> None:
    """A process killed inside an openat has called it all the same."""
    os.mkfifo(tmp_path / "fifo")
    ran = daemon.run("runc create x", ("die-in-openat", tmp_path / "fifo"))
    end = kernel.seen().end(ran.pid)
    assert (ran.status, end.openat) == (signal.SIGKILL, 1)


def test_refused_opens(daemon: Daemon, kernel: Kernel) -> None:
    """An openat that seccomp refuses is one that failed."""
    opens = repeat(9, "openat", AT_FDCWD, "s:/dev/null", 0)
    ran = daemon.run("runc create x", opens, ("refuse", NR["openat"], 1), opens)
    end = kernel.seen().end(ran.pid)
    assert (end.openat, end.openat_errors) == (18, 9)


def test_threads(daemon: Daemon, kernel: Kernel) -> None:
    """The calls of all threads are the process's; threads are counted, and neither drawn nor told as processes."""
    idle, busy = (daemon.run("runc create x", ("threads", 11, times)).pid for times in (0, 101))
    seen = kernel.seen()
    assert seen.end(busy).threads == seen.end(idle).threads == 11
    assert (
        abs(seen.end(busy).syscalls - seen.end(idle).syscalls - 11 * 101) <= 22
    )  # a join may need to wait, by a futex
    assert seen.of(Fork) == []
    assert {each.name for each in seen.of(Call, busy)} == {"execve"}


def test_children_count_for_themselves(daemon: Daemon, kernel: Kernel) -> None:
    """A child's calls are its own from its first on; the return of the clone that made it is none of them."""
    ran = daemon.run("runc create x", *[("child", "clone", 0)] * 5)
    seen = kernel.seen()
    forks = seen.of(Fork)
    assert len(forks) == 5
    assert all(fork.parent_pid == ran.pid for fork in forks)
    assert [seen.end(fork.pid).syscalls for fork in forks] == [1] * 5  # exit_group


MIXED: tuple[Step, ...] = (
    repeat(101, "getppid"),
    repeat(5, "openat", AT_FDCWD, "s:/nonexistent", 0),
    ("threads", 5, 23),
    ("child", "clone3", 0),
    ("child", "vfork", 0),
    call("mount", "s:none", "s:/nonexistent", "s:tmpfs", 0, 0),
    ("restart",),
    ("wait", 3),
)


def test_agrees_with_strace(
    daemon: Daemon, kernel: Kernel, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    """Of a process with threads, children and interrupted calls strace sees as many calls, and the same drawn ones."""
    require(shutil.which("strace"), "strace is not installed")
    with Strace([daemon.pid], tmp_path / "log") as strace:
        ran = daemon.run(
            "runc create x",
            *MIXED,
            ("become", *daemon.words("runc init", ("become-from-thread", *daemon.words("app")))),
        )
    seen = kernel.seen()
    children = [fork.pid for fork in seen.of(Fork)]
    threads = [thread for thread in strace.log.threads if thread.id != daemon.pid]
    of_process = [each for thread in threads if thread.id not in children for each in thread.calls]
    assert seen.end(ran.pid).syscalls == len(of_process)
    for pid in children:
        assert seen.end(pid).syscalls == sum(len(thread.calls) for thread in threads if thread.id == pid)
    drawn = {"execve", "mount", "vfork", "clone3"}
    theirs = [(each.name, each.value) for each in of_process if each.name in drawn and "CLONE_THREAD" not in each.text]
    assert sorted((each.name, each.return_value) for each in seen.of(Call, ran.pid)) == sorted(theirs)


def test_agrees_with_strace_on_threads_that_are_ended(
    daemon: Daemon, kernel: Kernel, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    """Threads ended by another wherever they are: each call that strace saw counts once, an openat also as an open."""
    require(shutil.which("strace"), "strace is not installed")
    crowd = ("crowd", 8, NR["openat"], 100_000)
    with Strace([daemon.pid], tmp_path / "log") as strace:
        ran = [daemon.run("runc create x", crowd).pid for _ in range(5)]
    seen = kernel.seen()
    processes = {process.pid: process for process in roles(strace.log, strace.attached).lineages}
    for pid in ran:
        end, counts = seen.end(pid), process_counts(processes[pid])
        assert end.syscalls in counts.syscalls
        assert end.openat in counts.opens
        assert end.openat_errors in counts.failed_opens
