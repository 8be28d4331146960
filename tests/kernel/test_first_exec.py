"""A child of a runtime daemon: its first exec decides, in the kernel, whether a birth begins."""

import pytest

from otel_kernel.kernel.events import Call, Decision, End, Ending, Exec, Role
from otel_kernel.kernel.probes import KUBELET, RUNTIME_DAEMON
from tests.kernel.actors import Daemon, Kernel, call, repeat

pytestmark = pytest.mark.root
POD = "0b5aa2a1-52c5-4e0d-9f0a-0d7b3c1c2d3e"
RUNC = "runc --root /run/containerd/runc/k8s.io --log /x/log.json --log-format json"
SHIM = "containerd-shim-runc-v2 -namespace k8s.io -id c0ffee -address /run/containerd/containerd.sock"
CNI = ("PATH=/bin", "CNI_CONTAINERID=c0ffee", "CNI_NETNS=/run/netns/x", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin")


@pytest.mark.parametrize(
    ("command", "decision"),
    [
        (f"{RUNC} create --bundle /b --pid-file /b/init.pid c0ffee", Decision.RUNTIME),
        (f"{RUNC} --systemd-cgroup create --bundle /b c0ffee", Decision.RUNTIME),
        (f"{RUNC} run --bundle /b c0ffee", Decision.RUNTIME),
        (f"{RUNC} start c0ffee", Decision.RUNTIME),
        (f"{RUNC} restore --image-path /i c0ffee", Decision.RUNTIME),
        ("nvidia-container-runtime --root /run create c0ffee", Decision.RUNTIME),
        (f"{SHIM} start", Decision.SHIM_START),
        ("containerd-shim-kata-v2 --id c0ffee start", Decision.SHIM_START),
    ],
)
def test_begins_a_birth(daemon: Daemon, kernel: Kernel, command: str, decision: Decision) -> None:
    """What makes a container begins a birth, decided by its arguments whatever its name."""
    ran = daemon.run(command)
    seen = kernel.seen()
    (told,) = seen.of(Exec)
    assert (told.pid, told.decision, told.parent_pid) == (ran.pid, decision, daemon.pid)
    assert told.arguments == tuple(command.split())
    assert told.filename == daemon.program(told.arguments[0])
    assert not told.truncated
    assert seen.end(ran.pid).ending is Ending.EXIT
    assert kernel.counted().not_birth == 0


@pytest.mark.parametrize(
    "command",
    [
        *(
            f"{RUNC} {verb} c0ffee"
            for verb in ("exec", "delete", "kill", "update", "events", "state", "pause", "resume")
        ),
        f"{RUNC} exec --process /x/start c0ffee",  # the first verb counts
        f"{RUNC} features",
        f"{RUNC} checkpoint c0ffee",
        f"{RUNC} list",
        f"{SHIM} delete",
        SHIM,
        "unpigz -d -c",
        "start",  # a name, not a verb
        "sh -c true",
    ],
)
def test_is_no_birth(daemon: Daemon, kernel: Kernel, command: str) -> None:
    """What a runtime does for other ends is dropped in the kernel, counted, and not followed."""
    ran = daemon.run(command, call("mount", "s:none", "s:/nonexistent", "s:tmpfs"), ("child", "clone", 0))
    seen = kernel.seen()
    assert kernel.counted().not_birth == 1
    assert [event for event in seen.of_processes if event.pid != daemon.pid] == []
    assert seen.of(Call, ran.pid) == []


@pytest.mark.parametrize(
    ("command", "begins"), [("ADD", True), ("DEL", False), ("CHECK", False), ("STATUS", False), ("GC", False)]
)
def test_cni_plugin(daemon: Daemon, kernel: Kernel, command: str, begins: bool) -> None:
    """Of CNI's commands only ADD begins a birth; its variables are told, other variables are not."""
    environment = (*CNI, f"CNI_COMMAND={command}", f"CNI_ARGS=K8S_POD_UID={POD};K8S_POD_NAMESPACE=d", "SECRET=1")
    ran = daemon.run("ptp", environment=environment)
    told = kernel.seen().of(Exec)
    assert [each.decision for each in told] == [Decision.CNI_ADD] * begins
    assert kernel.counted().not_birth == (not begins)
    if begins:
        assert told[0].pid == ran.pid
        assert [f"{name}={value}" for name, value in told[0].environment] == [
            v for v in environment if v.startswith("CNI_")
        ]


def test_cni_after_many_variables(daemon: Daemon, kernel: Kernel) -> None:
    """A plugin's variables are found behind many others, also behind one longer than any of CNI's."""
    others = [f"SERVICE_{n}_PORT=tcp://10.0.0.{n}" for n in range(120)]
    daemon.run("ptp", environment=(*others, "LONG=" + "x" * 3000, *CNI, "CNI_COMMAND=ADD"))
    (told,) = kernel.seen().of(Exec)
    assert dict(told.environment)["CNI_CONTAINERID"] == "c0ffee"
    assert len(told.environment) == len(CNI)  # PATH is none of them, the command is one


def test_wrapper_that_executes_the_runtime(daemon: Daemon, kernel: Kernel) -> None:
    """A wrapper begins the birth; the runtime it turns into goes on with it."""
    ran = daemon.run("nvidia-container-runtime create x", ("become", *daemon.words("runc create x")))
    seen = kernel.seen()
    assert seen.decisions() == [Decision.RUNTIME, Decision.INHERITED]
    assert [each.arguments[0] for each in seen.of(Exec)] == ["nvidia-container-runtime", "runc"]
    assert seen.end(ran.pid).ending is Ending.EXIT


def test_wrapper_that_forks_the_runtime(daemon: Daemon, kernel: Kernel) -> None:
    """A wrapper's child is in the birth, and the wrapper hands nothing over."""
    ran = daemon.run("wrapper create x", ("descend", "clone", 0), ("become", *daemon.words("runc create x")))
    seen = kernel.seen()
    assert seen.decisions() == [Decision.RUNTIME, Decision.INHERITED]
    assert [end.ending for end in seen.of(End)] == [Ending.EXIT, Ending.EXIT]
    assert seen.of(Exec)[1].parent_pid == ran.pid


def test_program_that_is_not_found_first(daemon: Daemon, kernel: Kernel) -> None:
    """A failed execve decides nothing; it is drawn as the candidate's, and the one that succeeds decides."""
    ran = daemon.run(f"{RUNC} create c0ffee", how="missing")
    seen = kernel.seen()
    failed, succeeded = seen.calls("execve", ran.pid)
    assert (failed.return_value, failed.target, failed.role) == (-2, "/nonexistent/runc", Role.CANDIDATE)
    assert (succeeded.return_value, succeeded.role) == (0, Role.LINEAGE)
    assert seen.decisions() == [Decision.RUNTIME]


def test_candidate_told_of_and_then_dropped(daemon: Daemon, kernel: Kernel) -> None:
    """A candidate whose calls were told before its exec decided against it is ended: nobody waits for it."""
    ran = daemon.run(f"{RUNC} exec c0ffee", how="missing")
    seen = kernel.seen()
    assert [call.return_value for call in seen.calls("execve", ran.pid)] == [-2]
    assert seen.end(ran.pid).ending is Ending.NOT_BIRTH
    assert kernel.counted().not_birth == 1


def test_candidate_that_never_executes(daemon: Daemon, kernel: Kernel) -> None:
    """A daemon's child that exits without an exec is no birth, and nothing is told of it."""
    ran = daemon.run("runc create x", how="idle")
    seen = kernel.seen()
    assert [event for event in seen.of_processes if event.pid == ran.pid] == []
    assert kernel.counted().not_birth == 1


def test_vfork(daemon: Daemon, kernel: Kernel) -> None:
    """A child made by vfork begins a birth; the daemon's call returns when the child has its program, and names it."""
    ran = daemon.run(f"{RUNC} create c0ffee", how="vfork")
    seen = kernel.seen()
    assert seen.decisions(ran.pid) == [Decision.RUNTIME]
    made = [each for each in seen.of(Call, daemon.pid) if each.child_pid == ran.pid]
    assert [(each.name in ("vfork", "clone"), each.return_value, each.role) for each in made] == [
        (True, ran.pid, Role.DAEMON)
    ]
    assert made[0].end_ns >= seen.call("execve", ran.pid).start_ns


def test_the_clone_that_began_it(daemon: Daemon, kernel: Kernel) -> None:
    """The daemon's clone is told, with the host's id of its child."""
    ran = daemon.run(f"{RUNC} create c0ffee")
    made = kernel.seen().call("clone", daemon.pid)
    assert (made.return_value, made.child_pid, made.role) == (ran.pid, ran.pid, Role.DAEMON)


def test_long_arguments(daemon: Daemon, kernel: Kernel) -> None:
    """Arguments beyond the limit are cut and said to be cut."""
    daemon.run(f"runc create {'x' * 2000}")
    (told,) = kernel.seen().of(Exec)
    assert told.truncated
    assert told.arguments[:2] == ("runc", "create")
    assert set(told.arguments[2]) == {"x"}


def test_hand_over(daemon: Daemon, kernel: Kernel) -> None:
    """At its first runtime child the shim becomes a daemon: its counts end there."""
    ran = daemon.run(
        f"{SHIM} start",
        ("descend", "clone", 0),
        ("become", *daemon.words(SHIM, ("descend", "clone", 0), ("become", *daemon.words("runc create x")))),
    )
    seen = kernel.seen()
    start, shim, runtime = seen.of(Exec)
    assert start.pid == ran.pid
    assert [each.decision for each in (start, shim, runtime)] == [
        Decision.SHIM_START,
        Decision.INHERITED,
        Decision.INHERITED,
    ]
    assert seen.end(start.pid).ending is Ending.EXIT
    assert seen.end(shim.pid).ending is Ending.HANDED_OVER
    assert seen.end(runtime.pid).ending is Ending.EXIT


def test_counts_end_at_the_hand_over(daemon: Daemon, kernel: Kernel) -> None:
    """The shim's calls count until its first runtime child has its program, and none after.

    One of them, the wait for that child, may begin before or after.
    """
    pids = []
    for earlier, later in ((1, 1), (102, 1), (1, 203)):
        child = ("spawn", *daemon.words("runc create x"))
        steps = (repeat(earlier, "getppid"), child, repeat(later, "getppid"))
        pids.append(daemon.run(f"{SHIM} start", ("become", *daemon.words(SHIM, *steps))).pid)
    seen = kernel.seen()
    neither, before, after = (seen.end(pid).syscalls for pid in pids)
    assert abs(before - neither - 101) <= 1
    assert abs(after - neither) <= 1


def test_after_the_hand_over(daemon: Daemon, kernel: Kernel) -> None:
    """A handed over shim's children are candidates: `start` begins, `delete` does not; its calls are a daemon's."""
    children = [("spawn", *daemon.words(f"runc {verb} x")) for verb in ("create", "delete")]
    later = ("spawn", *daemon.words("runc start x"))
    ran = daemon.run(f"{SHIM} start", ("become", *daemon.words(SHIM, *children, call("unshare", 0), later)))
    seen = kernel.seen()
    assert seen.decisions() == [Decision.SHIM_START, Decision.INHERITED, Decision.INHERITED, Decision.RUNTIME]
    assert kernel.counted().not_birth == 1
    assert seen.end(ran.pid).ending is Ending.HANDED_OVER
    assert seen.call("unshare", ran.pid).role is Role.DAEMON


def test_conmon(daemon: Daemon, kernel: Kernel) -> None:
    """A daemon's child that is a container monitor becomes a daemon: its children decide for themselves."""
    kernel.probes.name_daemons({"conmon-of-a-test": RUNTIME_DAEMON})
    ran = daemon.run(
        "conmon-of-a-test -c x", ("spawn", *daemon.words("runc create x")), ("spawn", *daemon.words("runc kill x"))
    )
    seen = kernel.seen()
    (told,) = seen.of(Exec)
    assert (told.parent_pid, told.decision) == (ran.pid, Decision.RUNTIME)
    assert kernel.counted().not_birth == 1
    assert seen.of(End, ran.pid) == []


def test_kubelet_mounts(kernel: Kernel) -> None:
    """Of the kubelet's children only its mounts in a pod's directory begin something."""
    kernel.probes.name_daemons({"kubelet-of-test": KUBELET})
    kubelet = kernel.daemon("kubelet-of-test")
    volume = f"/var/lib/kubelet/pods/{POD}/volumes/kubernetes.io~projected/token"
    kubelet.run(f"mount -t tmpfs -o size=1m tmpfs {volume}")
    kubelet.run(f"systemd-run --description=x --scope -- mount -t tmpfs tmpfs {volume}")
    kubelet.run(f"umount {volume}")
    assert kernel.seen().decisions() == [Decision.VOLUMES] * 3
    kubelet.run("systemd-run --description=x --scope -- true")
    kubelet.run("mount -t tmpfs tmpfs /var/lib/kubelet/pods")
    kubelet.run(f"du -s {volume}")
    kubelet.run("runc create x")
    assert kernel.seen().decisions() == []
    assert kernel.counted().not_birth == 4
