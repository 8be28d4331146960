"""Pods as a real CRI-O bears them: its monitor instead of a shim, and no pause process."""

from collections.abc import Iterator

import pytest

from demo.go_builds import crio
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from tests.births_real.observation import Observation, observing

pytestmark = [pytest.mark.crio, pytest.mark.slow]


@pytest.fixture(scope="module")
def crio_lab() -> Iterator[Lab]:
    """Return a CRI-O as it comes, but that it tells of changes."""
    with Lab(crio()) as started:
        yield started


@pytest.fixture(scope="module")
def observed(crio_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observation]:
    """Return an agent that asks that CRI-O, which was there before it."""
    directory = tmp_path_factory.mktemp("crio")
    with observing(directory, KUBERNETES="auto", CRI_SOCKET=str(crio_lab.socket)) as observation:
        yield observation


def remove(lab: Lab, born: BornPod) -> None:
    """Remove a pod as the kubelet does, which ends its containers first."""
    for container_id in born.container_ids.values():
        lab.cri.stop(container_id)
    lab.remove(born)


def test_a_pod_and_a_restart(crio_lab: Lab, observed: Observation) -> None:
    """Named by cgroup, bundle and CRI; a sandbox without a process is no failure."""
    pod = Pod("simple", (Container("app"), Container("sidecar")), (Container("setup", ("/bin/true",)),))
    born = crio_lab.bear(pod)
    birth = observed.the_birth(born)
    assert birth.root.trace_id == pod.uid.replace("-", "")
    assert set(birth.count("identity.source")) >= {"cgroup-path", "oci-bundle", "cni-env", "cri"}
    for name in ("app", "sidecar"):
        (unit,) = [unit for unit in birth.at("unit") if unit.name == f"container {name}"]
        told = {key: unit.resource[key] for key in ("container.runtime.name", "container.image.name")}
        assert told == {"container.runtime.name": "cri-o", "container.image.name": "registry.local/busybox:1"}
        below = {span.name for span in birth.at("process") if span.parent_id == unit.span_id}
        assert below == {"runc create", "runc init", "runc start"}
    again = crio_lab.restart(born, pod.containers[0])
    _, restart = observed.wait(pod.uid, 2)
    assert restart.root.name == "container restart"
    assert restart.root.resource["container.id"] == again.container_ids["app"]
    assert restart.root.resource["k8s.container.restart_count"] == 1
    assert restart.root.links == (birth.root.trace_id,)
    remove(crio_lab, again)


def test_an_entry_point_that_does_not_exist(crio_lab: Lab, observed: Observation) -> None:
    """The container is red, the sandbox is not."""
    born = crio_lab.bear_sandbox(Pod("absent", (Container("broken", ("/bin/nope",)),)))
    with pytest.raises(Exception, match="nope"):
        crio_lab.start(born, born.pod.containers[0])
    (birth,) = observed.wait(born.pod.uid)
    errors = {unit.name: unit.error for unit in birth.at("unit")}
    assert errors["container broken"]
    crio_lab.remove(born)
