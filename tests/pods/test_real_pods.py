"""Pods born by a real containerd, seen in the node's files alone."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.from_files import FileBirths
from otel_kernel.births.trace import Trace
from otel_kernel.kernel.clock import boot_ns, unix_offset_ns
from otel_kernel.node import cgroupfs, procfs
from otel_kernel.node.watch import Watch
from otel_kernel.pods import cgroup_path, existing
from otel_kernel.pods.identity import Identifier
from otel_kernel.pods.sightings import LAYOUT, Sightings

pytestmark = pytest.mark.containerd

PROC = Path("/proc")
QUIET_NS = 1_000_000_000


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a private containerd."""
    with Lab() as lab:
        yield lab


@dataclass
class Observer:
    """Watches this machine's files in a thread of its own, as the agent does."""

    watch: Watch
    births: FileBirths
    sightings: Sightings = field(default_factory=lambda: Sightings(Identifier()))
    traces: list[Trace] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def observe(self) -> None:
        """Collect traces until it is stopped."""
        while not self.stopped.is_set():
            for noticed in self.watch.poll(0.05):
                for told in self.sightings.of(noticed):
                    self.births.feed(told)
            self.traces += self.births.due(boot_ns())

    def of(self, born: BornPod, count: int = 1) -> list[Trace]:
        """Return the traces of a pod, once there are so many."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [trace for trace in self.traces if trace.pod["k8s.pod.uid"] == born.pod.uid]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise TimeoutError(f"no {count} traces of {born.pod.name}")


@pytest.fixture
def observer() -> Iterator[Observer]:
    """Return an observer of this machine's files."""
    births = FileBirths(AssemblySettings(quiet_ns=QUIET_NS), unix_offset_ns)
    with Watch(hierarchy(), PROC, LAYOUT) as watch:
        observer = Observer(watch, births)
        thread = threading.Thread(target=observer.observe)
        thread.start()
        yield observer
        observer.stopped.set()
        thread.join()


def hierarchy() -> Path:
    """Return the hierarchy of this machine in which pods are looked for."""
    return cgroupfs.hierarchy(Path("/sys/fs/cgroup")).root


def test_a_birth_is_seen_and_named(lab: Lab, observer: Observer) -> None:
    """A pod of two containers is one trace, with all names, and each unit ends as its own program runs."""
    before_ns = time.time_ns()
    born = lab.bear(Pod("from-files", (Container("app"), Container("sidecar"))))
    (trace,) = observer.of(born)
    lab.remove(born)
    # Directories that a busy machine lets us see at one look have no order among them.
    assert trace.spans[0].name == "pod birth"
    assert {span.name for span in trace.spans[1:]} == {"sandbox", "container app", "container sidecar"}
    assert len(trace.spans) == 4
    assert (trace.pod["k8s.pod.name"], trace.pod["k8s.namespace.name"]) == ("from-files", "default")
    assert set(trace.containers) == set(born.container_ids.values())
    assert trace.trace_id.hex() == born.pod.uid.replace("-", "")
    for span in trace.spans[1:]:
        assert before_ns <= trace.spans[0].start_unix_ns <= span.start_unix_ns < span.end_unix_ns
        assert span.end_unix_ns <= trace.spans[0].end_unix_ns <= time.time_ns()
        assert [event.name for event in span.events] == ["entry point"]


def test_a_restart_is_a_trace_of_its_own(lab: Lab, observer: Observer) -> None:
    """A container that is started anew after its pod's birth is linked to it; a command run in it is nothing."""
    app = Container("app")
    born = lab.bear(Pod("restarted", (app,)))
    (birth,) = observer.of(born)
    assert lab.cri.execute(born.container_ids["app"], "/bin/true")[0] == 0
    born = lab.restart(born, app)
    _, restart = observer.of(born, 2)
    lab.remove(born)
    assert [span.name for span in restart.spans] == ["container restart"]
    assert [link.trace_id for link in restart.spans[0].links] == [birth.trace_id]


def test_what_is_there_already(lab: Lab) -> None:
    """A newly started agent finds the daemons, and pods with their containers' names."""
    born = lab.bear(Pod("existing", (Container("app"),)))
    found = existing.facts(hierarchy(), PROC, Identifier(), 42)
    daemons = procfs.daemons(PROC, frozenset(), cgroup_path.in_pod)
    lab.remove(born)
    named = {facts.container_id: facts for facts in found if facts.source == "oci-bundle"}
    assert named[born.sandbox_id].is_sandbox
    app = named[born.container_ids["app"]]
    assert (app.ns, app.pod_uid, app.pod_name, app.container_name) == (42, born.pod.uid, "existing", "app")
    assert {facts.container_id for facts in found if facts.pod_uid == born.pod.uid} == {
        None,
        born.sandbox_id,
        app.container_id,
    }
    kinds = {daemon.pid: daemon.kind for daemon in daemons}
    assert kinds[lab.containerd_pid] is procfs.Kind.RUNTIME
    assert procfs.Kind.SHIM in kinds.values()


def test_a_pod_that_was_there_is_not_born(lab: Lab) -> None:
    """Of a pod that ran before observation began, only what starts later is told."""
    born = lab.bear(Pod("before", (Container("app"),)))
    births = FileBirths(AssemblySettings(quiet_ns=QUIET_NS), unix_offset_ns)
    with Watch(hierarchy(), PROC, LAYOUT) as watch:
        sightings = Sightings(Identifier())
        for noticed in watch.poll(0):
            for told in sightings.of(noticed):
                births.feed(told)
        uids = [trace.pod["k8s.pod.uid"] for trace in births.close()]
    lab.remove(born)
    assert born.pod.uid not in uids
