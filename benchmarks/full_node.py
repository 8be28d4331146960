"""A node as full as it gets: real cgroup directories of many pods in every hierarchy, and a real process in each."""

import contextlib
import os
import secrets
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from demo.images import compile_static
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.node import cgroupfs, controllers
from otel_kernel.node.watch import CgroupSeen
from otel_kernel.pods.directory import Directory

CGROUPS = Path("/sys/fs/cgroup")
PARENT = "/otel-kernel-bench"
SLEEPERS = Path(__file__).with_name("programs") / "sleepers.c"
CONTAINERS = ("app", "sidecar", "proxy")
LIMITS = (
    ("cpu.max", "50000 100000"),
    ("cpu.cfs_quota_us", "50000"),
    ("memory.max", str(256 << 20)),
    ("memory.limit_in_bytes", str(256 << 20)),
)


@dataclass(frozen=True, slots=True)
class FullPod:
    """One pod: its own cgroup, and those of its sandbox and containers by name (None: the sandbox)."""

    number: int
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    ids: dict[str | None, str] = field(
        default_factory=lambda: {name: secrets.token_hex(32) for name in (None, *CONTAINERS)}
    )

    @property
    def path(self) -> str:
        """Where its cgroup is in each hierarchy."""
        return f"{PARENT}/kubepods/burstable/pod{self.uid}"

    @property
    def paths(self) -> list[str]:
        """Where those of its sandbox and containers are, the sandbox's first."""
        return [f"{self.path}/{container_id}" for container_id in self.ids.values()]


@contextlib.contextmanager
def full_node(pods: int, say: Callable[[str], None]) -> Iterator[list[FullPod]]:
    """Make pods of a sandbox and three containers each, these with limits. Raises RuntimeError, OSError."""
    made = [FullPod(number) for number in range(pods)]
    at = controllers.find(CGROUPS)
    roots = [Path(root) for root in {at.pods, at.v2, at.cpu_v1, at.cpuacct_v1, at.memory_v1} if root is not None]
    with tempfile.TemporaryDirectory() as directory:
        program = compile_static(SLEEPERS, Path(directory))
        try:
            say(f"making {pods} pods of {len(CONTAINERS)} containers in {len(roots)} hierarchies")
            for pod in made:
                for path in (pod.path, *pod.paths):
                    _make(roots, path, limited=path != pod.paths[0])  # runtimes do not limit the sandbox
            with _sleeping(program, roots, made):
                yield made
        finally:
            for root in roots:
                _remove(Path(f"{root}{PARENT}"))


def tell(directory: Directory, pods: list[FullPod]) -> None:
    """Feed what an agent would learn of these pods when it begins."""
    hierarchy = cgroupfs.hierarchy(CGROUPS).root
    for pod in pods:
        for name, container_id in pod.ids.items():
            directory.feed(
                ContainerFacts(
                    boot_ns(),
                    "oci-bundle",
                    container_id,
                    is_sandbox=name is None,
                    pod_uid=pod.uid,
                    pod_name=f"web-{pod.number}",
                    namespace="bench",
                    container_name=name,
                    image_name="registry.example/team/service:1.2.3",
                    runtime_name="containerd",
                )
            )
        for path in (pod.path, *pod.paths):
            directory.feed(CgroupSeen(boot_ns(), "existing", cgroupfs.cgroup_id(hierarchy, path), path))


def _make(roots: list[Path], path: str, *, limited: bool) -> None:
    for root in roots:
        cgroup = Path(f"{root}{path}")
        cgroup.mkdir(parents=True, exist_ok=True)
        if (root / "cgroup.controllers").exists():
            _delegate(root, cgroup)
        for file, value in LIMITS if limited else ():
            if (cgroup / file).exists():
                (cgroup / file).write_text(value)


def _delegate(root: Path, cgroup: Path) -> None:
    for above in reversed(cgroup.relative_to(root).parents):
        for controller in {"cpu", "memory"} & set((root / above / "cgroup.controllers").read_text().split()):
            (root / above / "cgroup.subtree_control").write_text(f"+{controller}")


@contextlib.contextmanager
def _sleeping(program: Path, roots: list[Path], pods: list[FullPod]) -> Iterator[None]:
    command = [str(program), *map(str, roots)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipe to the sleepers")
        process.stdin.write("".join(f"{' '.join(pod.paths)}\n" for pod in pods))
        process.stdin.close()
        expected = 1 + sum(len(pod.paths) for pod in pods)
        for _ in range(expected):
            if not process.stdout.readline():
                raise RuntimeError("the processes of the pods do not start")
        yield
    finally:
        process.kill()
        process.wait()


def _remove(cgroup: Path) -> None:
    for directory, _, _ in os.walk(cgroup, topdown=False):
        for _ in range(500):  # EBUSY until the last of its processes is reaped
            try:
                Path(directory).rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.01)
            else:
                break
