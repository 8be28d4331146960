"""Whose directories and processes are these? What was noticed in the node's files, said in terms of pods."""

import posixpath
from collections import OrderedDict

from otel_kernel.births import arguments
from otel_kernel.births.facts import ContainerFacts
from otel_kernel.births.sightings import Appeared, Emptied, Missed, Program, Sighting, Vanished
from otel_kernel.kernel.events import Decision, Exec
from otel_kernel.node import watch
from otel_kernel.node.first_process import ProcessSeen, SupervisorSeen
from otel_kernel.pods import cgroup_path
from otel_kernel.pods.cgroup_path import PodPath
from otel_kernel.pods.identity import Identifier

_PODS_REMEMBERED = 1024

LAYOUT = watch.Layout(cgroup_path.may_hold_pods, cgroup_path.is_container, cgroup_path.in_pod)


class Sightings:
    """Makes sightings and facts of what was noticed. It remembers where each pod's bundles are."""

    def __init__(self, identifier: Identifier) -> None:
        self._identifier = identifier
        self._bundles: OrderedDict[str, str] = (
            OrderedDict()
        )  # by pod UID: the directory that holds its containers' bundles
        self._unnamed: dict[str, dict[str, None]] = {}  # by pod UID: containers seen before that directory was known

    def of(self, noticed: watch.Observation) -> tuple[ContainerFacts | Sighting, ...]:
        """Return what was noticed in terms of pods, facts first; nothing when it is no pod's."""
        if isinstance(noticed, watch.Missed):
            return (Missed(noticed.ns, noticed.reason),)
        pod = cgroup_path.parse(noticed.path)
        if pod is None or not (pod.is_pod or pod.is_container):
            return ()
        match noticed:
            case watch.CgroupSeen(action="rmdir"):
                return self._vanished(noticed, pod)
            case watch.CgroupSeen():
                return self._appeared(noticed, pod)
            case SupervisorSeen():
                return self._supervised(noticed, pod)
        return _of_container(noticed, pod)

    def _appeared(self, noticed: watch.CgroupSeen, pod: PodPath) -> tuple[ContainerFacts | Sighting, ...]:
        facts = self._identifier.of_cgroup(noticed.path, noticed.cgroup_id, noticed.ns)
        if not facts:  # refused: an imitation of another pod's container
            return ()
        named: tuple[ContainerFacts, ...] = ()
        if pod.container_id is not None:
            named = self._bundle(pod.pod_uid, pod.container_id, noticed.ns)
        appeared = Appeared(noticed.ns, pod.pod_uid, pod.container_id, existing=noticed.action == "existing")
        return (*facts, *named, appeared)

    def _bundle(self, pod_uid: str, container_id: str, ns: int) -> tuple[ContainerFacts, ...]:
        directory = self._bundles.get(pod_uid)
        if directory is None:
            self._unnamed.setdefault(pod_uid, {})[container_id] = None
            return ()
        return self._identifier.of_bundle(container_id, posixpath.join(directory, container_id), ns)

    def _supervised(self, noticed: SupervisorSeen, pod: PodPath) -> tuple[ContainerFacts, ...]:
        told = arguments.command(_as_exec(noticed))
        if told.bundle is None or told.container_id is None or pod.container_id is None:
            return ()
        if told.tool is not arguments.Tool.SHIM:
            # One conmon serves one container, from a bundle whose directory has a name of its own.
            return self._identifier.of_bundle(told.container_id, told.bundle, noticed.ns)
        # A shim serves a whole pod. Its bundle and those of the containers lie side by side, each named by its id.
        self._bundles[pod.pod_uid] = posixpath.dirname(told.bundle.rstrip("/"))
        if len(self._bundles) > _PODS_REMEMBERED:
            self._bundles.popitem(last=False)
        waiting = {told.container_id: None, pod.container_id: None} | self._unnamed.pop(pod.pod_uid, {})
        return tuple(facts for waits in waiting for facts in self._bundle(pod.pod_uid, waits, noticed.ns))

    def _vanished(self, noticed: watch.CgroupSeen, pod: PodPath) -> tuple[Sighting, ...]:
        if pod.is_pod:
            self._bundles.pop(pod.pod_uid, None)
            self._unnamed.pop(pod.pod_uid, None)
        return (Vanished(noticed.ns, pod.pod_uid, pod.container_id),)


def _of_container(noticed: ProcessSeen | watch.CgroupEmptied | watch.CgroupSeen, pod: PodPath) -> tuple[Sighting, ...]:
    if pod.container_id is None:
        return ()
    if isinstance(noticed, watch.CgroupEmptied):
        return (Emptied(noticed.ns, pod.pod_uid, pod.container_id),)
    if isinstance(noticed, ProcessSeen):
        program = noticed.executable or noticed.command
        return (Program(noticed.ns, pod.pod_uid, pod.container_id, noticed.pid, program, noticed.is_runtime),)
    return ()


def _as_exec(noticed: SupervisorSeen) -> Exec:
    """Return the execve that must have begun the process, as far as /proc tells it."""
    return Exec(
        noticed.ns,
        noticed.pid,
        noticed.start_ns,
        parent_pid=0,
        parent_start_ns=0,
        old_thread_id=noticed.pid,
        vpid=noticed.pid,
        decision=Decision.INHERITED,
        cgroup_id=0,
        filename=noticed.executable,
        arguments=noticed.arguments,
        environment=(),
        working_directory=noticed.working_directory,
        truncated=False,
    )
