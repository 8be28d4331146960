"""Addresses of code as names: the kernel's by /proc/kallsyms, a process's by its maps and its files' symbol tables.

What has no name stays `file+0xoffset`, which a person with the file's debug symbols can go on with. Sources: proc(5),
elf(5).
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_TABLE_BYTES_MAX = 16 << 20  # of one file's symbols and their names: a larger one is not read
_SYMTAB, _DYNSYM, _FUNCTION, _LOAD = 2, 11, 2, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


class Symbols(NamedTuple):
    """Names by where their code begins, in ascending order."""

    starts: tuple[int, ...]
    names: tuple[str, ...]

    def name(self, address: int) -> str | None:
        """Return the name of what lies there; None before the first."""
        at = bisect_right(self.starts, address) - 1
        return self.names[at] if at >= 0 and self.starts[at] else None


class _Mapped(NamedTuple):
    start: int
    end: int
    offset: int
    path: str


def kernel_symbols(proc_root: Path) -> Symbols:
    """Return the kernel's functions; none where it does not tell their addresses (CAP_SYSLOG). Raises OSError."""
    found = []
    with (proc_root / "kallsyms").open(encoding="ascii") as lines:
        for line in lines:
            address, kind, name, *_ = line.split()
            if kind in "tTwW":
                found.append((int(address, 16), name))
    found.sort()
    return Symbols(tuple(address for address, _ in found), tuple(name for _, name in found))


def user_frames(proc_root: Path, pid: int, addresses: tuple[int, ...]) -> tuple[str, ...]:
    """Return what a process's addresses are called; `unknown` where it is gone."""
    try:
        mapped = _maps((proc_root / str(pid) / "maps").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ("unknown",) * len(addresses)
    return tuple(_frame(proc_root / str(pid), mapped, address) for address in addresses)


def _maps(text: str) -> list[_Mapped]:
    found = []
    for line in text.splitlines():
        span, _, offset, _, _, *path = line.split(None, 5)
        start, end = (int(each, 16) for each in span.split("-"))
        found.append(_Mapped(start, end, int(offset, 16), path[0] if path else ""))
    return found


def _frame(process: Path, mapped: list[_Mapped], address: int) -> str:
    of = next((each for each in mapped if each.start <= address < each.end), None)
    if of is None or not of.path.startswith("/"):
        return of.path or "unknown" if of is not None else "unknown"
    offset = address - of.start + of.offset
    where = process / "map_files" / f"{of.start:x}-{of.end:x}"
    try:
        about = where.stat()
        name = _file_symbols(str(where), about.st_dev, about.st_ino, about.st_mtime_ns).name(offset)
    except (OSError, struct.error, ValueError):
        name = None
    return name or f"{of.path.rpartition('/')[2]}+{offset:#x}"


@lru_cache(maxsize=32)
def _file_symbols(path: str, _device: int, _inode: int, _mtime_ns: int) -> Symbols:
    """Return a file's functions by their offset in it. The rest of the key tells files apart that one path has been."""
    with Path(path).open("rb") as file:
        head = file.read(_HEADER.size)
        ident, _, _, _, _, segments_at, sections_at, _, _, _, segments, _, sections, _ = _HEADER.unpack(head)
        if not ident.startswith(b"\x7fELF\x02\x01"):
            return Symbols((), ())

        def read(at: int, size: int) -> bytes:
            if size > _TABLE_BYTES_MAX:
                raise ValueError(size)
            file.seek(at)
            return file.read(size)

        loads = [each for each in _SEGMENT.iter_unpack(read(segments_at, segments * _SEGMENT.size)) if each[0] == _LOAD]
        table = list(_SECTION.iter_unpack(read(sections_at, sections * _SECTION.size)))
        for kind in (_SYMTAB, _DYNSYM):
            for _, type_, _, _, at, size, link, *_ in table:
                if type_ == kind:
                    names = read(table[link][4], table[link][5])
                    found = sorted(_functions(read(at, size), names, loads))
                    return Symbols(tuple(each for each, _ in found), tuple(name for _, name in found))
    return Symbols((), ())


def _functions(table: bytes, names: bytes, loads: list[tuple[int, ...]]) -> Iterator[tuple[int, str]]:
    for name_at, info, _, section, value, _ in _SYMBOL.iter_unpack(table):
        if info & 15 != _FUNCTION or not section:
            continue
        for _, _, offset, address, _, size, *_ in loads:
            if address <= value < address + size:
                end = names.index(b"\0", name_at)
                yield value - address + offset, names[name_at:end].decode("utf-8", "replace")
