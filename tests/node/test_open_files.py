"""Files that are kept open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_kernel.node import open_files
from otel_kernel.node.open_files import OpenFiles, Place

UNIFIED = Path("/sys/fs/cgroup/unified") if Path("/sys/fs/cgroup/unified").exists() else Path("/sys/fs/cgroup")

A = Place(0, "", "a")


@pytest.fixture
def files() -> Iterator[OpenFiles]:
    """Return files of which two are kept open."""
    files = OpenFiles(2)
    assert files.place("", "a") == A
    yield files
    files.close()
    assert len(files) == 0


def test_a_file_that_is_kept_open_is_read_anew(files: OpenFiles, tmp_path: Path) -> None:
    """What was read before is not told again."""
    (tmp_path / "a").write_text("1\n")
    assert files.parsed(str(tmp_path), A, bytes) == b"1\n"
    (tmp_path / "a").write_text("22\n")
    assert files.parsed(str(tmp_path), A, bytes) == b"22\n"
    assert len(files) == 1


def test_no_more_than_the_limit_are_kept_open(files: OpenFiles, tmp_path: Path) -> None:
    """Beyond the limit, files are read all the same."""
    for name in "abcd":
        (tmp_path / name).write_text(name)
    before = descriptors()
    places = [files.place("", name) for name in "abcd"]
    assert [files.parsed(str(tmp_path), place, bytes) for place in places] == [b"a", b"b", b"c", b"d"]
    assert descriptors() == before + 2 == before + len(files)


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_is_forgotten_is_closed(files: OpenFiles, tmp_path: Path) -> None:
    """A directory that is forgotten holds no descriptor; one that was never read may be forgotten too."""
    (tmp_path / "a").write_text("1")
    files.parsed(str(tmp_path), A, bytes)
    files.forget(str(tmp_path))
    files.forget("/nowhere")
    assert len(files) == 0


def test_what_is_not_there_raises(files: OpenFiles, tmp_path: Path) -> None:
    """A file that is not there is told as such, and leaves nothing open."""
    with pytest.raises(FileNotFoundError):
        files.parsed(str(tmp_path), files.place("", "nothing"), bytes)
    assert len(files) == 0


def test_long_content_is_read_whole(files: OpenFiles, tmp_path: Path) -> None:
    """A content of many pages is read to its end, and one without end is not."""
    (tmp_path / "long").write_bytes(b"x" * 100_000)
    assert len(files.parsed(str(tmp_path), files.place("", "long"), bytes)) == 100_000
    assert len(open_files.read("/dev/zero")) == 4 << 20


@pytest.mark.root
def test_a_cgroup_of_the_same_name_is_another(files: OpenFiles) -> None:
    """When a cgroup is removed and made again, what is read is the new one's; when it is not, that is told."""
    directory = UNIFIED / f"otel_kernel_test_{os.getpid()}"
    procs = files.place("", "cgroup.procs")
    directory.mkdir()
    assert files.parsed(str(directory), procs, bytes) == b""
    directory.rmdir()
    directory.mkdir()
    assert files.parsed(str(directory), procs, bytes) == b""
    directory.rmdir()
    with pytest.raises(FileNotFoundError):
        files.parsed(str(directory), procs, bytes)


@pytest.mark.root
def test_hundreds_of_processes_are_all_read(files: OpenFiles) -> None:
    """A file of records gives a page at a time; every record is read."""
    shown = len(files.parsed("/proc", files.place("", "kallsyms"), bytes))
    assert shown > 1 << 20
