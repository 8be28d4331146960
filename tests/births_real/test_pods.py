"""Every kind of pod is born as one trace, named, whole, with the units it has."""

import re
import threading
import time

import grpc
import pytest

from demo.lab import Lab
from demo.pod import Container, Pod
from tests.births_real.observation import Observation, assert_sound, assert_whole, units
from tests.births_real.systemd_names import slice_of

pytestmark = [pytest.mark.containerd, pytest.mark.slow]


def test_a_pod_of_one_container(lab: Lab, observation: Observation) -> None:
    """The simplest birth: its trace id is the pod's UID, its processes are those that build a pod."""
    born = lab.bear(Pod("simple"))
    birth = observation.the_birth(born)
    assert birth.root.trace_id == born.pod.uid.replace("-", "")
    names = {span.name for span in birth.at("process")}
    assert names == {
        "ptp", "host-local", "loopback", "containerd-shim-runc-v2 start", "containerd-shim-runc-v2", "runc create",
        "runc init", "runc start",
    }  # fmt: skip
    assert birth.root.scope == "otel_kernel.ebpf"
    lab.remove(born)


def test_init_container_app_and_sidecar(lab: Lab, observation: Observation) -> None:
    """An init container is a unit of the birth, and its run another, with its exit code."""
    pod = Pod("three", (Container("app"), Container("sidecar")), (Container("setup", ("/bin/sh", "-c", "exit 0")),))
    born = lab.bear(pod)
    birth = observation.the_birth(born)
    (run,) = [unit for unit in birth.at("unit") if unit.name == "run setup"]
    assert run.attributes["process.exit.code"] == 0
    assert run.error is None
    lab.remove(born)


def test_a_container_of_20_ms(lab: Lab, observation: Observation) -> None:
    """A container that ends at once is named and whole like any other."""
    born = lab.bear(Pod("short", (Container("blink", ("/bin/true",)),)))
    birth = observation.the_birth(born)
    assert "run blink" in units(birth)
    lab.remove(born)


def test_a_pod_removed_as_soon_as_it_ran(lab: Lab, observation: Observation) -> None:
    """A pod that is gone before anybody could ask for its name has one."""
    born = lab.bear(Pod("gone", (Container("blink", ("/bin/true",)),)))
    lab.remove(born)
    (birth,) = observation.wait(born.pod.uid)
    assert_whole(birth, born)


def test_an_entry_point_that_does_not_exist(lab: Lab, observation: Observation) -> None:
    """No call of it fails, yet the birth is red, and says why."""
    pod = Pod("absent", (Container("broken", ("/bin/nope",)),))
    with pytest.raises(grpc.RpcError):
        lab.bear(pod)
    (birth,) = observation.wait(pod.uid)
    (unit,) = [unit for unit in birth.at("unit") if unit.name == "container broken"]
    assert unit.error
    assert "runc" in unit.error
    assert birth.root.error
    assert "container broken" in birth.root.error
    assert [unit.error for unit in birth.at("unit") if unit.name == "sandbox"] == [None]
    assert birth.count("completion") == "quiet"
    assert_sound(birth)


def test_a_pod_in_the_hosts_namespaces(lab: Lab, observation: Observation) -> None:
    """Without a network of its own no CNI plugin takes part."""
    born = lab.bear(Pod("host", host_network=True, host_pid=True))
    birth = observation.the_birth(born)
    assert "ptp" not in {span.name for span in birth.at("process")}
    lab.remove(born)


def test_a_static_pod(lab: Lab, observation: Observation) -> None:
    """A static pod's UID is a hash: it cannot be the trace's id, which is hashed in turn."""
    uid = "0123456789abcdef0123456789abcdef"
    born = lab.bear(Pod("static", uid=uid, cgroup_parent=f"/kubepods/burstable/pod{uid}"))
    birth = observation.the_birth(born)
    assert birth.root.resource["k8s.pod.uid"] == uid
    assert re.fullmatch("[0-9a-f]{32}", birth.root.trace_id)
    assert birth.root.trace_id != uid
    lab.remove(born)


