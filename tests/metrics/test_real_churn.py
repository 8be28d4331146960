"""Pods that come, restart and go beside an agent that is restarted, too: what it exports stays true.

CHURN_SECONDS in the environment says for how long; by default as long as a test may take.
"""

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.agent import Agent
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod
from otel_kernel.node import controllers
from tests.metrics.exported import Exported, broken

pytestmark = [pytest.mark.containerd, pytest.mark.slow]

SECONDS = float(os.environ.get("CHURN_SECONDS", "20"))
INTERVAL_MS = 1000
MOST_PODS = 6
AT = controllers.find(Path("/sys/fs/cgroup"))
COMMANDS = (
    ("/bin/sleep", "3600"),
    ("/bin/sh", "-c", "while :; do :; done"),
    ("/bin/sh", "-c", "for i in 1 2 3; do dd if=/dev/zero of=/dev/null bs=1M count=20 2>/dev/null; sleep 1; done"),
    ("/bin/true",),
)


@dataclass
class Churn:
    """Pods of one lab, and what is known of them by their own files."""

    lab: Lab
    chance: random.Random
    pods: list[BornPod] = field(default_factory=list)
    used_s: dict[tuple[str, str], float] = field(default_factory=dict)  # by pod and container: CPU time, as last read
    seen_s: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # and when it was read
    born: int = 0
    ended: int = 0
    removed_ns: dict[str, int] = field(default_factory=dict)  # by pod

    def step(self) -> None:
        """Let something happen."""
        what = self.chance.random()
        if not self.pods or (what < 0.35 and len(self.pods) < MOST_PODS):
            self.bear()
        elif what < 0.55:
            self.remove(self.chance.choice(self.pods))
        else:
            self.restart(self.chance.choice(self.pods))
        time.sleep(self.chance.random())
        self.look()

    def bear(self) -> None:
        """Bear a pod of one to three containers."""
        self.born += 1
        names = ("app", "sidecar", "job")[: self.chance.randint(1, 3)]
        self.pods.append(self.lab.bear(Pod(f"churn-{self.born}", tuple(map(self.container, names)))))

    def container(self, name: str, attempt: int = 0) -> Container:
        """Return a container that does something."""
        quota_us = self.chance.choice((0, 5_000, 20_000))
        return Container(name, self.chance.choice(COMMANDS), attempt=attempt, cpu_quota_us=quota_us)

    def restart(self, pod: BornPod) -> None:
        """End a container, if it has not ended by itself, and start it anew."""
        name = self.chance.choice(sorted(pod.container_ids))
        self.look()
        self.ended += 1
        self.pods[self.pods.index(pod)] = self.lab.restart(pod, self.container(name, self.ended))

    def remove(self, pod: BornPod) -> None:
        """Remove a pod."""
        self.look()
        self.lab.remove(pod)
        self.pods.remove(pod)
        self.removed_ns[pod.pod.uid] = time.time_ns()
        self.ended += len(pod.container_ids)

    def look(self) -> None:
        """Read how much CPU time each container has used."""
        for pod in self.pods:
            for container_id in pod.container_ids.values():
                used_s = cpu_time_s(f"{pod.pod.cgroup}/{container_id}")
                if used_s is not None:
                    self.used_s[pod.pod.uid, container_id] = used_s
                    self.seen_s.setdefault((pod.pod.uid, container_id), []).append(time.monotonic())


def cpu_time_s(path: str) -> float | None:
    """Return what the kernel says of a cgroup, read by its own means; None when it is gone."""
    try:
        if AT.cpuacct_v1:
            return int(Path(f"{AT.cpuacct_v1}{path}/cpuacct.usage").read_text()) / 1e9
        stat = dict(map(str.split, Path(f"{AT.v2}{path}/cpu.stat").read_text().splitlines()))
        return int(stat["usage_usec"]) / 1e6
    except OSError:
        return None


def agent(directory: Path) -> Agent:
    """Return an agent that writes everything to one file."""
    settings = {
        "OTEL_KERNEL_OUTPUT": f"file:{directory / 'exported.jsonl'}",
        "OTEL_KERNEL_EBPF": "require",
        "OTEL_KERNEL_KUBERNETES": "off",
        "OTEL_KERNEL_BIRTH_QUIET": "2",
        "OTEL_METRIC_EXPORT_INTERVAL": str(INTERVAL_MS),
    }
    return Agent(settings, directory / f"agent-{time.time_ns()}.log")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Return a private containerd."""
    with Lab() as lab:
        yield lab


def test_churn(lab: Lab, tmp_path: Path) -> None:
    """No series goes back, moves its start, meets another or stays; what ended had at least what its file had said."""
    churn = Churn(lab, random.Random(1))  # noqa: S311 - a test that repeats itself
    exported = Exported(tmp_path / "exported.jsonl")
    restarts_ns, said = [], []
    for _ in range(2):
        restarts_ns.append(time.time_ns())
        with agent(tmp_path) as started:
            until = time.monotonic() + SECONDS / 2
            while time.monotonic() < until:
                churn.step()
                exported.read()
            if len(restarts_ns) == 2:
                while churn.pods:
                    churn.remove(churn.pods[0])
            exported.wait_for_collection()
            assert started.stop() == 0
            said += started.messages()
    exported.read()

    assert [line for line in said if "Traceback" in line or "cannot be read" in line] == []
    assert list(broken(exported.points, tuple(restarts_ns[1:]))) == []
    mine = {uid for uid, _ in churn.used_s}
    last = {point.key: point for point in exported.points if point.resource.get("k8s.pod.uid") in mine}
    # What only the first agent knew - what ended containers had - stops with it, where the pod lived on.
    over = {uid for uid in mine if churn.removed_ns[uid] < restarts_ns[1]}
    by_last_agent = {key for key, point in last.items() if point.time_ns > restarts_ns[1]}
    expected = {key for key, point in last.items() if key in by_last_agent or point.resource["k8s.pod.uid"] in over}
    assert [key for key in expected if last[key].value is not None] == []
    assert {point.resource["k8s.pod.uid"] for point in last.values()} == mine
    assert {point.resource.get("k8s.pod.name", "") for point in last.values()} <= {
        f"churn-{number}" for number in range(1, churn.born + 1)
    }
    told_s = {
        (point.resource["k8s.pod.uid"], point.resource["container.id"]): point.value
        for point in exported.points
        if point.key.metric == "container.cpu.time" and point.value is not None
    }
    # One that came and went within an interval may have been gone before anybody looked.
    lasting = {whose for whose, times in churn.seen_s.items() if times[-1] - times[0] > 2 * INTERVAL_MS / 1000}
    assert lasting
    # On a busy machine a cgroup may be gone before its last values are read: no more of them than are counted.
    assert len({whose for whose in lasting if told_s.get(whose, -1.0) < churn.used_s[whose]}) <= exported.lost("ending")
    assert churn.ended >= 3
