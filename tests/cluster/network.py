"""A network namespace of the tests' own: the cluster's addresses, routes and forwarding exist nowhere else."""

import ctypes
import os
import subprocess
from types import TracebackType
from typing import Self

CLONE_NEWNET = 0x40000000  # linux/sched.h
NODE_ADDRESS = "10.99.0.1"  # the kubelet refuses 127.0.0.0/8
MAKE = f"ip link set lo up && ip address add {NODE_ADDRESS}/32 dev lo && echo made && cat"


class Network:
    """Owns the namespace. While the context is open this thread, and what it starts, is inside."""

    def __init__(self) -> None:
        made = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with made:
            if made.stdout is None or made.stdout.readline() != "made\n":
                raise RuntimeError("no network namespace can be made")
            self._namespace = os.open(f"/proc/{made.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._outside: list[int] = []

    def __enter__(self) -> Self:
        self._outside.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        _enter(self._namespace)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        outside = self._outside.pop()
        _enter(outside)
        os.close(outside)

    def close(self) -> None:
        """Let go of it: the kernel removes it with the last process inside."""
        os.close(self._namespace)


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
