"""Pods' cgroups, whoever makes them, and the writes to their files."""

import os
import subprocess
from pathlib import Path

import pytest

from otel_kernel.kernel.events import CgroupChange, CgroupWrite
from tests.kernel.actors import TELL, Daemon, Kernel, call
from tests.kernel.pod_cgroups import PodCgroup, v2_hierarchy

pytestmark = pytest.mark.root


def test_any_task_makes_them(kernel: Kernel, pod: PodCgroup) -> None:
    """A pod's cgroup and those below it are told when made, joined and removed, by any task, with v2's id and path."""
    ids = {pod.relative(path): path.stat().st_ino for path in (pod.path, pod.leaf)}
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        (pod.leaf / "cgroup.procs").write_text(str(process.pid))
    pod.remove()
    told = [event for event in kernel.seen().of(CgroupChange) if pod.uid in event.path]
    path, leaf = ids
    me = os.getpid()
    assert [(each.action, each.path, each.pid) for each in told] == [
        ("mkdir", path, me),
        ("mkdir", leaf, me),
        ("attach", leaf, process.pid),
        ("rmdir", leaf, me),
        ("rmdir", path, me),
    ]
    assert all(each.cgroup_id == ids[each.path] for each in told)


@pytest.mark.parametrize(
    ("name", "is_pod"),
    [
        ("kubepods-besteffort-pod0b5aa2a1_52c5_4e0d_9f0a_0d7b3c1c2d3e.slice", True),
        ("kubepods-pod0b5aa2a1_52c5_4e0d_9f0a_0d7b3c1c2d3e.slice", True),
        ("pod0123456789abcdef0123456789abcdef", True),  # static
        ("libpod-0b5aa2a152c54e0d9f0a0d7b3c1c2d3e.scope", False),
        ("pods-of-someone", False),
        ("system-pod.slice", False),
        ("podcast", False),
    ],
)
def test_names(kernel: Kernel, name: str, is_pod: bool) -> None:
    """A cgroup is a pod's by its name, of the kubelet's or of systemd's making, wherever it lies."""
    hierarchy = v2_hierarchy()
    if hierarchy is None:
        pytest.skip("needs a cgroup v2 hierarchy")
    directory = hierarchy / name
    directory.mkdir()
    directory.rmdir()
    told = [event.action for event in kernel.seen().of(CgroupChange) if name in event.path]
    assert told == ["mkdir", "rmdir"] * is_pod


def test_other_hierarchies_are_silent(kernel: Kernel) -> None:
    """The same directory in a v1 hierarchy says nothing: its ids are another hierarchy's."""
    hierarchy = Path("/sys/fs/cgroup/cpu")
    if not (hierarchy / "cgroup.procs").exists() or hierarchy == v2_hierarchy():
        pytest.skip("no v1 hierarchy")
    directory = hierarchy / "pod0b5aa2a1-52c5-4e0d-9f0a-0d7b3c1c2d3e"
    directory.mkdir()
    directory.rmdir()
    assert [event for event in kernel.seen().of(CgroupChange) if directory.name in event.path] == []


def test_known_before(kernel: Kernel, pod: PodCgroup) -> None:
    """What lies below a pod's cgroup that was told to the kernel side is the pod's, without its own name."""
    outside = pod.path.parent / f"by-hand-{os.getpid()}"
    outside.mkdir()
    try:
        kernel.probes.add_pod_cgroup(outside.stat().st_ino, 1)
        kernel.seen()
        (outside / "below").mkdir()
        (outside / "below").rmdir()
    finally:
        outside.rmdir()
    told = [(event.action, event.path) for event in kernel.seen().of(CgroupChange) if outside.name in event.path]
    below = pod.relative(outside / "below")
    assert told == [("mkdir", below), ("rmdir", below), ("rmdir", pod.relative(outside))]


def test_writes_of_a_lineage(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """Successful writes to cgroup files are counted by their file system, also when opened relative to a directory."""
    (tmp_path / "cgroup.procs").touch()
    steps = (
        ("write", pod.leaf / "cgroup.procs", "0"),
        ("write-at", pod.leaf, "cgroup.max.depth", "5"),
        ("write-at", pod.leaf, "cgroup.max.depth", "max"),
        ("write", tmp_path / "cgroup.procs", "0"),
    )
    ran = daemon.run("runc create x", *steps)
    seen = kernel.seen()
    assert seen.end(ran.pid).cgroup_writes == 3
    assert seen.of(CgroupWrite) == []


def test_failing_write(daemon: Daemon, kernel: Kernel, pod: PodCgroup) -> None:
    """A write that the cgroup refuses is not counted."""
    opened = call("openat", -100, f"s:{pod.leaf / 'cgroup.max.depth'}", os.O_WRONLY)
    ran = daemon.run("runc create x", opened, call("write", "r", "s:nonsense", 8), TELL)
    assert ran.told == (3, -22)
    assert kernel.seen().end(ran.pid).cgroup_writes == 0


def test_writes_of_a_daemon(daemon: Daemon, kernel: Kernel, pod: PodCgroup, tmp_path: Path) -> None:
    """A daemon's write is told with the file's path, also when opened relative to a directory; other files are not."""
    (tmp_path / "x").touch()
    daemon.do(("write-at", pod.leaf, "cgroup.max.depth", "5"), ("write", tmp_path / "x", "5"))
    told = kernel.seen().of(CgroupWrite)
    assert [(each.pid, each.thread_id, each.path) for each in told] == [
        (daemon.pid, daemon.pid, str(pod.leaf / "cgroup.max.depth"))
    ]
