"""What the agent costs on a full node at work, and whether a hundred pods at once lose it anything."""

import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import agent, smaps
from benchmarks.receiver import Receiver
from benchmarks.results import Bar, Result, Row
from demo.lab import BornPod, Lab
from demo.pod import Container, Pod

NEEDS = ("containerd", "ctr", "runc", "gcc", "setpriv")
AT_ONCE = 100
PODS = 110  # the kubelet's own limit
CONTAINERS = (Container("app"), Container("sidecar"))
BURST_QUIET_S = 30  # nothing but quiet tells the end of a birth here, and containers of one pod start seconds apart
BIRTH_EVERY_S = 6.0
INTERVAL_S = 15  # of metrics, the default
SETTLING_S = 4 * INTERVAL_S
OBSERVED_S = 8 * INTERVAL_S
CPU_LIMIT_PERCENT = 1
RSS_LIMIT_MB = 64
MB = 1_000_000
NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Observed:
    """What was seen of the agent."""

    idle_percent: float = 0.0  # CPU of one core while no pod comes or goes
    busy_percent: float = 0.0  # while one is born, and one removed, every few seconds
    after_start: smaps.Memory = field(default_factory=lambda: smaps.Memory(0, 0, 0, {}))
    at_end: smaps.Memory = field(default_factory=lambda: smaps.Memory(0, 0, 0, {}))


def measure(say: Callable[[str], None]) -> Result:
    """Bear a hundred pods at once beside one agent; with those and ten more there, let another one work."""
    with Lab() as lab, ThreadPoolExecutor(AT_ONCE) as executor:
        say(f"{AT_ONCE} pods at once")
        burst, born = _burst(lab, executor)
        say(f"{PODS - AT_ONCE} more, and an agent that comes late")
        born += [lab.bear(_pod(f"node-{number}")) for number in range(PODS - AT_ONCE)]
        observed = _observe(lab, say)
        list(executor.map(lab.remove, born))
    return _result(burst, observed)


def _burst(lab: Lab, executor: ThreadPoolExecutor) -> tuple[dict[str, int], list[BornPod]]:
    """Return how many births there were, how many of them whole, and what was lost; and the pods."""
    with tempfile.TemporaryDirectory() as directory, Receiver("grpc") as receiver:
        output = Path(directory) / "births.jsonl"
        settings = {"OTEL_KERNEL_BIRTH_QUIET": str(BURST_QUIET_S), "OTEL_KERNEL_METRICS": "births"}
        settings |= receiver.settings | {"OTEL_KERNEL_OUTPUT": f"otlp,file:{output}"}
        with agent.running(settings):
            born = list(executor.map(lab.bear, [_pod(f"burst-{number}") for number in range(AT_ONCE)]))
            receiver.wait_for([each.pod.uid for each in born])
        roots = [line for line in output.read_text().splitlines() if '"pod birth' in line]
        mine = [line for line in roots if any(each.pod.uid in line for each in born)]
        whole = [line for line in mine if '"stringValue":"quiet"' in line and '"k8s.pod.name"' in line]
        lost = sum(map(int, re.findall(r'"otel_kernel.birth.events.lost","value":{"intValue":"(\d+)"', "".join(mine))))
        return {"births": len(mine), "whole": len(whole), "lost": lost}, born


def _observe(lab: Lab, say: Callable[[str], None]) -> Observed:
    observed = Observed()
    with Receiver("grpc") as receiver, agent.running(receiver.settings) as started:
        time.sleep(SETTLING_S)
        observed.after_start = smaps.of(started.pid)
        say("no pod comes or goes")
        observed.idle_percent = _cpu_percent(started, lambda: time.sleep(OBSERVED_S))
        say("pods come and go")
        observed.busy_percent = _cpu_percent(started, lambda: _come_and_go(lab))
        observed.at_end = smaps.of(started.pid)
    return observed


def _cpu_percent(started: agent.Agent, work: Callable[[], object]) -> float:
    before_ns, began = started.cpu_ns(), time.monotonic()
    work()
    return (started.cpu_ns() - before_ns) / NS_PER_S / (time.monotonic() - began) * 100


def _come_and_go(lab: Lab) -> None:
    until = time.monotonic() + OBSERVED_S
    number, before = 0, None
    while (now := time.monotonic()) < until:
        born = lab.bear(_pod(f"passing-{number}"))
        if before is not None:
            lab.remove(before)
        number, before = number + 1, born
        time.sleep(max(0.0, now + BIRTH_EVERY_S - time.monotonic()))
    if before is not None:
        lab.remove(before)


def _pod(name: str) -> Pod:
    return Pod(name=name, containers=CONTAINERS)


def _result(burst: dict[str, int], observed: Observed) -> Result:
    busy = Bar(observed.busy_percent, CPU_LIMIT_PERCENT, "%")
    rss = Bar(observed.at_end.rss / MB, RSS_LIMIT_MB, "MB")
    whole = Bar(burst["whole"], AT_ONCE, "births", at_least=True)
    rows = [
        Row(f"{AT_ONCE} pods at once: births, named and whole", (burst["whole"],), "births", bar=whole),
        Row("- events lost in them", (burst["lost"],), "events", bar=Bar(burst["lost"], 0, "events")),
        Row(f"CPU of one core, {PODS} pods, nothing happens", (observed.idle_percent,), "%"),
        Row(f"- with {60 / BIRTH_EVERY_S:.0f} births a minute", (observed.busy_percent,), "%", bar=busy),
        Row(f"RSS, {PODS} pods found at the start", (observed.after_start.rss / MB,), "MB"),
        Row("- after the births", (observed.at_end.rss / MB,), "MB", bar=rss),
        *(Row(f"- in {kind}", (held / MB,), "MB") for kind, held in observed.at_end.parts.items()),
    ]
    method = (
        f"Real pods of two containers; OTLP/gRPC to a real receiver. A first agent sees {AT_ONCE} of them born at once "
        f"(OTEL_KERNEL_BIRTH_QUIET={BURST_QUIET_S}, default sizes of ring and maps); a second one finds {PODS} and "
        f"exports all metrics every {INTERVAL_S} s, Kubernetes off. CPU time: all its threads (schedstat) over "
        f"{OBSERVED_S} s; memory: /proc/PID/status and smaps, MB are 10^6 bytes."
    )
    return Result("What does the agent cost on a full node at work?", method, rows)
