"""How much memory the agent holds, and whether it grows."""

import time
from collections.abc import Callable

from benchmarks import agent, smaps
from benchmarks.receiver import Receiver
from benchmarks.results import Bar, Result, Row
from demo.lab import Lab
from demo.pod import Pod

NEEDS = ("containerd", "ctr", "runc", "gcc", "setpriv")
SAMPLES_AT = (0, 10, 50, 100)
QUIET_S = 0.5
LIMIT_MB = 64
MB = 1_000_000


def measure(say: Callable[[str], None]) -> Result:
    """Bear and remove pods one after the other beside an agent that sends by OTLP/gRPC, the largest way to send."""
    taken: dict[int, smaps.Memory] = {}
    with Receiver("grpc") as receiver, Lab() as lab:
        settings = receiver.settings | {"OTEL_KERNEL_BIRTH_QUIET": str(QUIET_S)}
        with agent.running(settings) as started:
            uids: list[str] = []
            for births in SAMPLES_AT:
                while len(uids) < births:
                    pod = Pod(name=f"memory-{len(uids)}")
                    lab.remove(lab.bear(pod))
                    uids.append(pod.uid)
                receiver.wait_for(uids)
                time.sleep(QUIET_S)
                taken[births] = smaps.of(started.pid)
                say(f"after {births} births: {taken[births].rss / MB:.1f} MB")
            maps_bytes = smaps.of_maps(started.pid)
    return _result(taken, maps_bytes)


def _result(taken: dict[int, smaps.Memory], maps_bytes: int) -> Result:
    *before, half, all_ = SAMPLES_AT
    last = taken[all_]
    rows = [_row(f"RSS after {births} births", taken[births].rss) for births in (*before, half)]
    rows.append(_row(f"RSS after {all_} births", last.rss, Bar(last.rss / MB, LIMIT_MB, "MB")))
    rows += [_row("- of it RssAnon", last.anonymous), _row("- of it RssFile", last.file)]
    rows += [_row(f"- in {kind}", held) for kind, held in last.parts.items()]
    rows.append(_row(f"growth of RssAnon from {half} to {all_} births", last.anonymous - taken[half].anonymous))
    rows.append(_row("kernel memory of the BPF maps, the ring included", maps_bytes))
    method = (
        "An agent that sends by OTLP/gRPC to a real receiver; pods with one container, born and removed one after the "
        "other. /proc/PID/status and smaps; MB are 10^6 bytes."
    )
    return Result("How much memory does the agent hold, and does it grow?", method, rows)


def _row(what: str, held_bytes: int, bar: Bar | None = None) -> Row:
    return Row(what, (held_bytes / MB,), "MB", bar=bar)
