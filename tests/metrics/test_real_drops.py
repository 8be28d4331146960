"""Packets that are dropped of real pods: what an agent tells, from the kernel to its file."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from demo.agent import Agent
from demo.lab import BornPod, Lab
from demo.pod import Pod
from otel_kernel.node import cgroupfs

pytestmark = pytest.mark.containerd

CLOSED_PORT = 9
LIMIT_S = 20
METRIC = "otel_kernel.pod.network.drops"
SEND = "import socket; s = socket.socket(2, 2); [s.sendto(b'x', ('{address}', 9)) for _ in range({packets})]"

Kind = tuple[str, str]  # reason and side
Point = tuple[int, int | None]  # its time, Unix ns, and its value


class Told:
    """What an agent wrote to its file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def points(self, uid: str) -> dict[Kind, list[Point]]:
        """Return the points of a pod's drops in the order in which they were told."""
        found: dict[Kind, list[Point]] = {}
        for resource, metric in self._metrics():
            if resource.get("service.instance.id") == uid and metric["name"] == METRIC:
                for point in metric["sum"]["dataPoints"]:
                    named = _attributes(point)
                    kind = (named["otel_kernel.drop.reason"], named["otel_kernel.drop.side"])
                    value = int(point["asInt"]) if "asInt" in point else None
                    found.setdefault(kind, []).append((int(point["timeUnixNano"]), value))
        return found

    def dropped(self, uid: str, reason: str, side: str) -> int:
        """Return the last value of a kind."""
        told = [value for _, value in self.points(uid).get((reason, side), ()) if value is not None]
        return told[-1] if told else 0

    def programs(self) -> dict[str, int]:
        """Return how often each BPF program ran by the last that was told."""
        found = {}
        for _, metric in self._metrics():
            if metric["name"] == "otel_kernel.agent.bpf.program.runs":
                for point in metric["sum"]["dataPoints"]:
                    found[_attributes(point)["otel_kernel.bpf.program"]] = int(point["asInt"])
        return found

    def _metrics(self) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
        for line in self._file.read_text().split("\n")[:-1]:
            for each in json.loads(line).get("resourceMetrics", ()):
                for scope in each["scopeMetrics"]:
                    for metric in scope["metrics"]:
                        yield _attributes(each["resource"]), metric


def _attributes(of: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"].get("stringValue", "") for each in of.get("attributes", ())}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a private containerd."""
    with Lab() as lab:
        yield lab


@contextmanager
def agent(directory: Path, **settings: str) -> Iterator[Told]:
    """Run an agent that measures networks and itself twice a second."""
    file = directory / "metrics.jsonl"
    mine = {"OUTPUT": f"file:{file}", "METRICS": "network,agent", "KUBERNETES": "off", "EBPF": "require", **settings}
    environment = {f"OTEL_KERNEL_{name}": value for name, value in mine.items()} | {
        "OTEL_METRIC_EXPORT_INTERVAL": "500"
    }
    with Agent(environment, directory / "agent.log") as running:
        yield Told(file)
        assert running.stop() == 0
        assert [line for line in running.messages() if "Traceback" in line or "Error" in line] == []


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def inside(born: BornPod, *command: str) -> str:
    """Return what a program prints that is run in a pod's network."""
    hierarchy = cgroupfs.hierarchy(Path("/sys/fs/cgroup")).root
    (pid,) = cgroupfs.processes(hierarchy, f"{born.pod.cgroup}/{born.sandbox_id}")
    words = ["nsenter", "--target", str(pid), "--net", *command]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout


def address(born: BornPod) -> str:
    """Return a pod's address."""
    told = re.search(r"inet ([0-9.]+)", inside(born, "ip", "-4", "addr", "show", "dev", "eth0"))
    assert told
    return told[1]


def send(to: str, packets: int) -> None:
    """Send UDP packets to a closed port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(packets):
            sender.sendto(b"x", (to, CLOSED_PORT))


def test_drops_of_real_pods(lab: Lab, tmp_path: Path) -> None:
    """A pod that was there before and one born later have their drops, exactly; one on the host's network has none."""
    before = lab.bear(Pod("dropping-before"))
    with agent(tmp_path, BPF_STATS="on") as told:
        later, on_host = lab.bear(Pod("dropping-later")), lab.bear(Pod("on-host", host_network=True))
        until(lambda: {before.pod.uid, later.pod.uid} <= _pods(told))
        send(address(before), 1003)
        send(address(later), 401)
        until(lambda: told.dropped(later.pod.uid, "NO_SOCKET", "pod") > 0)
        send(address(later), 17)
        lab.remove(later)
        lab.remove(before)
        lab.remove(on_host)
        until(lambda: all(_has_ended(told, born.pod.uid) for born in (before, later)))
    assert told.dropped(before.pod.uid, "NO_SOCKET", "pod") == 1003
    assert told.dropped(later.pod.uid, "NO_SOCKET", "pod") == 418
    assert told.points(on_host.pod.uid) == {}
    assert told.programs()["on_kfree_skb"] >= 1003 + 418
    for born in (before, later):
        points = told.points(born.pod.uid)
        assert {points[kind][0][1] for kind in (("_OTHER", "pod"), ("_OTHER", "host"), ("NO_SOCKET", "pod"))} == {0}
        for series in points.values():
            times, values = [at for at, _ in series], [value for _, value in series]
            assert times == sorted(set(times))
            assert values[-1] is None
            known = [value for value in values if value is not None]  # without containers a pod has no points
            assert known == sorted(known)


def _pods(told: Told) -> set[str]:
    return {resource["service.instance.id"] for resource, metric in told._metrics() if metric["name"] == METRIC}


def _has_ended(told: Told, uid: str) -> bool:
    return all(series[-1][1] is None for series in told.points(uid).values())


def test_dropped_on_the_hosts_side(lab: Lab, tmp_path: Path, require: Callable[[object, str], None]) -> None:
    """What the host refuses of a pod's packets at its end of the pod's veth is on the host's side."""
    require(shutil.which("nft"), "nft is not installed (Debian: nftables)")
    born = lab.bear(Pod("policed"))
    index = re.search(r"eth0@if(\d+)", inside(born, "ip", "link", "show", "dev", "eth0"))
    assert index
    table = f"otel-kernel-test-{os.getpid()}"
    hook = f'type filter hook ingress device "{socket.if_indextoname(int(index[1]))}" priority 0'
    rules = f"table netdev {table} {{\nchain only {{\n{hook}; ip protocol udp drop;\n}}\n}}\n"
    with agent(tmp_path) as told:
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True, timeout=30)
        try:
            inside(born, sys.executable, "-c", SEND.format(address="10.99.255.1", packets=211))
        finally:
            subprocess.run(["nft", "delete", "table", "netdev", table], check=True, timeout=30)
        until(lambda: told.dropped(born.pod.uid, "NETFILTER_DROP", "host") == 211)
        lab.remove(born)


def test_groups_without_networks(lab: Lab, tmp_path: Path) -> None:
    """An agent that does not measure networks does not look at drops at all."""
    born = lab.bear(Pod("not-measured"))
    with agent(tmp_path, METRICS="agent", BPF_STATS="on") as told:
        send(address(born), 10)
        until(lambda: bool(told.programs()))
    assert "on_kfree_skb" not in told.programs()
    assert told.points(born.pod.uid) == {}
    lab.remove(born)
