"""Whose cgroup is this path? The layouts of the kubelet's two cgroup drivers, and of what runs it inside other cgroups.

Paths are counted from the root of a cgroup hierarchy, as `/proc/<pid>/cgroup` and the cgroup tracepoints tell them.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

# PATH_MAX of include/uapi/linux/limits.h: the kernel tells no longer path, so a longer one was not told by the kernel.
_LONGEST_PATH = 4096

# A UUID, or the 32 hexadecimal digits that the kubelet makes from a static pod's manifest. systemd separates slices by
# dashes, so its driver writes those of the UID as underscores.
_UID = r"[0-9a-f]{8}(?P<dash>[-_]?)[0-9a-f]{4}(?P=dash)[0-9a-f]{4}(?P=dash)[0-9a-f]{4}(?P=dash)[0-9a-f]{12}"
_CGROUPFS_POD = re.compile(rf"pod(?P<uid>{_UID})")
_SYSTEMD_POD = re.compile(
    rf"(?:.+-)?kubepods(?:-burstable|-besteffort)?-pod(?P<uid>{_UID})\.slice", re.ASCII | re.DOTALL
)
_CONTAINER = re.compile(r"(?:(?P<prefix>[a-z][a-z0-9-]*)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")

_QUALITIES_OF_SERVICE = frozenset({"burstable", "besteffort"})
_RUNTIMES = {"cri-containerd": "containerd", "crio": "cri-o", "docker": "docker"}


@dataclass(frozen=True, slots=True)
class PodPath:
    """The outermost pod that a path lies in, and the container directly below it."""

    pod_uid: str  # with dashes, or 32 hexadecimal digits
    container_id: str | None  # None: the pod's own cgroup, or something in it that is no container's
    runtime_name: str | None  # as the scope's prefix tells it; a bare id tells nothing
    below: str  # what follows the container's directory, or the pod's where there is no container
    is_monitor: bool = False  # CRI-O's conmon may run in the pod's cgroup, beside the container it watches

    @property
    def is_pod(self) -> bool:
        """Whether the path is the pod's own directory."""
        return self.container_id is None and not self.below

    @property
    def is_container(self) -> bool:
        """Whether the runtime made this directory for the container, rather than a process inside it.

        crun puts the processes into a directory `container` below the scope (crun, src/libcrun/cgroup-systemd.c).
        """
        return self.container_id is not None and self.below in {"", "container"}


@lru_cache(maxsize=1024)  # identity, directory and bundles ask for the same one after the other
def parse(path: str) -> PodPath | None:
    """Return whose cgroup `path` is, or None when it lies in no pod.

    The outermost pod wins: what follows is made by processes of that pod, whatever they call it.
    """
    if len(path) > _LONGEST_PATH or not path.startswith("/"):
        return None
    parts = _seen_from_here(path)
    for depth, part in enumerate(parts):
        uid = _pod_uid(parts[max(0, depth - 2) : depth], part)
        if uid is not None:
            return _inside(uid, parts[depth + 1 :])
    return None


def valid_uid(text: str) -> str | None:
    """Return `text` when it is a pod's UID in the form of `PodPath.pod_uid`, else None."""
    return text if _UUID.fullmatch(text) else None


def may_hold_pods(path: str) -> bool:
    """Whether directories directly below `path` can be a pod's or a container's: False from a container's own down."""
    pod = parse(path)
    return pod is None or pod.is_pod


def in_pod(path: str) -> bool:
    """Whether what runs in `path` is a pod's, rather than the runtime's."""
    pod = parse(path)
    return pod is not None and not pod.is_monitor


def is_container(path: str) -> bool:
    """Whether `path` is a container's own directory."""
    pod = parse(path)
    return pod is not None and pod.container_id is not None and not pod.below


def _seen_from_here(path: str) -> list[str]:
    """Return the directories, without the `..` that lead out of a cgroup namespace (cgroup_namespaces(7))."""
    parts = path.removesuffix(" (deleted)").split("/")[1:]
    while parts and parts[0] == "..":
        del parts[0]
    return [] if ".." in parts else [part for part in parts if part]


def _pod_uid(parents: list[str], name: str) -> str | None:
    match = _SYSTEMD_POD.fullmatch(name)
    if match is None and _below_kubepods(parents):
        match = _CGROUPFS_POD.fullmatch(name)
    return match["uid"].replace("_", "-") if match else None


def _below_kubepods(parents: list[str]) -> bool:
    if parents and parents[-1] in _QUALITIES_OF_SERVICE:
        parents = parents[:-1]
    return bool(parents) and parents[-1] == "kubepods"


def _inside(uid: str, parts: list[str]) -> PodPath:
    match = _CONTAINER.fullmatch(parts[0]) if parts else None
    if match is None:
        return PodPath(uid, None, None, "/".join(parts))
    if match["prefix"] == "crio-conmon":
        return PodPath(uid, None, _RUNTIMES["crio"], "/".join(parts), is_monitor=True)
    return PodPath(uid, match["id"], _RUNTIMES.get(match["prefix"] or ""), "/".join(parts[1:]))
