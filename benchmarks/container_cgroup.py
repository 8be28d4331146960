"""A pod's cgroup with one container's in it, of which nobody knows more than its path."""

import contextlib
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path

from otel_kernel.node import cgroupfs

CGROUP_ROOT = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def made() -> Iterator[Path]:
    """Make the container's cgroup and return its directory, for as long as the context lasts. Raises OSError."""
    hierarchy = cgroupfs.hierarchy(CGROUP_ROOT)
    container = hierarchy.root / "kubepods" / "burstable" / f"pod{uuid.uuid4()}" / secrets.token_hex(32)
    container.mkdir(parents=True)
    try:
        yield container
    finally:
        for cgroup in (container, *container.parents[:3]):
            with contextlib.suppress(OSError):  # others have pods in it
                cgroup.rmdir()
