"""One process's directory in /proc, held open: what is read through it is that process's, whoever gets its PID later.

Source: fs/proc/base.c - a look-up in the directory of a process that has been reaped fails with ESRCH or ENOENT.
"""

import errno
import os
from pathlib import Path

from otel_kernel.node import open_files

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")


class ProcessDirectory:
    """/proc/<pid>. Owns its descriptor. Every method raises OSError when the process is gone or may not be asked."""

    def __init__(self, proc_root: Path, pid: int) -> None:
        self._descriptor = os.open(proc_root / str(pid), _FLAGS)

    def close(self) -> None:
        """Let go of the process."""
        os.close(self._descriptor)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._descriptor)
        try:
            return open_files.content(descriptor)
        finally:
            os.close(descriptor)

    def cgroups(self) -> list[str]:
        """Return its paths in all hierarchies."""
        fields = (line.split(":", 2) for line in os.fsdecode(self.read("cgroup")).splitlines())
        return [field[2] for field in fields if len(field) == 3]  # noqa: PLR2004 - cgroups(7): id, controllers, path

    def mounts(self) -> int:
        """Return how many mounts it sees (proc_pid_mountinfo(5)).

        One that is ending has no namespaces any more, which the kernel calls EINVAL here (fs/proc_namespace.c:
        mounts_open_common).
        """
        try:
            return self.read("mountinfo").count(b"\n")
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
            raise

    def namespaces(self) -> dict[str, int]:
        """Return the inode numbers of its namespaces; of the kinds that this kernel has."""
        found = {}
        for kind in NAMESPACES:
            try:
                found[kind] = os.stat(f"ns/{kind}", dir_fd=self._descriptor).st_ino
            except FileNotFoundError:  # `time` came with 5.6; a process that is gone has no `mnt` either
                if kind == "mnt":
                    raise
        return found

    def network_namespace(self) -> int:
        """Return the inode number of its network namespace."""
        return os.stat("ns/net", dir_fd=self._descriptor).st_ino

    def open_network_namespace(self) -> int:
        """Return a descriptor of its network namespace, which keeps that alive; the caller's to close."""
        return os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._descriptor)
