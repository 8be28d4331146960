"""The kernel's own notices, of real directories."""

import os
from pathlib import Path

import pytest

from otel_kernel.node.inotify import Change, Inotify, Kind, _decode


def test_directories(tmp_path: Path) -> None:
    """Directories made and removed are told in their order; files are not."""
    with Inotify() as inotify:
        watch = inotify.watch_directory(str(tmp_path))
        (tmp_path / "a").mkdir()
        (tmp_path / "file").touch()
        (tmp_path / "\udcff").mkdir()
        (tmp_path / "a").rmdir()
        assert inotify.wait(10)
        told = [(Kind.MADE, "a"), (Kind.MADE, "\udcff"), (Kind.REMOVED, "a")]
        assert inotify.changes() == [Change(kind, watch, name) for kind, name in told]
        assert not inotify.wait(0)
        assert inotify.changes() == []


def test_file(tmp_path: Path) -> None:
    """A watched file's new content is told."""
    file = tmp_path / "file"
    file.write_text("1")
    with Inotify() as inotify:
        watch = inotify.watch_file(str(file))
        file.write_text("2")
        assert Change(Kind.MODIFIED, watch, "") in inotify.changes()


def test_unwatch(tmp_path: Path) -> None:
    """A watch that was ended tells its end and nothing more; ended again it is no error."""
    with Inotify() as inotify:
        watch = inotify.watch_directory(str(tmp_path))
        inotify.unwatch(watch)
        inotify.unwatch(watch)
        (tmp_path / "a").mkdir()
        assert inotify.changes() == [Change(Kind.ENDED, watch, "")]


def test_many(tmp_path: Path) -> None:
    """More changes than one read holds are all told."""
    with Inotify() as inotify:
        inotify.watch_directory(str(tmp_path))
        names = [f"{number:0200}" for number in range(1009)]
        for name in names:
            (tmp_path / name).mkdir()
        assert [change.name for change in inotify.changes()] == names


def test_overflow(tmp_path: Path) -> None:
    """When the kernel's queue was full, that is told after what it held."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with Inotify() as inotify:
        inotify.watch_directory(str(tmp_path))
        first, second = tmp_path / "a", tmp_path / "b"
        for _ in range(limit // 4 + 1):  # equal events in a row are one, so two directories take turns
            first.mkdir()
            second.mkdir()
            first.rmdir()
            second.rmdir()
        changes = inotify.changes()
    assert len(changes) == limit + 1
    assert changes[-1] == Change(Kind.OVERFLOW, -1, "")


@pytest.mark.parametrize("name", ["absent", "file", "link"])
def test_what_is_no_directory(tmp_path: Path, name: str) -> None:
    """What is absent, a file or a link cannot be watched as a directory."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with Inotify() as inotify, pytest.raises(OSError, match=name):
        inotify.watch_directory(str(tmp_path / name))


def test_closed() -> None:
    """Closing gives the descriptor back, and a second time does nothing."""
    inotify = Inotify()
    descriptor = inotify.fileno()
    inotify.close()
    inotify.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_no_instance_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal by the kernel is an error."""
    monkeypatch.setattr("otel_kernel.node.inotify._libc.inotify_init1", lambda _: -1)
    with pytest.raises(OSError):  # noqa: PT011 - errno is whatever the last call left
        Inotify()


def test_unknown_events_are_left_out() -> None:
    """An event that was not asked for tells nothing."""
    unmount = (1).to_bytes(4, "little") + (0x2000).to_bytes(4, "little") + bytes(8)
    assert _decode(unmount) == []
