"""How much slower a pod is born, and how much CPU the agent takes for it."""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from benchmarks import agent, others
from benchmarks.receiver import Receiver
from benchmarks.results import Bar, Result, Row, interval_of_median, said
from demo.lab import Lab
from demo.pod import Container, Pod

NEEDS = ("containerd", "ctr", "runc", "gcc", "setpriv", "strace", "bpftrace", "unshare", "mount")
BIRTHS_A_BLOCK = 5
BLOCKS = {"otel-kernel": 6, "bpftrace": 2, "strace": 2}  # each of so many births off and as many on
CONTAINERS = (Container("app"), Container("sidecar"))
QUIET_S = 0.5
SETTLE_S = 0.3  # for what the birth before left to be done
SLOWDOWN_LIMIT_PERCENT = 5
CPU_LIMIT_MS = 6
MS = 1000
NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Pairs:
    """Births under one observer, each beside one without it."""

    off_ms: list[float] = field(default_factory=list)
    on_ms: list[float] = field(default_factory=list)

    @property
    def slowdown_percent(self) -> list[float]:
        """Each pair's difference, in percent of the births without the observer."""
        base = statistics.median(self.off_ms)
        return [(on - off) / base * 100 for on, off in zip(self.on_ms, self.off_ms, strict=True)]


def measure(say: Callable[[str], None]) -> Result:
    """Bear pods in blocks with and without each observer, on-off and off-on in turn."""
    pairs = {name: Pairs() for name in BLOCKS}
    with Lab() as lab, Receiver("grpc") as receiver:
        bench = _Bench(lab, receiver)
        bench.births_ms(nullcontext())  # the first ones fill caches
        for name, blocks in BLOCKS.items():
            for number in range(blocks):
                say(f"{name}: block {number + 1} of {blocks}")
                for on in (number % 2 == 0, number % 2 == 1):
                    took = bench.births_ms(bench.observer(name) if on else nullcontext())
                    (pairs[name].on_ms if on else pairs[name].off_ms).extend(took)
    return _result(pairs, bench.cpu_ms)


class _Bench:
    """A lab in which births are timed, and the CPU time that the agent took for each."""

    def __init__(self, lab: Lab, receiver: Receiver) -> None:
        self._lab = lab
        self._receiver = receiver
        self.cpu_ms: list[float] = []  # of a birth, one figure a block

    def observer(self, name: str) -> AbstractContextManager[object]:
        """Return a context in which that observer watches."""
        if name == "strace":
            return others.strace(self._lab.containerd_pid)
        if name == "bpftrace":
            return others.bpftrace()
        return agent.running(self._receiver.settings | {"OTEL_KERNEL_BIRTH_QUIET": str(QUIET_S)})

    def births_ms(self, observer: AbstractContextManager[object]) -> list[float]:
        """Return how long the pods' starts took, each from RunPodSandbox to the last StartContainer's return."""
        took, born = [], []
        with observer as observing:
            time.sleep(SETTLE_S)
            before_ns = observing.cpu_ns() if isinstance(observing, agent.Agent) else 0
            for number in range(BIRTHS_A_BLOCK):
                pod = Pod(name=f"slowdown-{number}", containers=CONTAINERS)
                self._lab.make_cgroup(pod)
                began = time.perf_counter()
                born.append(self._lab.bear(pod))
                took.append((time.perf_counter() - began) * MS)
                time.sleep(SETTLE_S)
            if isinstance(observing, agent.Agent):
                self._receiver.wait_for(each.pod.uid for each in born)
                self.cpu_ms.append((observing.cpu_ns() - before_ns) / NS_PER_MS / BIRTHS_A_BLOCK)
        for each in born:
            self._lab.remove(each)
        return took


def _result(pairs: dict[str, Pairs], cpu_ms: list[float]) -> Result:
    ours = pairs["otel-kernel"]
    rows = [Row("a pod's start, nobody looks on", ours.off_ms, "ms")]
    for name, each in pairs.items():
        lowest, highest = interval_of_median(each.slowdown_percent)
        bar = Bar(highest, SLOWDOWN_LIMIT_PERCENT, "%", of="upper end") if each is ours else None
        interval = f"95 %: {said(lowest)} .. {said(highest, '%')}"
        rows.append(Row(f"slower with {name}", each.slowdown_percent, "%", interval, bar))
    cpu_bar = Bar(statistics.median(cpu_ms), CPU_LIMIT_MS, "ms")
    rows.append(Row("CPU time of the agent for one birth", cpu_ms, "ms", bar=cpu_bar))
    method = (
        "Pods of two containers, from RunPodSandbox to the last StartContainer's return, in alternating blocks of "
        f"{BIRTHS_A_BLOCK} births with and without the observer; each birth's pair is the one in the other block. "
        "Interval of the median of the paired differences by bootstrap. `strace -f` on containerd, to no output; "
        "bpftrace counts by cgroup and call. CPU time: all threads of the agent (schedstat), from before a block's "
        "first birth until its last has arrived by OTLP/gRPC."
    )
    return Result("How much slower is a pod born?", method, rows)
