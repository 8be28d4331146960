"""Strategies for events and facts as hostile as types allow."""

from hypothesis import strategies as st

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.recording import Recorded
from otel_kernel.kernel.events import (
    Call,
    CgroupChange,
    CgroupWrite,
    Decision,
    End,
    Ending,
    Exec,
    Fork,
    Loss,
    Role,
    Throttled,
    Wait,
)
from tests.births.story import NETNS, SANDBOX, SECOND, UID, container_id

APP = container_id("app")
_PATHS = (
    NETNS,
    f"/x/{SANDBOX}/rootfs",
    f"/var/lib/kubelet/pods/{UID}/v",
    f"/y/{APP}/rootfs",
    "/proc/self/fd/7",
    "/",
    "",
)
_CALLS = tuple(
    "clone clone3 fork vfork unshare setns mount umount2 execve execveat pivot_root open_tree open_tree_attr "
    "move_mount fsopen fsconfig fsmount mount_setattr openat".split()
)
_LINES = (
    ("runc", "create", "--bundle", "/b", SANDBOX), ("runc", "create", "--bundle", "/b", APP), ("runc", "start", APP),
    ("runc", "init"), ("containerd-shim-runc-v2", "-id", SANDBOX, "start"), ("containerd-shim-runc-v2", "-id", SANDBOX),
    ("mount", f"/var/lib/kubelet/pods/{UID}/v"), ("umount", f"/var/lib/kubelet/pods/{UID}/v"), ("/app",), (),
)  # fmt: skip
# Few enough that what is told of one process meets what is told of it elsewhere.
_PIDS = st.integers(1, 6)
_STARTS = st.sampled_from([1, 2, 3]).map(lambda second: second * SECOND)
_TIMES = st.integers(0, 8 * SECOND)
_TEXTS = st.one_of(st.sampled_from(_PATHS), st.text(max_size=300, alphabet=st.characters()))
_MAYBE = st.one_of(st.none(), _TEXTS)
_COUNTS = st.integers(0, 2**63)
_REGISTERS = st.tuples(*[st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0x40000000, 0x20000, 1]))] * 6)
_RESULTS = st.one_of(st.none(), st.sampled_from([0, 0, 0, 3, -2, -22, -512, -99_999]), st.integers(-(2**63), 2**63 - 1))
_CGROUPS = st.integers(1, 4)
_IDS = st.sampled_from([SANDBOX, APP, None])
_ENVIRONMENTS = st.sampled_from([(), (("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", SANDBOX), ("CNI_NETNS", NETNS))])


def _times() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(_TIMES, _TIMES).map(lambda pair: (min(pair), max(pair)))


def anything() -> st.SearchStrategy[Recorded]:
    """Return a strategy for any event or fact."""
    calls = st.builds(
        lambda times, *rest: Call(*times, *rest),
        _times(), _PIDS, _STARTS, _PIDS, _PIDS, _CGROUPS, st.sampled_from(Role), st.sampled_from(_CALLS), _RESULTS,
        _REGISTERS, _MAYBE, _MAYBE, _MAYBE, _MAYBE, st.integers(0, 6), st.sampled_from([(), (("net", 4),)]),
        st.integers(0, 2),
    )  # fmt: skip
    waits = st.builds(
        lambda times, *rest: Wait(*times, *rest),
        _times(), _PIDS, _STARTS, _PIDS, _CGROUPS, st.sampled_from(["read", "futex", "openat"]), _RESULTS, _REGISTERS,
        _MAYBE,
    )  # fmt: skip
    execs = st.builds(
        Exec, _TIMES, _PIDS, _STARTS, _PIDS, _STARTS, _PIDS, _PIDS, st.sampled_from(Decision), _CGROUPS, _TEXTS,
        st.sampled_from(_LINES), _ENVIRONMENTS, _TEXTS, st.booleans(),
    )  # fmt: skip
    forks = st.builds(
        Fork, _TIMES, _PIDS, _STARTS, _PIDS, _STARTS, _PIDS, _PIDS, st.sampled_from([0, 0x8000]), _CGROUPS
    )
    ends = st.builds(
        End, _TIMES, _PIDS, _STARTS, st.sampled_from(Ending), st.sampled_from([0, 9, 256]), _COUNTS, _COUNTS, _COUNTS,
        _COUNTS, _COUNTS,
    )  # fmt: skip
    changes = st.builds(CgroupChange, _TIMES, st.sampled_from(["mkdir", "rmdir", "attach"]), _CGROUPS, _TEXTS, _PIDS)
    writes = st.builds(CgroupWrite, _TIMES, _PIDS, _STARTS, _PIDS, _TEXTS)
    intervals = st.builds(
        lambda times, *rest: Throttled(*times, *rest), _times(), _CGROUPS, st.integers(0, 2**32), _COUNTS
    )
    return st.one_of(
        calls, waits, execs, forks, ends, changes, writes, intervals, st.builds(Loss, _TIMES, _COUNTS, _COUNTS), facts()
    )


def facts() -> st.SearchStrategy[ContainerFacts]:
    """Return a strategy for facts."""
    return st.builds(
        ContainerFacts,
        ns=_TIMES,
        source=st.sampled_from(["cgroup-path", "oci-bundle", "cni-env", "cri"]),
        container_id=_IDS,
        sandbox_id=st.sampled_from([SANDBOX, None]),
        is_sandbox=st.sampled_from([True, False, None]),
        pod_uid=st.sampled_from([UID, "0" * 32, None]),
        pod_name=_MAYBE,
        container_name=_MAYBE,
        network_namespace=_MAYBE,
        runtime_name=st.sampled_from(["containerd", "cri-o", None]),
        cgroup_id=st.one_of(st.none(), _CGROUPS),
        not_kubernetes=st.booleans(),
        failure=st.one_of(st.none(), st.just("missing")),
    )
