"""A process, looked at through its directory."""

import os
import subprocess
from pathlib import Path

import pytest

from otel_kernel.node import procfs
from otel_kernel.node.process_directory import ProcessDirectory

PROC = Path("/proc")


def test_what_it_tells_is_that_process() -> None:
    """Mounts, namespaces and cgroups are those that /proc tells of the process."""
    process = ProcessDirectory(PROC, os.getpid())
    assert process.mounts() == len(Path("/proc/self/mountinfo").read_bytes().splitlines())
    namespaces = process.namespaces()
    assert namespaces.items() <= procfs.namespaces(PROC, os.getpid()).items()
    assert {"mnt", "net", "pid"} <= namespaces.keys()
    assert process.network_namespace() == namespaces["net"]
    assert set(process.cgroups()) == set(procfs.cgroups(PROC, os.getpid()).values())
    process.close()


def test_a_process_that_nobody_has_waited_for_has_no_mounts() -> None:
    """It is gone, whatever the kernel calls that."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        process = ProcessDirectory(PROC, sleeper.pid)
        sleeper.kill()
        os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError):
            process.mounts()
    process.close()


def test_a_process_that_is_gone_is_gone() -> None:
    """Nothing is read through the directory of a process that has ended."""
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        process = ProcessDirectory(PROC, sleeper.pid)
        sleeper.kill()
    for read in (process.mounts, process.namespaces, process.network_namespace, process.cgroups):
        with pytest.raises((ProcessLookupError, FileNotFoundError)):
            read()
    process.close()
    with pytest.raises(FileNotFoundError):
        ProcessDirectory(PROC, sleeper.pid)
