"""Who takes part in a birth, told from strace alone: small logs of each rule."""

from tests.agreement.expectation import Count, Pod, exactly, expect
from tests.agreement.roles import Process, Role, Roles, roles
from tests.agreement.strace_log import read_log

DAEMON = {1: 1}
POD = Pod("11111111-2222-4333-8444-555555555555", ("sandbox", "web"))


def play(*lines: str) -> Roles:
    """Return the roles of a log whose lines are given without time stamps; process 1 is the daemon."""
    return roles(read_log(line.replace(" ", f" 5.{n:06d} ", 1) + "\n" for n, line in enumerate(lines)), DAEMON)


def fork(parent: int, child: int) -> tuple[str, ...]:
    """Return the lines of a process that forks another."""
    return (f"{parent} clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = {child}",)


def execve(pid: int, *arguments: str, environment: str = "") -> str:
    """Return the line of a successful execve."""
    listed = ", ".join(f'"{argument}"' for argument in arguments)
    return f'{pid} execve("{arguments[0]}", [{listed}], [{environment}]) = 0'


def process(played: Roles, pid: int) -> Process:
    """Return the only process of that id."""
    (found,) = [process for process in played.processes if process.pid == pid]
    return found


def test_the_first_exec_decides() -> None:
    """Shim start, runtime create and CNI ADD continue; everything else is dropped."""
    cni = '"CNI_COMMAND=ADD", "CNI_CONTAINERID=sandbox", "CNI_NETNS=/run/netns/x"'
    played = play(
        *fork(1, 10), execve(10, "/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", "sandbox", "start"),
        *fork(1, 11), execve(11, "/usr/sbin/runc", "--root", "/create", "--log", "l", "create", "--bundle", "b", "web"),
        *fork(1, 12), execve(12, "/usr/lib/cni/ptp", environment=cni),
        *fork(1, 13), execve(13, "/usr/sbin/runc", "--root", "/create", "exec", "web"),
        *fork(1, 14), execve(14, "/usr/bin/containerd-shim-runc-v2", "-id", "sandbox", "delete"),
        *fork(1, 15), execve(15, "/usr/lib/cni/ptp", environment=cni.replace("ADD", "DEL")),
        *fork(1, 16), execve(16, "/usr/bin/unpigz", "-d", "-c"),
    )  # fmt: skip
    assert [p.pid for p in played.lineages] == [10, 11, 12]
    assert [p.container_id for p in played.lineages] == ["sandbox", "web", "sandbox"]


def test_a_failed_exec_decides_nothing() -> None:
    """A daemon's child that does not find its program has not decided yet."""
    played = play(*fork(1, 10), '10 execve("/no/runc", ["runc", "create", "web"], []) = -1 ENOENT (No such file)')
    assert process(played, 10).role is Role.CANDIDATE


def test_a_lineage_ends_at_the_exec_after_its_root_changed() -> None:
    """The re-execution of runc does not end it, the entry point does, and what that does is not the birth's."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        execve(10, "/proc/self/exe", "init"),
        '10 pivot_root(".", ".") = 0',
        execve(10, "/bin/sleep", "1"),
        '10 mount("a", "b", NULL, MS_BIND, NULL) = 0',
    )
    found = process(played, 10)
    assert (found.role, found.execs) == (Role.DROPPED, 3)
    assert [call.name for call in found.calls] == ["execve", "execve", "pivot_root", "execve"]


def test_a_moved_mount_and_chroot_change_the_root_too() -> None:
    """Without pivot_root (a root on ramfs) the runtime moves the mount and changes the root."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        '10 mount("/rootfs", "/", NULL, MS_MOVE, NULL) = 0',
        '10 chroot(".") = 0',
        *fork(10, 11),
        execve(11, "/bin/sleep", "1"),
    )
    assert (process(played, 10).role, process(played, 11).role) == (Role.LINEAGE, Role.DROPPED)


