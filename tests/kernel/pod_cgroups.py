"""Cgroups named like a pod's, made by hand in the v2 hierarchy."""

import contextlib
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self


def v2_hierarchy() -> Path | None:
    """Return where the v2 hierarchy is mounted."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)


class PodCgroup:
    """A pod's cgroup with one container's below it. Owns the directories."""

    def __init__(self, hierarchy: Path) -> None:
        self.uid = str(uuid.uuid4())
        self.container_id = uuid.uuid4().hex * 2
        self.path = hierarchy / "kubepods" / "burstable" / f"pod{self.uid}"
        self.leaf = self.path / self.container_id
        self._hierarchy = hierarchy

    def __enter__(self) -> Self:
        self.leaf.mkdir(parents=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()

    def remove(self) -> None:
        """Remove the directories; those above only when nobody else has pods."""
        for directory in (self.leaf, self.path):
            if directory.is_dir():
                _remove(directory)
        for directory in (self.path.parent, self.path.parent.parent):
            with contextlib.suppress(OSError):
                directory.rmdir()

    def relative(self, path: Path) -> str:
        """Return a path as the kernel tells it: from the hierarchy's root."""
        return f"/{path.relative_to(self._hierarchy)}"

    def run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a program inside the container's cgroup: a pod's own process, nobody's child that we follow."""
        shell = f'echo 0 > {self.leaf}/cgroup.procs; exec "$@"'
        return subprocess.run(["sh", "-c", shell, "sh", *words], capture_output=True, text=True, check=True, timeout=20)


def _remove(directory: Path) -> None:
    """A cgroup is busy for a moment after its last process was reaped."""
    deadline = time.monotonic() + 5
    while True:
        try:
            directory.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
