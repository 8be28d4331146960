"""Everything a lab may leave on the machine, found by its directory and removed: also after a crash."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
CNI_RESULTS = Path("/var/lib/cni/results")  # where libcni remembers networks, whatever the configuration says
END_LIMIT_S = 5
UMOUNT_LIMIT_S = 120  # an overlay writes out all that its disk has yet to write
LAB_PREFIX = "otel-kernel-lab-"
DAEMONS = ("containerd", "crio", "conmon")
PARENTS_OF_PODS = re.compile(r"kubepods|kubelet|pod[0-9a-f]")


def sweep(directory: Path) -> None:
    """Remove the processes, sockets, mounts and cgroups of the lab in the directory, and the directory.

    Raises ValueError for a directory that no lab made: this deletes.
    """
    if not directory.name.startswith(LAB_PREFIX):
        raise ValueError(f"not a lab's directory: {directory}")
    bundles = list(_bundles(directory))
    cgroups = [cgroup for bundle in bundles for cgroup in _paths(_cgroup(bundle))]
    sockets = {socket for bundle in bundles for socket in _shim_sockets(bundle)}
    _end([*_daemons(directory), *(pid for cgroup in cgroups for pid in _members(cgroup))])
    for socket in sockets:
        socket.unlink(missing_ok=True)
    for bundle in bundles:
        container_id = bundle.parent.name if bundle.name == "userdata" else bundle.name
        for result in CNI_RESULTS.glob(f"*{container_id}*"):
            result.unlink(missing_ok=True)
    for mount in _mounts(directory):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True, timeout=UMOUNT_LIMIT_S)
    for cgroup in cgroups:
        remove_cgroup(cgroup)
    for name in _pod_cgroups(directory):
        remove_pod_cgroup(name)
    shutil.rmtree(directory, ignore_errors=True)


def make_pod_cgroup(name: str, record: Path) -> None:
    """Make the pod's cgroup in every hierarchy, as the kubelet does before it asks for a sandbox."""
    with record.open("a") as names:
        names.write(f"{name}\n")
    for root in hierarchies():
        (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)


def remove_pod_cgroup(name: str) -> None:
    """Remove the pod's cgroup from every hierarchy, and the groups above it that hold no other pod."""
    for root in hierarchies():
        cgroup = root / name.strip("/")
        remove_cgroup(cgroup)
        for parent in cgroup.relative_to(root).parents:
            if not PARENTS_OF_PODS.search(parent.name) and parent.name not in {"burstable", "besteffort"}:
                break
            with contextlib.suppress(OSError):  # it holds other pods
                (root / parent).rmdir()


def remove_cgroup(cgroup: Path) -> None:
    """End every process in a cgroup and below, and remove it. One that is not there is fine."""
    for child, _, _ in os.walk(cgroup, topdown=False):
        _end(list(_members(Path(child))))
        deadline = time.monotonic() + END_LIMIT_S
        while time.monotonic() < deadline:  # EBUSY until the last zombie is reaped
            try:
                Path(child).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.02)
            else:
                break


def hierarchies() -> Iterator[Path]:
    """Yield where each cgroup file system is mounted below the cgroup root (v2, v1 or hybrid)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, kind, *_ = line.split()
        if kind in {"cgroup", "cgroup2"} and target.startswith(str(CGROUP_ROOT)):
            yield Path(target)


def _bundles(directory: Path) -> Iterator[Path]:
    yield from (directory / "state").glob("io.containerd.runtime.v2.task/k8s.io/*")
    yield from (directory / "run").glob("overlay-containers/*/userdata")  # CRI-O's


def _cgroup(bundle: Path) -> str:
    try:
        return str(json.loads((bundle / "config.json").read_bytes())["linux"]["cgroupsPath"])
    except (OSError, ValueError, KeyError):
        return ""


def _paths(cgroup: str) -> list[Path]:
    return [root / cgroup.lstrip("/") for root in hierarchies()] if cgroup.strip("/") else []


def _shim_sockets(bundle: Path) -> Iterator[Path]:
    for name in ("address", "bootstrap.json"):
        with contextlib.suppress(OSError):
            for path in re.findall(r"/run/containerd/s/[0-9a-f]+", (bundle / name).read_text()):
                yield Path(path)


def _pod_cgroups(directory: Path) -> list[str]:
    record = directory / "cgroups"
    return record.read_text().split() if record.exists() else []


def _daemons(directory: Path) -> Iterator[int]:
    """Yield the lab's containerd and shims, CRI-O and its monitors: their command lines name a file in it."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            program, *arguments = (entry / "cmdline").read_bytes().split(b"\0")
            ours = any(argument.startswith(os.fsencode(directory) + b"/") for argument in arguments)
            if ours and Path(os.fsdecode(program)).name.startswith(DAEMONS):
                yield int(entry.name)


def _members(cgroup: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, (cgroup / "cgroup.procs").read_text().split())


def _end(pids: list[int]) -> None:
    """Kill the processes and wait until they are gone."""
    descriptors = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptors.append(os.pidfd_open(pid))
    for descriptor in descriptors:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    deadline = time.monotonic() + END_LIMIT_S
    for descriptor in descriptors:
        _wait(descriptor, deadline)
        os.close(descriptor)


def _wait(descriptor: int, deadline: float) -> None:
    ended = select.poll()
    ended.register(descriptor, select.POLLIN)
    ended.poll(max(0.0, deadline - time.monotonic()) * 1000)


def _mounts(directory: Path) -> list[str]:
    """Return the mount points in the directory, the innermost first."""
    targets = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((target for target in targets if target.startswith(f"{directory}/")), reverse=True)
