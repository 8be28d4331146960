"""Hierarchies as hosts mount them."""

from pathlib import Path

import pytest

from otel_kernel.node import cgroupfs
from otel_kernel.node.cgroupfs import Hierarchy, Kind, NoCgroupsError


def cgroup(root: Path, path: str, pids: str = "", populated: int = 0) -> None:
    """Make a v2 cgroup with the files that are read of it."""
    directory = root / path.lstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "cgroup.controllers").write_text("cpu memory\n")
    (directory / "cgroup.procs").write_text(pids)
    (directory / "cgroup.events").write_text(f"populated {populated}\nfrozen 0\n")


def test_v2(tmp_path: Path) -> None:
    """A root that is v2 itself is the hierarchy."""
    cgroup(tmp_path, "")
    assert cgroupfs.hierarchy(tmp_path) == Hierarchy(Kind.V2, tmp_path)


def test_hybrid(tmp_path: Path) -> None:
    """Beside v1 controllers, v2 is the one to look at."""
    cgroup(tmp_path, "unified")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/cgroup.procs").touch()
    assert cgroupfs.hierarchy(tmp_path) == Hierarchy(Kind.HYBRID, tmp_path / "unified")


def test_v1(tmp_path: Path) -> None:
    """Without v2 a controller's hierarchy shows the same pods."""
    for controller in ("memory", "cpuset"):
        (tmp_path / controller).mkdir()
        (tmp_path / controller / "cgroup.procs").touch()
    assert cgroupfs.hierarchy(tmp_path) == Hierarchy(Kind.V1, tmp_path / "memory")


@pytest.mark.parametrize("name", ["absent", "empty"])
def test_none(tmp_path: Path, name: str) -> None:
    """Where no hierarchy is mounted, one line says so."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoCgroupsError, match=f"^no cgroup hierarchy is mounted at {tmp_path / name}$"):
        cgroupfs.hierarchy(tmp_path / name)


def test_walk(tmp_path: Path) -> None:
    """Directories come with their ids, parents first, and nothing from below where one need not look."""
    for path in ("/kubepods/pod1/abc/inner", "/kubepods/pod2", "/system.slice"):
        cgroup(tmp_path, path)
    (tmp_path / "loop").symlink_to(tmp_path)
    found = {path: number for number, path in cgroupfs.walk(tmp_path, lambda path: not path.endswith("abc"))}
    assert set(found) == {"/kubepods", "/kubepods/pod1", "/kubepods/pod1/abc", "/kubepods/pod2", "/system.slice"}
    assert (
        found["/kubepods/pod1"]
        == (tmp_path / "kubepods/pod1").stat().st_ino
        == cgroupfs.cgroup_id(tmp_path, "/kubepods/pod1")
    )
    assert list(found).index("/kubepods") < list(found).index("/kubepods/pod1")


def test_children_in_the_order_of_their_making(tmp_path: Path) -> None:
    """The kernel gives ids in turn: names tell nothing, and directories are read in no order."""
    for name in ("m", "z", "a", "k"):
        cgroup(tmp_path, f"/{name}")
    told = cgroupfs.children(tmp_path, "")
    assert [number for number, _ in told] == sorted((tmp_path / name).stat().st_ino for name in "mzak")


def test_gone(tmp_path: Path) -> None:
    """A cgroup that is gone has neither id nor children nor processes."""
    assert cgroupfs.cgroup_id(tmp_path, "/x") is None
    assert cgroupfs.children(tmp_path, "/x") == []
    assert cgroupfs.processes(tmp_path, "/x") == ()
    assert not cgroupfs.is_populated(tmp_path, "/x")


def test_processes(tmp_path: Path) -> None:
    """Processes are told without those of other PID namespaces; crun's lie one directory further down."""
    cgroup(tmp_path, "/a", "12\n0\n7\n", 1)
    cgroup(tmp_path, "/b")
    cgroup(tmp_path, "/b/container", "5\n")
    assert (cgroupfs.processes(tmp_path, "/a"), cgroupfs.processes(tmp_path, "/b")) == ((12, 7), (5,))
    assert (cgroupfs.is_populated(tmp_path, "/a"), cgroupfs.is_populated(tmp_path, "/b")) == (True, False)
