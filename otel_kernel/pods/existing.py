"""Which pods are there already? One look at the node's files, for an agent that has just begun, or has missed some."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from otel_kernel.births.facts import ContainerFacts
from otel_kernel.node.watch import Watch
from otel_kernel.pods import cgroup_path
from otel_kernel.pods.identity import Identifier
from otel_kernel.pods.sightings import LAYOUT, Sightings


def facts(
    hierarchy_root: Path, proc_root: Path, identifier: Identifier, ns: int, of: Callable[[str], bool] = lambda _: True
) -> list[ContainerFacts]:
    """Return what files say of the pods that are there, as known at `ns`: their cgroups, and their containers' bundles.

    Each container's shim or conmon is found above its first process: it knows where the bundles are. `of` says by a
    pod's UID whether its containers are to be looked at.

    Raises OSError when the hierarchy's root cannot be watched.
    """

    def is_wanted(path: str) -> bool:
        pod = cgroup_path.parse(path)
        return LAYOUT.is_container(path) and pod is not None and of(pod.pod_uid)

    with Watch(hierarchy_root, proc_root, replace(LAYOUT, is_container=is_wanted)) as watch:
        sightings = Sightings(identifier)
        told = [said for noticed in watch.poll(0) for said in sightings.of(noticed)]
    return [replace(said, ns=ns) for said in told if isinstance(said, ContainerFacts)]
