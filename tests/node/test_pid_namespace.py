"""Whose PIDs a /proc shows, seen from both sides of a PID namespace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_kernel.node import pid_namespace
from otel_kernel.node.cgroup_members import CgroupMembers

PROC = Path("/proc")
NAMESPACE = ("unshare", "--mount", "--pid", "--fork", "--mount-proc")
ASK = """
import sys
from pathlib import Path
from otel_kernel.node import pid_namespace
print(*(ask(Path(sys.argv[1])) for ask in (pid_namespace.shows_kernels, pid_namespace.shows_ours)))
"""


def asked(prefix: tuple[str, ...], proc_root: Path) -> list[str]:
    """Return what a process that begins so is told of a /proc."""
    command = [*prefix, sys.executable, "-c", ASK, str(proc_root)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()


@pytest.mark.root
def test_inside_and_outside(tmp_path: Path) -> None:
    """The kernel's PIDs are in the host's /proc alone; those of cgroup.procs in that of the reader's namespace."""
    assert asked((), PROC) == ["True", "True"]
    assert asked(NAMESPACE, PROC) == ["False", "True"]
    bind = ("unshare", "--mount", "sh", "-c", f'mount --bind /proc {tmp_path} && exec "$@"', "sh")
    assert asked((*bind, *NAMESPACE), tmp_path) == ["True", "False"]


def test_what_is_no_proc(tmp_path: Path) -> None:
    """An empty directory shows nobody's."""
    assert not pid_namespace.shows_kernels(tmp_path)
    assert not pid_namespace.shows_ours(tmp_path)


def process(proc: Path, pid: int, *paths: str) -> None:
    """Write what /proc says of a process in these cgroups."""
    (proc / str(pid)).mkdir()
    lines = [f"{number}:controller-{number}:{path}" for number, path in enumerate(paths)]
    (proc / str(pid) / "cgroup").write_text("\n".join(lines))


def test_members_where_cgroup_procs_cannot_tell(tmp_path: Path) -> None:
    """Each process is asked; one directory further down as well, and each once."""
    process(tmp_path, 10, "/kubepods/a", "/kubepods/a")
    process(tmp_path, 11, "/kubepods/a", "/kubepods/b")
    process(tmp_path, 12, "/kubepods/c/container")
    process(tmp_path, 13, "/")
    members = CgroupMembers(Path("/sys/fs/cgroup"), tmp_path)
    assert not members.in_cgroup_procs
    assert sorted(members.of("/kubepods/a")) == [10, 11]
    assert members.of("/kubepods/b") == (11,)
    assert members.of("/kubepods/c") == (12,)
    assert members.of("/kubepods") == ()


def test_members_are_looked_for_again(tmp_path: Path) -> None:
    """What came later is found, though not at once."""
    members = CgroupMembers(Path("/sys/fs/cgroup"), tmp_path)
    assert members.of("/a") == ()
    process(tmp_path, os.getpid(), "/a")
    while not members.of("/a"):
        pass
    assert members.of("/a") == (os.getpid(),)
