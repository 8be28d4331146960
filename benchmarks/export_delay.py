"""How long after its end a birth is at the collector."""

from collections.abc import Callable

from benchmarks import agent
from benchmarks.receiver import Protocol, Receiver
from benchmarks.results import Result, Row
from demo.lab import Lab
from demo.pod import Container, Pod

NEEDS = ("containerd", "ctr", "runc", "gcc", "setpriv")
BIRTHS = 20
CONTAINERS = (Container("app"), Container("sidecar"))
QUIET_S = 0.5
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http/protobuf")
NS_PER_MS = 1_000_000


def measure(say: Callable[[str], None]) -> Result:
    """Bear pods of two containers beside an agent that sends to a real receiver."""
    rows = []
    with Lab() as lab:
        for protocol in PROTOCOLS:
            say(f"{BIRTHS} births, {protocol}")
            delays_ms = _delays_ms(lab, protocol)
            rows.append(Row(f"quiet period's end to arrival, {protocol}", delays_ms, "ms"))
    method = (
        f"{BIRTHS} pods of two containers one after the other; OTEL_KERNEL_BIRTH_QUIET={QUIET_S}. From the last time "
        "that any span or event of the trace tells, plus the quiet period, to the request's arrival at a receiver on "
        "loopback."
    )
    notes = ["a birth `known` to be complete waits for no quiet period; neither API server nor kubelet is asked here"]
    return Result("How long after its end is a birth at the collector?", method, rows, notes)


def _delays_ms(lab: Lab, protocol: Protocol) -> list[float]:
    with Receiver(protocol) as receiver, agent.running(receiver.settings | {"OTEL_KERNEL_BIRTH_QUIET": str(QUIET_S)}):
        born = [lab.bear(Pod(name=f"delay-{number}", containers=CONTAINERS)) for number in range(BIRTHS)]
        arrivals = receiver.wait_for(each.pod.uid for each in born)
        for each in born:
            lab.remove(each)
    return [(arrival.arrived_ns - arrival.last_ns) / NS_PER_MS - QUIET_S * 1000 for arrival in arrivals]
