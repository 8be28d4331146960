"""What is added to a context switch."""

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Self

from benchmarks import container_cgroup, empty_pair
from benchmarks.results import Bar, Result, Row, times
from otel_kernel.kernel.counting import Counting
from otel_kernel.kernel.life import Life
from otel_kernel.kernel.probes import Loading, Sizes

NEEDS = ("gcc", "chrt")
ROUNDS = 40
BATCHES, SWITCHES = 50, 200
PROGRAM = Path(__file__).with_name("programs") / "switches.c"
TRACEPOINT = "sched_switch"
RATIO_LIMIT = 2.0

NODE, POD = "on the node", "in a pod"
PLACES = (NODE, POD)
OBSERVERS = ("nobody", "empty program", "ours")

Samples = dict[tuple[str, str], list[float]]  # (observer, place) -> ns of one switch, one a round


def measure(say: Callable[[str], None]) -> Result:
    """Measure both places under all observers, in rounds, the observers in another order each time."""
    samples: Samples = {(observer, place): [] for observer in OBSERVERS for place in PLACES}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        container = stack.enter_context(container_cgroup.made())
        program = _compiled(directory)
        pairs = {NODE: stack.enter_context(_Pair(program)), POD: stack.enter_context(_Pair(program, container))}
        ours = stack.enter_context(_Ours(directory, container))
        observing: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
            "nobody": nullcontext,
            "empty program": lambda: empty_pair.attached(TRACEPOINT),
            "ours": ours.attached,
        }
        for number in range(ROUNDS):
            if number % 10 == 0:
                say(f"round {number + 1} of {ROUNDS}")
            for observer in OBSERVERS[number % 3 :] + OBSERVERS[: number % 3]:
                with observing[observer]():
                    for place, pair in pairs.items():
                        samples[observer, place].append(pair.switch_ns())
        ours.check()
    return _result(samples)


class _Pair:
    """Two processes that hand each other a byte when they are asked to: the same two in all rounds. Owned."""

    def __init__(self, program: Path, container: Path | None = None) -> None:
        environment = {"BATCHES": str(BATCHES), "SWITCHES": str(SWITCHES)}
        if container is not None:
            environment["CGROUP"] = str(container)
        command = ["chrt", "--fifo", "1", str(program)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def switch_ns(self) -> float:
        """Return what one switch takes. Raises RuntimeError when the two have ended."""
        told = ""
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            told = self._process.stdout.readline()
        if not told:
            raise RuntimeError("the processes that switch have ended")
        return float(told)


class _Ours:
    """What looks at switches, and nothing else of ours: system calls have their own benchmark. Owns the probes."""

    def __init__(self, cache: Path, container: Path) -> None:
        self._probes = Loading(cache, Sizes(), Counting(sched=True)).finish()
        counts = self._probes.containers
        if counts is None:
            raise RuntimeError("; ".join(self._probes.not_counted.values()))
        self._counts = counts
        self._counts.adopt(*(each.stat().st_ino for each in (container, container.parent)), is_below_pod=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._probes.close()

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Look at switches for as long as the context lasts."""
        self._counts.attach()
        try:
            yield
        finally:
            self._counts.detach()

    def check(self) -> None:
        """Raise RuntimeError when less was counted than happened."""
        (owner,) = self._counts.owners()
        life = Life.of(self._counts.row(owner.slot).life)
        made, seen = ROUNDS * BATCHES * SWITCHES, life.voluntary_switches + life.involuntary_switches
        if seen < made or sum(life.run_queue) < made - 2 * ROUNDS:  # the first waits began before anybody looked
            raise RuntimeError(f"of {made} switches {seen} were counted, and {sum(life.run_queue)} waits")


def _compiled(directory: Path) -> Path:
    program = directory / "switches"
    compiler = shutil.which("gcc") or "gcc"
    subprocess.run([compiler, "-O2", "-o", program, PROGRAM], check=True, capture_output=True)
    return program


def _result(samples: Samples) -> Result:
    def added(observer: str, place: str) -> list[float]:
        pairs = zip(samples[observer, place], samples["nobody", place], strict=True)
        return [with_ - without for with_, without in pairs]

    def row(what: str, observer: str, place: str, *, has_bar: bool = False) -> Row:
        cost = added(observer, place)
        ratio = statistics.median(cost) / statistics.median(added("empty program", place))
        bar = Bar(ratio, RATIO_LIMIT, "x empty program") if has_bar else None
        return Row(what, cost, "ns", times([ratio], "empty program"), bar)

    rows = [
        Row("a switch between two processes (with a read and a write), nobody looks on", samples["nobody", POD], "ns"),
        row("added by an empty program on sched_switch", "empty program", POD),
        row("added by otel-kernel, in a pod: switch, wait and its bucket", "ours", POD, has_bar=True),
        row("added by otel-kernel, on the node: no pod's", "ours", NODE, has_bar=True),
    ]
    method = (
        "Two processes of a C program on one CPU, at real-time priority, hand each other a byte; a round's figure is "
        f"the fastest of {BATCHES} batches of {SWITCHES} switches, less that of the same round with nobody looking on. "
        f"{ROUNDS} rounds, observers in turn. It was checked that every switch in the pod was counted, and its wait."
    )
    return Result("What is added to a context switch?", method, rows)
