"""Where a process listens on Unix sockets (proc_pid_net(5), net/unix/af_unix.c: unix_seq_show)."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTENING = 0x10000  # __SO_ACCEPTCON
_COLUMNS = 8  # Num RefCount Protocol Flags Type St Inode Path


def listening(proc_root: Path, pid: int) -> list[str]:
    """Return the paths at which a process listens, as it named them; none when it is gone or may not be looked at."""
    own = set(_inodes(proc_root / str(pid) / "fd"))
    try:
        lines = (proc_root / str(pid) / "net/unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return []
    columns = (line.split(maxsplit=_COLUMNS - 1) for line in lines)
    return [
        each[-1]
        for each in columns
        if len(each) == _COLUMNS and each[6] in own and int(each[3], 16) & _LISTENING and each[-1].startswith("/")
    ]


def _inodes(directory: Path) -> Iterator[str]:
    with suppress(OSError):
        for entry in directory.iterdir():
            with suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]
