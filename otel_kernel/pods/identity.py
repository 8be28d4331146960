"""Who is it? What the kernel's events tell of pods and containers, without asking any API."""

import posixpath
from collections import OrderedDict
from dataclasses import dataclass

from otel_kernel.births import arguments
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.kernel.events import CgroupChange, Decision, Event, Exec
from otel_kernel.pods import cgroup_path, cni, oci_bundle
from otel_kernel.pods.cgroup_path import PodPath

CGROUP_PATH = "cgroup-path"

# More than are born at once: what is forgotten is read again when it is named. An entry is about a kilobyte.
_REMEMBERED = 1024
_BUNDLE_DECISIONS = frozenset({Decision.SHIM_START, Decision.RUNTIME})
_NOTHING: tuple[ContainerFacts, ...] = ()


@dataclass(slots=True)
class _Known:
    """One container, as far as it has been heard of."""

    bundle: str | None = None
    facts: ContainerFacts | None = None  # what the bundle said
    cgroup: PodPath | None = None

    @property
    def is_unread(self) -> bool:
        """Whether the bundle has yet to be found: its file system may not be mounted when its path is first told."""
        return self.facts is None or self.facts.failure == oci_bundle.MISSING


class Identifier:
    """Reads what events name: cgroup paths, bundles, the environment of CNI plugins. It remembers what it has read."""

    def __init__(self, host_root: str = "/") -> None:
        self._host_root = host_root
        self._containers: OrderedDict[str, _Known] = OrderedDict()

    def facts(self, event: Event) -> tuple[ContainerFacts, ...]:
        """Return what the event tells of a pod or container, to be fed to the assembly before the event itself.

        An event that names a container again tells again what its bundle said: whoever listens may have forgotten.
        """
        if isinstance(event, CgroupChange):
            # A removal tells nothing new. A move shows that the directory was there when it was made unseen.
            return _NOTHING if event.action == "rmdir" else self.of_cgroup(event.path, event.cgroup_id, event.ns)
        if isinstance(event, Exec):
            return self._of_exec(event)
        return _NOTHING

    def of_bundle(self, container_id: str, bundle: str, ns: int) -> tuple[ContainerFacts, ...]:
        """Return what the bundle says of the container, read once; again only while it was missing."""
        known = self._known(container_id)
        if known.is_unread:
            known.bundle = bundle
        return self._read(container_id, known, ns)

    def of_cgroup(self, path: str, cgroup_id: int | None, ns: int) -> tuple[ContainerFacts, ...]:
        """Return what a cgroup's path proves, and what it changes in what the container's bundle said."""
        pod = cgroup_path.parse(path)
        if pod is None or not (pod.is_pod or pod.is_container):
            return _NOTHING
        told = ContainerFacts(
            ns,
            CGROUP_PATH,
            pod.container_id,
            pod_uid=pod.pod_uid,
            runtime_name=pod.runtime_name,
            cgroup_id=cgroup_id,
        )
        if pod.container_id is None:
            return (told,)
        known = self._known(pod.container_id)
        if known.cgroup is not None and known.cgroup.pod_uid != pod.pod_uid:
            # An id is given once: the runtime's directory came first, and this one is somebody's imitation.
            return _NOTHING
        before, known.cgroup = known.facts, pod
        now = self._read(pod.container_id, known, ns)
        return (told,) if now == (before,) else (told, *now)

    def _of_exec(self, event: Exec) -> tuple[ContainerFacts, ...]:
        if event.decision is Decision.CNI_ADD:
            told = cni.facts(event.environment, event.ns)
            return _NOTHING if told is None else (told,)
        # What begins a lineage was started by a daemon. An entry point's arguments are its pod's to choose, and an
        # environment inside the lineage may already be the container's.
        if event.decision not in _BUNDLE_DECISIONS:
            return _NOTHING
        command = arguments.command(event)
        if command.container_id is None:
            return _NOTHING
        known = self._known(command.container_id)
        if command.bundle is not None and known.is_unread:
            known.bundle = posixpath.join(event.working_directory or "/", command.bundle)
        return self._read(command.container_id, known, event.ns)

    def _read(self, container_id: str, known: _Known, ns: int) -> tuple[ContainerFacts, ...]:
        if known.is_unread and known.bundle is not None:
            known.facts = oci_bundle.read(known.bundle, container_id, ns, self._host_root)
        if known.facts is None:
            return _NOTHING
        if known.cgroup is not None:
            known.facts = oci_bundle.confirm(known.facts, known.cgroup)
        return (known.facts,)

    def _known(self, container_id: str) -> _Known:
        known = self._containers.setdefault(container_id, _Known())
        self._containers.move_to_end(container_id)
        if len(self._containers) > _REMEMBERED:
            self._containers.popitem(last=False)
        return known