def test_the_shim_hands_over_at_its_first_runtime_child() -> None:
    """Until then its calls are the birth's, afterwards those of a daemon."""
    played = play(
        *fork(1, 10),
        execve(10, "/bin/containerd-shim-runc-v2", "-id", "sandbox", "start"),
        *fork(10, 11),
        execve(11, "/bin/containerd-shim-runc-v2", "-id", "sandbox"),
        '11 mount("/snapshots/5", "/x/sandbox/rootfs", NULL, MS_BIND, NULL) = 0',
        *fork(11, 12),
        execve(12, "/usr/sbin/runc", "create", "sandbox"),
        '11 umount2("/elsewhere", 0) = 0',
        *fork(11, 13),
        execve(13, "/usr/sbin/runc", "create", "web"),
        *fork(11, 14),
        execve(14, "/usr/sbin/runc", "kill", "--all", "web", "9"),
    )
    shim = process(played, 11)
    assert (shim.handed_over, [call.name for call in shim.calls]) == (True, ["execve", "mount", "clone"])
    assert process(played, 13).made_by in [call for _, call in played.daemon_calls]
    assert [p.pid for p in played.lineages] == [10, 11, 12, 13]


def test_calls_that_last_over_the_hand_over_are_undetermined() -> None:
    """Another thread's call may have begun before the child's exec or after it, however long ago strace let it go on.

    Not so one that returned before that exec was entered, one entered after its return, and the clone that made the
    child.
    """
    played = play(
        *fork(1, 10),
        execve(10, "/bin/containerd-shim-runc-v2", "-id", "sandbox", "start"),
        *fork(10, 11),
        execve(11, "/bin/containerd-shim-runc-v2", "-id", "sandbox"),
        "11 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[12]}, 88) = 12",
        "12 openat(AT_FDCWD, <unfinished ...>",
        "11 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[13]}, 88) = 13",
        "13 getpid() = 11",
        "13 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} <unfinished ...>",
        "11 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>",
        '14 execve("/usr/sbin/runc", ["runc", "create", "sandbox"], [] <unfinished ...>',
        "13 <... clone3 resumed> => {parent_tid=[15]}, 88) = 15",
        "13 getpid() = 11",
        "14 <... execve resumed>) = 0",
        "13 getpid() = 11",
        "11 <... clone resumed>) = 14",
        '12 <... openat resumed>"/x", O_RDONLY) = -1 ENOENT (No such file or directory)',
        "15 getpid() = 11",
        "11 getpid() = 11",
    )
    expected = expect(played, POD)
    shim = expected.processes[11]
    assert [(call.thread, call.name) for call in shim.undetermined] == [(12, "openat"), (13, "clone3"), (13, "getpid")]
    assert shim.syscalls == Count(5, 8)
    assert (shim.opens, shim.failed_opens) == (Count(0, 1), Count(0, 1))
    assert expected.counts["threads"] == Count(2, 3)


def test_a_thread_that_was_ended_between_calls_may_have_made_one_more() -> None:
    """Its last stop may go unheard by strace; a thread that ended by itself, or in a call, made no more."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[11]}, 88) = 11",
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[12]}, 88) = 12",
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[13]}, 88) = 13",
        "11 getpid() = 10",
        '12 openat(AT_FDCWD, "/x", O_RDONLY <unfinished ...>',
        "10 exit_group(0) = ?",
        "11 +++ exited with 0 +++",
        "12 <... openat resumed> <unfinished ...>) = ?",
        "12 +++ exited with 0 +++",
        "13 +++ exited with 0 +++",
        "10 +++ exited with 0 +++",
    )
    of = expect(played, POD).processes[10]
    assert of.syscalls == Count(7, 9)
    assert (of.opens, of.failed_opens) == (Count(1, 3), Count(0, 3))


def test_what_strace_tells_of_threads_that_are_being_ended_is_not_believed() -> None:
    """It may have asked one that was gone: then both the name and the result are those of another thread's call."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[11]}, 88) = 11",
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[12]}, 88) = 12",
        '11 openat(AT_FDCWD, "/x", O_RDONLY <unfinished ...>',
        "10 exit_group(0 <unfinished ...>",
        '12 mount("/a", "/b", NULL, MS_BIND, NULL <unfinished ...>',
        "11 <... openat resumed>) = -1 (errno 18446744073709551385)",
        "11 +++ exited with 0 +++",
        "12 +++ exited with 0 +++",
        "10 +++ exited with 0 +++",
    )
    expected = expect(played, POD)
    of = expected.processes[10]
    assert of.syscalls == Count(6, 7)
    assert (of.opens, of.failed_opens) == (Count(1, 3), Count(0, 3))
    assert 12 not in expected.threads


