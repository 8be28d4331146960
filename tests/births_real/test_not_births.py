"""What is not a birth leaves no trace, and changes nobody's."""

import pytest

from demo.lab import Lab
from demo.pod import Container, Pod
from tests.agreement.otlp_birth import Birth
from tests.births_real.observation import Observation, assert_whole, units

pytestmark = [pytest.mark.containerd, pytest.mark.slow]


def process_ids(birth: Birth) -> set[int]:
    """Return the ids of all processes that a birth draws."""
    return {
        pid
        for span in birth.at("process")
        for pid in span.attributes.get("otel_kernel.process.pids") or [span.attributes["process.pid"]]
    }


def test_what_happens_to_a_running_pod_is_no_birth(lab: Lab, observation: Observation) -> None:
    """Exec, probes, new limits, the end of a container and its removal begin nothing."""
    born = lab.bear(Pod("running", (Container("app"), Container("ends", ("/bin/sleep", "2")))))
    observation.the_birth(born)
    for _ in range(3):
        assert lab.cri.execute(born.container_ids["app"], "/bin/echo", "alive") == (0, b"alive\n")
    lab.cri.limit_cpu(born.container_ids["app"], 20_000)
    lab.wait_for_exit(born, "ends")
    lab.cri.remove(born.container_ids["ends"])
    lab.cri.stop(born.container_ids["app"])
    lab.remove(born)
    assert len(observation.settled(born.pod.uid)) == 1


def test_an_exec_during_a_birth_is_not_in_it(lab: Lab, observation: Observation) -> None:
    """A probe of the first container while the second is still to come takes no part."""
    born = lab.bear_sandbox(Pod("probed", (Container("app"), Container("sidecar"))))
    born = lab.start(born, born.pod.containers[0])
    assert lab.cri.execute(born.container_ids["app"], "/bin/true")[0] == 0
    born = lab.start(born, born.pod.containers[1])
    birth = observation.the_birth(born)
    assert "runc exec" not in {span.name for span in birth.at("process")}
    assert len(birth.at("process")) == 16
    lab.remove(born)


def test_a_pod_that_pretends_to_be_a_runtime(lab: Lab, observation: Observation) -> None:
    """Programs in a pod called runc and shim, with another pod's ids in all they say and do, change nothing."""
    victim = lab.bear_sandbox(Pod("victim", (Container("app"), Container("sidecar"))))
    victim = lab.start(victim, victim.pod.containers[0])
    attack = ("/bin/runc", "attack", victim.pod.uid, victim.container_ids["app"])
    attacker = lab.bear(Pod("attacker", (Container("main", attack, privileged=True),)))
    assert lab.cri.execute(attacker.container_ids["main"], "/bin/true")[0] == 0
    victim = lab.start(victim, victim.pod.containers[1])
    of_victim, of_attacker = observation.the_birth(victim), observation.the_birth(attacker)
    assert process_ids(of_victim).isdisjoint(process_ids(of_attacker))
    assert len([span for span in of_victim.at("process") if span.name == "runc create"]) == 3
    for birth in (of_victim, of_attacker):
        mounts = [span for span in birth.at("call") if span.name in {"mount", "umount2"}]
        targets = [str(span.attributes.get("system.filesystem.mountpoint", "")) for span in mounts]
        assert [t for t in targets if t.startswith(("/tmp/pod", "/var/lib/kubelet"))] == []
    assert len(observation.settled(victim.pod.uid)) == 1
    assert len(observation.births(attacker.pod.uid)) == 1
    lab.remove(attacker)
    lab.remove(victim)


def test_two_pods_born_together_share_nothing(lab: Lab, observation: Observation) -> None:
    """Steps of two births that alternate end in the right one."""
    pods = [Pod(f"twin-{number}", (Container("app"), Container("sidecar"))) for number in range(2)]
    born = [lab.bear_sandbox(pod) for pod in pods]
    for number in range(2):
        born = [lab.start(one, one.pod.containers[number]) for one in born]
    births = [observation.the_birth(one) for one in born]
    for one, birth in zip(born, births, strict=True):
        assert_whole(birth, one)
        assert units(birth) == ["sandbox", "container app", "container sidecar"]
        lab.remove(one)
    assert process_ids(births[0]).isdisjoint(process_ids(births[1]))
