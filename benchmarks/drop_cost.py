"""What is added to a dropped packet."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import empty_pair
from benchmarks.results import Result, Row, times
from otel_kernel.kernel.drops import TRACEPOINT
from otel_kernel.kernel.probes import Loading, Sizes

NEEDS = ("gcc", "unshare", "ip")
ROUNDS = 5
BATCHES, PACKETS = 200, 2_000
PROGRAM = Path(__file__).with_name("programs") / "drops.c"
LOOP_LIMIT_S = 60
HOLD = "ip link set lo up; echo held; exec sleep infinity"

NODE, POD = "on the node", "in a pod"
POD_ID = 1
BY_OBSERVER = {"nobody": (POD,), "empty program": (POD,), "ours": (NODE, POD)}

Samples = dict[tuple[str, str], list[float]]  # (observer, place) -> ns of one packet, one a round


def measure(say: Callable[[str], None]) -> Result:
    """Measure all places under all observers, in rounds, the observers in another order each time."""
    samples: Samples = {(observer, place): [] for observer, places in BY_OBSERVER.items() for place in places}
    with tempfile.TemporaryDirectory() as directory, _Bench(Path(directory)).network() as bench:
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            observers = list(BY_OBSERVER)
            for observer in observers[number % 3 :] + observers[: number % 3]:
                for place, cost_ns in bench.round(observer).items():
                    samples[observer, place].append(cost_ns)
    return _result(samples)


class _Bench:
    """The compiled program, a network for a pod, and the observers by name."""

    def __init__(self, directory: Path) -> None:
        self._cache = directory
        self._program = directory / "drops"
        compiler = shutil.which("gcc") or "gcc"
        subprocess.run([compiler, "-O2", "-o", self._program, PROGRAM], check=True, capture_output=True)

    @contextlib.contextmanager
    def network(self) -> Iterator["_Bench"]:
        """Let there be another network for as long as the context lasts."""
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", HOLD], stdout=subprocess.PIPE, text=True)
        try:
            if holder.stdout is None or holder.stdout.readline() != "held\n":
                raise RuntimeError("a network cannot be made")
            self._networks = {NODE: "/proc/self/ns/net", POD: f"/proc/{holder.pid}/ns/net"}
            yield self
        finally:
            holder.kill()
            holder.communicate()

    def round(self, observer: str) -> dict[str, float]:
        """Return what each place's packet takes under an observer, in ns. Raises RuntimeError when it saw less."""
        observers: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
            "nobody": contextlib.nullcontext,
            "empty program": lambda: empty_pair.attached(TRACEPOINT),
            "ours": self._ours,
        }
        with observers[observer]():
            return {place: self._cost_ns(place) for place in BY_OBSERVER[observer]}

    def _cost_ns(self, place: str) -> float:
        """Return what one packet takes: the fastest batch, because what interrupts a loop is no part of a packet."""
        environment = {"NETWORK": self._networks[place], "BATCHES": str(BATCHES), "PACKETS": str(PACKETS)}
        said = subprocess.check_output([self._program], env=environment, text=True, timeout=LOOP_LIMIT_S)
        return min(map(float, said.split()))

    @contextlib.contextmanager
    def _ours(self) -> Iterator[None]:
        """Attach what counts drops, and nothing else of ours: system calls have their own benchmark."""
        probes = Loading(self._cache, Sizes(), drops=True).finish()
        try:
            drops = probes.drops
            if drops is None:
                raise RuntimeError(probes.why_no_drops)
            for place, pod in ((NODE, 0), (POD, POD_ID)):
                with Path(self._networks[place]).open() as network:
                    drops.learn(network.fileno(), pod)
            drops.attach()
            yield
            made, seen = BATCHES * PACKETS, sum(drops.read()[POD_ID].values())
            if seen < made:
                raise RuntimeError(f"{seen} of {made} dropped packets were counted")
        finally:
            probes.close()


def _result(samples: Samples) -> Result:
    base = samples["nobody", POD]

    def added(observer: str, place: str) -> list[float]:
        return [with_ - without for with_, without in zip(samples[observer, place], base, strict=True)]

    empty = added("empty program", POD)

    def row(what: str, observer: str, place: str) -> Row:
        cost = added(observer, place)
        ratios = [each / floor for each, floor in zip(cost, empty, strict=True)]
        return Row(what, cost, "ns", times(ratios, "empty program"))

    rows = [
        Row("a packet that is sent and dropped, nobody looks on", base, "ns"),
        row("added by an empty program on kfree_skb", "empty program", POD),
        row("added by otel-kernel, in a pod: counted by reason, location and side", "ours", POD),
        row("added by otel-kernel, on the node: no pod's", "ours", NODE),
    ]
    method = (
        "One C program sends frames over the loopback device that no protocol takes, in batches of "
        f"{PACKETS:,}; a round's figure is its fastest batch, less that of the same round with nobody looking on. "
        f"{ROUNDS} rounds, observers in turn. It was checked that every packet of the pod was counted."
    )
    return Result("What is added to a dropped packet?", method, rows)