def test_cgroups_named_by_systemd(lab: Lab, observation: Observation) -> None:
    """Slices and scopes made by another process, and a wrapper around the runtime, change nothing."""
    pod = Pod("systemd", runtime_handler="systemd-names")
    pod = Pod("systemd", uid=pod.uid, runtime_handler=pod.runtime_handler, cgroup_parent=slice_of(pod.uid))
    born = lab.bear(pod)
    birth = observation.the_birth(born)
    assert "cgroup-path" in birth.count("identity.source")
    assert "runc create" in {span.name for span in birth.at("process")}
    lab.remove(born)


def test_names_of_maximum_length(lab: Lab, observation: Observation) -> None:
    """Names as long as Kubernetes allows are told whole."""
    born = lab.bear(Pod("p" * 253, (Container("c" * 63),), namespace="n" * 63))
    observation.the_birth(born)
    lab.remove(born)


def test_a_sandbox_that_fails_in_cni_is_tried_again(lab: Lab, observation: Observation) -> None:
    """Both attempts are units of one birth; the first is red, the birth is not."""
    pod = Pod("retry")
    with lab.refused_network(), pytest.raises(grpc.RpcError):
        lab.bear(pod)
    born = lab.bear(Pod("retry", uid=pod.uid, attempt=1))
    (birth,) = observation.wait(pod.uid)
    assert units(birth) == ["sandbox", "sandbox", "container main"]
    failed, succeeded = [unit for unit in birth.at("unit") if unit.name == "sandbox"]
    assert failed.error
    assert "ptp" in failed.error
    assert succeeded.error is None
    assert birth.root.error is None
    assert_sound(birth)
    lab.remove(born)


def test_a_pod_deleted_while_it_is_born(lab: Lab, observation: Observation) -> None:
    """What was begun is told, once, and the birth ends."""
    pod = Pod("deleted", tuple(Container(f"c{number}") for number in range(8)))

    def bear() -> None:
        with pytest.raises(grpc.RpcError):
            lab.bear(pod)

    before = set(lab.cri.sandboxes())
    bearing = threading.Thread(target=bear)
    bearing.start()
    while not (begun := set(lab.cri.sandboxes()) - before):
        time.sleep(0.005)
    time.sleep(0.15)  # the first containers are being made
    for sandbox_id in begun:
        lab.cri.remove_sandbox(sandbox_id)
    bearing.join(30)
    assert not bearing.is_alive()
    lab.remove_cgroup(pod)
    (birth,) = observation.wait(pod.uid)
    assert units(birth)[0] == "sandbox"
    assert birth.count("containers") < len(pod.containers)
    assert_sound(birth)
    assert len(observation.settled(pod.uid)) == 1


def test_a_restarted_container(lab: Lab, observation: Observation) -> None:
    """A restart is a trace of its own that links to the birth."""
    born = lab.bear(Pod("again"))
    birth = observation.the_birth(born)
    lab.restart(born, born.pod.containers[0])
    _, restart = observation.wait(born.pod.uid, 2)
    assert restart.root.name == "container restart"
    assert restart.root.level == "unit"
    assert restart.root.links == (birth.root.trace_id,)
    assert restart.root.resource["k8s.container.name"] == "main"
    assert {span.name for span in restart.at("process")} >= {"runc create", "runc init", "runc start"}
    assert_sound(restart)
    lab.remove(born)


def test_a_container_that_joins_later(lab: Lab, observation: Observation) -> None:
    """A container started after the birth was told is a `container start`."""
    born = lab.bear(Pod("later"))
    observation.the_birth(born)
    lab.start(born, Container("debugger"))
    _, start = observation.wait(born.pod.uid, 2)
    assert (start.root.name, start.root.level) == ("container start", "unit")
    assert start.root.resource["k8s.container.name"] == "debugger"
    assert_sound(start)
    lab.remove(born)