def test_a_childs_lines_before_its_parents_return_are_its_own() -> None:
    """A child may be shown first; its id in another PID namespace comes with the host's."""
    played = play(
        "1 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        execve(10, "/usr/sbin/runc", "create", "web"),
        "1 <... clone resumed>) = 3 /* 10 in strace's PID NS */",
    )
    assert [p.pid for p in played.lineages] == [10]


def test_a_thread_whose_maker_never_returned_is_known_by_its_end() -> None:
    """The process ended between the clone and its return: the thread was made all the same."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} <unfinished ...>",
        "10 <... clone3 resumed> <unfinished ...>) = ?",
        "11 +++ exited with 0 +++",
        "10 +++ exited with 0 +++",
    )
    assert (len(process(played, 10).threads), len(played.processes)) == (1, 1)


def test_a_thread_whose_makers_return_was_not_told_rightly_is_known_by_its_lines() -> None:
    """Asked about a maker that was gone, strace told another thread's 231."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[11]}, 88) = 11",
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} <unfinished ...>",
        "12 rseq(0x7fb757ffffe0, 0x20, 0, 0x53053053) = 0",
        "11 exit_group(0) = ?",
        "10 <... clone3 resumed> => {parent_tid=[12]}, 88) = 231",
        "11 +++ exited with 0 +++",
        "12 +++ exited with 0 +++",
        "10 +++ exited with 0 +++",
    )
    assert (len(process(played, 10).threads), len(played.processes)) == (2, 1)


def test_daemons_calls_are_matched_by_what_they_touch() -> None:
    """Ids in paths, the snapshot of the container's root, what a matched call mounted, the network namespace."""
    cni = '"CNI_COMMAND=ADD", "CNI_CONTAINERID=sandbox", "CNI_NETNS=/run/netns/x"'
    played = play(
        "1 unshare(CLONE_NEWNET) = 0",
        '1 mount("/proc/1/task/1/ns/net", "/run/netns/x", "none", MS_BIND, NULL) = 0',
        "1 setns(4<net:[1]>, CLONE_NEWNET) = 0",
        '1 mount("/snapshots/5", "/tmp/m1", NULL, MS_BIND, NULL) = 0',
        '1 umount2("/tmp/m1", 0) = 0',
        '1 umount2("/tmp/m1", 0) = -1 EINVAL (Invalid argument)',
        '1 mount("/snapshots/6", "/tmp/m2", NULL, MS_BIND, NULL) = 0',
        "1 setns(4<net:[2]>, CLONE_NEWNET) = 0",
        *fork(1, 10), execve(10, "/usr/lib/cni/ptp", environment=cni),
        *fork(1, 11), execve(11, "/usr/sbin/runc", "exec", "web"),
        '1 mount("/snapshots/5", "/x/web/rootfs", NULL, MS_BIND, NULL) = 0',
        '1 write(9</sys/fs/cgroup/memory/kubepods/web/cgroup.event_control>, "1", 1) = 1',
        '1 write(9</sys/fs/cgroup/memory/kubepods/other/cgroup.event_control>, "1", 1) = 1',
    )  # fmt: skip
    expected = expect(played, POD)
    assert expected.threads[1] == [
        ("unshare", 0), ("mount", 0), ("setns", 0), ("mount", 0), ("umount2", 0), ("umount2", -22), ("clone", 10),
        ("mount", 0),
    ]  # fmt: skip
    counts = {"namespaces": 1, "namespace_ops": 2, "clones": 1, "mounts": 3, "cgroup_writes": 1}
    assert {name: expected.counts[name] for name in counts} == {name: exactly(n) for name, n in counts.items()}


def test_threads_are_counted_not_drawn() -> None:
    """A clone with CLONE_THREAD makes a thread of the same process, whose calls are the process's."""
    played = play(
        *fork(1, 10),
        execve(10, "/usr/sbin/runc", "create", "web"),
        "10 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[11]}, 88) = 11",
        '11 openat(AT_FDCWD</>, "/x", O_RDONLY) = -1 ENOENT (No such file or directory)',
    )
    expected = expect(played, POD)
    assert (expected.processes[10].syscalls, expected.counts["threads"]) == (exactly(3), exactly(1))
    assert (expected.processes[10].opens, expected.processes[10].failed_opens) == (exactly(1), exactly(1))
    assert expected.threads == {1: [("clone", 10)], 10: [("execve", 0)]}
