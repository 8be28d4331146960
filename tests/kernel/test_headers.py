"""The stand-in for kernel headers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_kernel.kernel import headers


def test_made_once(tmp_path: Path) -> None:
    """What was made is used again, and holds what BCC asks for."""
    first = headers.make(tmp_path / "cache")
    made = (first / "include" / "linux" / "types.h").stat().st_mtime_ns
    assert headers.make(tmp_path / "cache") == first
    assert (first / "include" / "linux" / "types.h").stat().st_mtime_ns == made
    for name in ("include/linux/kconfig.h", "include/uapi/linux/mount.h", "include/uapi/asm/unistd.h", "arch"):
        assert (first / name).exists()
    assert (first / "include" / "uapi" / "linux" / "bpf.h").read_text() == ""  # BCC brings its own


def test_made_by_several_at_once(tmp_path: Path) -> None:
    """Agents that start at the same moment get the same whole directory, and leave nothing else."""
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: headers.make(tmp_path), range(16)))
    (directory,) = made
    assert list(tmp_path.iterdir()) == [directory]
    assert (directory / "include" / "uapi" / "linux" / "mount.h").exists()


def test_made_anew_when_its_links_are_dead(tmp_path: Path) -> None:
    """A directory whose links lead nowhere, of headers that were removed and installed again elsewhere, is replaced."""
    directory = headers.make(tmp_path)
    link = directory / "include" / "uapi" / "asm"
    link.unlink()
    link.symlink_to("/nonexistent")
    assert headers.make(tmp_path) == directory
    assert link.exists()


def test_another_version_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgraded agent does not take the texts of the one before."""
    before = headers.make(tmp_path)
    monkeypatch.setattr(headers, "_VERSION", "another")
    assert headers.make(tmp_path) != before


def test_no_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libc's headers the error names the directory and the package."""
    monkeypatch.setattr(headers, "UAPI", tmp_path / "include")
    with pytest.raises(headers.HeadersMissingError, match=r"include \(Debian: package linux-libc-dev\)"):
        headers.make(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
