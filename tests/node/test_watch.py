"""What is noticed of cgroups and what runs in them: in directories made like the kernel's, and in the kernel's own."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from otel_kernel.node import cgroupfs, inotify, watch
from otel_kernel.node.first_process import ProcessSeen, SupervisorSeen
from otel_kernel.node.watch import CgroupEmptied, CgroupSeen, Missed, Observation, Watch
from otel_kernel.pods.sightings import LAYOUT

UID = "761cc4fe-b9b2-4412-b3b9-a857e0faa23e"
ID = "74613af48b047ce285591fcc05b3bede1a305aca8b5d6968e0e6c2e5b2b6a8dd"
POD = f"/kubepods/burstable/pod{UID}"
CONTAINER = f"{POD}/{ID}"


class Host:
    """A host's files: a v2 hierarchy without its kernel, and a /proc."""

    def __init__(self, directory: Path) -> None:
        self.cgroups = directory / "cgroup"
        self.proc = directory / "proc"
        self.cgroups.mkdir()
        self.proc.mkdir()

    def cgroup(self, path: str) -> None:
        """Make a cgroup, and those above it, each with its files."""
        directory = self.cgroups
        for name in path.strip("/").split("/"):
            directory = directory / name
            if not directory.exists():
                directory.mkdir()
                (directory / "cgroup.procs").touch()
                (directory / "cgroup.events").write_text("populated 0\nfrozen 0\n")

    def populate(self, path: str, *pids: int) -> None:
        """Let processes be in a cgroup."""
        (self.cgroups / path.lstrip("/") / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        (self.cgroups / path.lstrip("/") / "cgroup.events").write_text(f"populated {int(bool(pids))}\nfrozen 0\n")

    def remove(self, path: str) -> None:
        """Remove a cgroup."""
        directory = self.cgroups / path.lstrip("/")
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()

    def process(self, pid: int, comm: str, executable: str, parent_pid: int = 1, cgroup: str = "/") -> None:
        """Let a process be there, or change its program."""
        directory = self.proc / str(pid)
        directory.mkdir(exist_ok=True)
        (directory / "stat").write_text(f"{pid} ({comm}) S {parent_pid} {'0 ' * 17}84817 0\n")
        (directory / "cgroup").write_text(f"0::{cgroup}\n")
        (directory / "cmdline").write_text(f"{executable}\0-id\0{ID}\0")
        for link, target in (("exe", executable), ("cwd", f"/run/bundles/{ID}")):
            (directory / link).unlink(missing_ok=True)
            (directory / link).symlink_to(target)

    def watch(self) -> Watch:
        """Return a watch of this host."""
        return Watch(self.cgroups, self.proc, LAYOUT)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host without pods."""
    return Host(tmp_path)


def seen(observations: list[Observation]) -> list[tuple[str, str]]:
    """Return what was told of directories."""
    return [(told.action, told.path) for told in observations if isinstance(told, CgroupSeen)]


def programs(observations: list[Observation]) -> list[tuple[str | None, bool]]:
    """Return which programs were told, and whether they were the runtime's."""
    return [(told.executable, told.is_runtime) for told in observations if isinstance(told, ProcessSeen)]


def test_pods_that_are_there(host: Host) -> None:
    """What is there at the start is told as existing, with its id; not what is inside containers."""
    host.cgroup(f"{CONTAINER}/inner")
    host.cgroup("/system.slice")
    with host.watch() as watching:
        told = watching.poll(0)
    parts = ("/kubepods", "/kubepods/burstable", POD, CONTAINER, "/system.slice")
    assert sorted(seen(told)) == sorted(("existing", path) for path in parts)
    (container,) = [o for o in told if isinstance(o, CgroupSeen) and o.path == CONTAINER]
    assert container.cgroup_id == cgroupfs.cgroup_id(host.cgroups, CONTAINER)


def test_a_pod_made_and_removed(host: Host) -> None:
    """Directories are told in the order in which they come and go, each once, however fast they are made."""
    with host.watch() as watching:
        watching.poll(0)
        host.cgroup(CONTAINER)
        made = [("mkdir", path) for path in ("/kubepods", "/kubepods/burstable", POD, CONTAINER)]
        assert seen(watching.poll(10)) == made
        host.remove(CONTAINER)
        host.remove(POD)
        assert seen(watching.poll(10)) == [("rmdir", CONTAINER), ("rmdir", POD)]
        host.cgroup(POD)
        assert seen(watching.poll(10)) == [("mkdir", POD)]


def test_watches_of_removed_cgroups_are_ended(host: Host) -> None:
    """A watch is ended with its directory: kernfs would keep it for ever."""
    host.cgroup("/kubepods/burstable")
    with host.watch() as watching:
        watching.poll(0)
        before = (set(watching._paths.values()), dict(watching._watches))
        for _ in range(20):
            host.cgroup(CONTAINER)
            watching.poll(10)
            host.remove(CONTAINER)
            host.remove(POD)
            watching.poll(10)
        assert (set(watching._paths.values()), dict(watching._watches)) == before
        assert (watching._awaited, watching._populated) == ({}, set())


def test_programs(host: Host) -> None:
    """A container's runtime is told, then its own program; from then on it is not looked at."""
    host.process(50, "containerd-shim", "/usr/bin/containerd-shim-runc-v2")
    host.process(60, "runc:[2:INIT]", "/", 50, CONTAINER)
    with host.watch() as watching:
        host.cgroup(CONTAINER)
        assert programs(watching.poll(10)) == []
        host.populate(CONTAINER, 60)
        told = watching.poll(10)
        (supervisor,) = [o for o in told if isinstance(o, SupervisorSeen)]
        assert (supervisor.path, supervisor.pid, supervisor.arguments[1:]) == (CONTAINER, 50, ("-id", ID))
        assert supervisor.working_directory == f"/run/bundles/{ID}"
        assert programs(told) == [("/", True)]
        assert list(watching._awaited) == [CONTAINER]
        time.sleep(watch.SHORTEST_LOOK_NS / 1e9)
        assert watching.poll(0) == []  # nothing has changed
        host.process(60, "app", "/bin/app", 50, CONTAINER)
        time.sleep(watch.SHORTEST_LOOK_NS / 1e9)
        assert programs(watching.poll(0)) == [("/bin/app", False)]
        assert watching._awaited == {}
        host.populate(CONTAINER)
        assert [type(o) for o in watching.poll(10)] == [CgroupEmptied]


def test_an_end_of_which_the_start_was_told_too_late(host: Host) -> None:
    """A program that was seen did run: its end is told, though the notice of its start comes when it is over."""
    host.cgroup(CONTAINER)
    with host.watch() as watching:
        watching.poll(0)
        host.process(60, "app", "/bin/app", 1, CONTAINER)
        (host.cgroups / CONTAINER.lstrip("/") / "cgroup.procs").write_text("60\n")
        assert programs(polled(watching, bool)) == [("/bin/app", False)]
        host.populate(CONTAINER)
        assert [type(o) for o in polled(watching, bool)] == [CgroupEmptied]


def test_own_program_beside_the_runtime(host: Host) -> None:
    """A container's own program is told although a `runc exec` is entering the container."""
    host.process(60, "app", "/bin/app", 1, CONTAINER)
    host.process(61, "runc:[2:INIT]", "/", 1, CONTAINER)
    host.cgroup(CONTAINER)
    host.populate(CONTAINER, 61, 60)
    with host.watch() as watching:
        assert programs(watching.poll(0)) == [("/bin/app", False)]


def test_a_pods_program_is_no_supervisor(host: Host) -> None:
    """A container's own program called `containerd-shim` does not say where bundles are."""
    host.process(60, "containerd-shim", "/bin/containerd-shim-runc-v2", 1, CONTAINER)
    host.process(61, "conmon", "/bin/conmon", 60, f"{CONTAINER}/x")
    host.cgroup(CONTAINER)
    host.populate(CONTAINER, 61, 60)
    with host.watch() as watching:
        assert [o for o in watching.poll(0) if isinstance(o, SupervisorSeen)] == []


def test_conmon_in_the_pods_cgroup(host: Host) -> None:
    """CRI-O's monitor is a supervisor although it may lie in the pod's cgroup."""
    host.process(60, "conmon", "/usr/bin/conmon", 1, f"{POD}/crio-conmon-{ID}")
    host.process(61, "app", "/bin/app", 60, f"{POD}/crio-{ID}")
    host.cgroup(f"{POD}/crio-{ID}")
    host.populate(f"{POD}/crio-{ID}", 61)
    with host.watch() as watching:
        assert [o.pid for o in watching.poll(0) if isinstance(o, SupervisorSeen)] == [60]


def test_processes_that_are_gone(host: Host) -> None:
    """A process that ends between two looks tells nothing."""
    host.cgroup(CONTAINER)
    host.populate(CONTAINER, 77)
    with host.watch() as watching:
        assert {type(o) for o in watching.poll(0)} == {CgroupSeen}


def test_lost_notices(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an overflow of the kernel's queue everything is looked at again, and what was missed is said to be."""
    host.cgroup(CONTAINER)
    with host.watch() as watching:
        watching.poll(0)
        host.remove(CONTAINER)
        host.remove(POD)
        host.cgroup("/kubepods/besteffort")
        overflow = [inotify.Change(inotify.Kind.OVERFLOW, -1, "")]
        monkeypatch.setattr(watching._inotify, "changes", lambda: overflow)
        told = watching.poll(0)
    assert [o.reason for o in told if isinstance(o, Missed)] == ["the queue of inotify was full"]
    assert seen(told) == [("rmdir", CONTAINER), ("rmdir", POD), ("mkdir", "/kubepods/besteffort")]


def test_no_watches_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that cannot be watched is said to be, and the others are."""
    with host.watch() as watching:
        watching.poll(0)

        def refuse(_: str) -> int:
            raise OSError(errno.ENOSPC, "no inotify watches are left")

        monkeypatch.setattr(watching._inotify, "watch_directory", refuse)
        host.cgroup("/kubepods")
        told = watching.poll(10)
    assert seen(told) == [("mkdir", "/kubepods")]
    assert [o.reason for o in told if isinstance(o, Missed)] == ["no inotify watches are left"]


def test_no_hierarchy(tmp_path: Path) -> None:
    """A root that is not there is an error at once, and no descriptor stays open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        Watch(tmp_path / "absent", tmp_path, LAYOUT)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def polled(watching: Watch, enough: Callable[[list[Observation]], bool], limit_s: float = 60) -> list[Observation]:
    """Return what is told until it is enough: the kernel delays notices of populated cgroups."""
    deadline = time.monotonic() + limit_s
    told: list[Observation] = []
    while not enough(told) and time.monotonic() < deadline:
        told += watching.poll(0.1)
    return told


@pytest.fixture
def pod_cgroup() -> Iterator[Path]:
    """Return a new pod's directory in the kernel's hierarchy, not made yet; it is removed afterwards."""
    root = cgroupfs.hierarchy(Path("/sys/fs/cgroup")).root
    top = root / f"otel-kernel-test-{os.getpid()}"
    pod = top / "kubepods/burstable" / f"pod{uuid4()}"
    pod.parent.mkdir(parents=True)
    yield pod
    for directory in sorted((path for path in [top, *top.rglob("*")] if path.is_dir()), reverse=True):
        directory.rmdir()


@pytest.mark.root
def test_the_kernels_own_cgroups(pod_cgroup: Path) -> None:
    """In a real hierarchy a pod's cgroups, a program in one, its end and the removal are told as they happen."""
    root = cgroupfs.hierarchy(Path("/sys/fs/cgroup")).root
    pod_path = f"/{pod_cgroup.relative_to(root)}"
    container, container_path = pod_cgroup / ID, f"{pod_path}/{ID}"
    with Watch(root, Path("/proc"), LAYOUT) as watching:
        watching.poll(0)
        container.mkdir(parents=True)
        told = polled(watching, lambda told: len(seen(told)) == 2)
        assert seen(told) == [("mkdir", pod_path), ("mkdir", container_path)]
        assert [o.cgroup_id for o in told if isinstance(o, CgroupSeen)] == [
            pod_cgroup.stat().st_ino,
            container.stat().st_ino,
        ]
        with subprocess.Popen(["sleep", "60"]) as child:
            (container / "cgroup.procs").write_text(str(child.pid))
            told = polled(watching, lambda told: any(isinstance(o, ProcessSeen) for o in told))
            assert [(o.pid, o.is_runtime) for o in told if isinstance(o, ProcessSeen)] == [(child.pid, False)]
            child.kill()
        told = polled(
            watching, lambda told: any(isinstance(o, CgroupEmptied) and o.path == container_path for o in told)
        )
        emptied = [o.path for o in told if isinstance(o, CgroupEmptied) and o.path.startswith(pod_path)]
        assert emptied == [container_path]
        container.rmdir()
        pod_cgroup.rmdir()
        told = polled(watching, lambda told: len(seen(told)) == 2)
        assert seen(told) == [("rmdir", container_path), ("rmdir", pod_path)]
