"""What was compiled once is kept, and loads without a compiler."""

import os
import struct
from pathlib import Path
from unittest.mock import Mock

import pytest

from otel_kernel.kernel import bpf, compiled, loader
from otel_kernel.kernel.compiled import Compiled
from otel_kernel.kernel.probes import Sizes

LOAD_MAP = struct.pack("<BBhi", 0x18, 1 << 4, 0, 7)  # r0 = the map that 7 stands for
LOAD_NUMBER = struct.pack("<BBhi", 0x18, 0, 0, 7)
KEPT = Compiled({"on_exec": LOAD_MAP}, (bpf.Shape("records", 27, 0, 0, 4096, 0),), {"records": [["ns", 0, 8]]})


def test_only_references_to_maps_are_replaced() -> None:
    """A number that happens to equal a descriptor stays what it is."""
    replaced = compiled.by_place(LOAD_MAP + LOAD_NUMBER, {7: 2})
    assert replaced == struct.pack("<BBhi", 0x18, 1 << 4, 0, 2) + LOAD_NUMBER


def test_what_was_kept_is_fetched(tmp_path: Path) -> None:
    """Compiled programs come back as they were, under their own key only."""
    compiled.keep(tmp_path, "one", KEPT)
    assert compiled.fetch(tmp_path, "one") == KEPT
    assert compiled.fetch(tmp_path, "two") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"programs": 1}', b'{"programs": {"a": "?"}, "maps": 1}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file, the worst that comes of it is that the compiler runs."""
    compiled.keep(tmp_path, "one", KEPT)
    (tmp_path / "programs-one.json").write_bytes(content)
    assert compiled.fetch(tmp_path, "one") is None


def test_a_file_that_others_may_write_counts_as_none(tmp_path: Path) -> None:
    """Code for the kernel is taken from nobody else."""
    compiled.keep(tmp_path, "one", KEPT)
    (tmp_path / "programs-one.json").chmod(0o666)
    assert compiled.fetch(tmp_path, "one") is None


def test_only_the_latest_are_kept(tmp_path: Path) -> None:
    """Each new kernel or version leaves a file; old ones go."""
    for number in range(9):
        compiled.keep(tmp_path, str(number), KEPT)
        os.utime(tmp_path / f"programs-{number}.json", (number, number))
    compiled.keep(tmp_path, "last", KEPT)
    assert len(list(tmp_path.glob("programs-*.json"))) <= 5  # four generations and the newest
    assert compiled.fetch(tmp_path, "last") == KEPT


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    """No directory, no cache: nothing is raised."""
    compiled.keep(tmp_path / "absent", "one", KEPT)
    assert compiled.fetch(tmp_path / "absent", "one") is None


@pytest.mark.root
def test_the_second_start_needs_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once compiled, everything loads without BCC; another size is compiled anew."""
    definitions = Sizes(ring_pages=8).definitions()
    first, descriptors = loader.load(definitions, tmp_path)
    for fd in descriptors:
        os.close(fd)
    monkeypatch.setattr(loader, "compile_programs", Mock(side_effect=ImportError("no compiler")))
    again, descriptors = loader.load(definitions, tmp_path)
    assert again == first
    assert len(descriptors) == len(loader.PROGRAMS) + len(loader.MAPS)
    for fd in descriptors:
        os.close(fd)
    with pytest.raises(ImportError):
        loader.load(Sizes(ring_pages=16).definitions(), tmp_path)


@pytest.mark.root
def test_what_the_verifier_refuses_is_named() -> None:
    """A program that the kernel does not take is refused with its name and the verifier's last word."""
    returns_nothing = struct.pack("<BBhi", 0x95, 0, 0, 0)  # exit, with no value in r0
    with pytest.raises(OSError, match=r"program broken: Permission denied: .*R0"):
        bpf.load_program("broken", returns_nothing)
