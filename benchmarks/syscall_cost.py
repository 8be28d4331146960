"""What is added to a system call."""

import contextlib
import json
import secrets
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import agent, container_cgroup, empty_pair, others
from benchmarks.results import Bar, Result, Row, times
from otel_kernel.kernel import syscalls

NEEDS = ("gcc", "bpftrace", "unshare", "mount", "chrt")
ROUNDS = 5
PROGRAMS = Path(__file__).with_name("programs")
RATIO_LIMIT = 1.5
TRACED_LIMIT_NS = 500
ANNOTATIONS = {
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.container-name": "caller",
    "io.kubernetes.cri.sandbox-name": "benchmark",
    "io.kubernetes.cri.sandbox-namespace": "default",
}
LOOP_LIMIT_S = 60

Samples = dict[tuple[str, str], list[float]]  # (observer, caller) -> ns of one call, one a round


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls what, how often. A drawn call sends a record: without pauses the ring would be full, which is cheap."""

    call: str = "getppid"
    batches: int = 200
    calls: int = 2_000
    pause_ms: int = 0
    in_pod: bool = False
    in_birth: bool = False

    @property
    def made(self) -> int:
        """How many calls it makes."""
        return self.batches * self.calls


GETPPID = "getppid"
UNSHARE = Caller("unshare", batches=10, calls=1_000, pause_ms=20)
UMOUNT = Caller("umount2", batches=10, calls=1_000, pause_ms=20)
CALLERS = {
    GETPPID: Caller(),
    "getppid in a pod": Caller(in_pod=True),
    "getppid in a birth": Caller(in_birth=True),
    "unshare": UNSHARE,
    "unshare in a birth": Caller("unshare", UNSHARE.batches, UNSHARE.calls, UNSHARE.pause_ms, in_birth=True),
    "umount2": UMOUNT,
    "umount2 in a birth": Caller("umount2", UMOUNT.batches, UMOUNT.calls, UMOUNT.pause_ms, in_birth=True),
}
IN_POD = "getppid in a pod"
BY_OBSERVER = {
    "nobody": (GETPPID, "unshare", "umount2"),
    "empty pair": (GETPPID,),
    "ours": (GETPPID, IN_POD, "getppid in a birth", "unshare in a birth", "umount2 in a birth"),
    "ours, counting nothing": (IN_POD,),
    "ours, counting all": (IN_POD,),
    "bpftrace": (GETPPID, IN_POD),
}
SETTINGS = {
    "ours": {},
    "ours, counting nothing": {"METRICS": "births"},
    "ours, counting all": {
        "SYSCALL_NAMES": "all",
        "SYSCALL_ERRORS": "on",
        "SYSCALL_DURATION": "futex",
        "OPEN_PATHS": "on",
    },
}


def measure(say: Callable[[str], None]) -> Result:
    """Measure all callers under all observers, in rounds, the observers in another order each time."""
    samples: Samples = {(observer, caller): [] for observer, callers in BY_OBSERVER.items() for caller in callers}
    with tempfile.TemporaryDirectory() as directory, container_cgroup.made() as container:
        bench = _Bench(Path(directory), container)
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            observers = list(BY_OBSERVER)
            first = number % len(observers)
            for observer in observers[first:] + observers[:first]:
                for caller, cost_ns in bench.round(observer).items():
                    samples[observer, caller].append(cost_ns)
    return _result(samples)


class _Bench:
    """The compiled programs, a container's cgroup, and the observers by name."""

    def __init__(self, directory: Path, container: Path) -> None:
        self._container = container
        self._bundle = directory / "bundle"
        self._births = directory / "births.jsonl"
        self._calls = _compile("calls", directory / "calls")
        self._daemon = _compile("daemon", directory / "containerd")
        self._numbers = syscalls.table()
        self._bundle.mkdir()
        (self._bundle / "config.json").write_text(json.dumps({"annotations": ANNOTATIONS}))

    def round(self, observer: str) -> dict[str, float]:
        """Return what each caller's call takes under an observer, in ns. Raises RuntimeError when it saw nothing."""
        observers: Mapping[str, Callable[[], AbstractContextManager[object]]] = {
            "nobody": contextlib.nullcontext,
            "empty pair": empty_pair.attached,
            "bpftrace": self._bpftrace,
            **{name: partial(self._ours, name) for name in SETTINGS},
        }
        with observers[observer]():
            return {name: self._cost_ns(CALLERS[name]) for name in BY_OBSERVER[observer]}

    def _cost_ns(self, caller: Caller) -> float:
        """Return what one call takes: the fastest batch, because what interrupts a loop is no part of a call."""
        environment = {
            "CALL": caller.call,
            "BATCHES": str(caller.batches),
            "CALLS": str(caller.calls),
            "PAUSE_MS": str(caller.pause_ms),
        }
        if caller.in_pod:
            environment["CGROUP"] = str(self._container)
        command = [str(self._calls)]
        if caller.in_birth:
            command = self._as_runtime("/nowhere", secrets.token_hex(32))
        said = subprocess.check_output(
            ["chrt", "--fifo", "1", *command], env=environment, text=True, timeout=LOOP_LIMIT_S
        )
        return min(map(float, said.split()))

    def _as_runtime(self, bundle: str, container_id: str) -> list[str]:
        return [str(self._daemon), str(self._calls), "create", "--bundle", bundle, container_id]

    @contextlib.contextmanager
    def _ours(self, name: str) -> Iterator[None]:
        self._births.unlink(missing_ok=True)
        settings = {f"OTEL_KERNEL_{setting}": value for setting, value in SETTINGS[name].items()}
        with agent.running({"OTEL_KERNEL_OUTPUT": f"file:{self._births}"} | settings):
            # Whose container it is the agent learns from the bundle that a runtime is told of.
            known = self._as_runtime(str(self._bundle), self._container.name)
            subprocess.run(known, env={"CALL": GETPPID}, check=True, timeout=LOOP_LIMIT_S)
            yield
        in_births = sum(CALLERS[caller].made for caller in BY_OBSERVER[name] if CALLERS[caller].in_birth)
        if (seen := agent.counted(self._births, "otel_kernel.process.syscalls")) < in_births:
            raise RuntimeError(f"the agent counted {seen} of {in_births} calls in births: they were not traced")
        made = CALLERS[IN_POD].made if "METRICS" not in SETTINGS[name] else 0
        if (calls := agent.measured(self._births, "otel_kernel.container.syscalls")) < made:
            raise RuntimeError(f"the agent counted {calls} of {made} calls in a pod")

    @contextlib.contextmanager
    def _bpftrace(self) -> Iterator[None]:
        with others.bpftrace() as counts:
            yield
        made = sum(CALLERS[name].made for name in BY_OBSERVER["bpftrace"])
        if (seen := counts.of(self._numbers[GETPPID])) < made:
            raise RuntimeError(f"bpftrace counted {seen} of {made} calls")


def _compile(name: str, program: Path) -> Path:
    compiler = shutil.which("gcc") or "gcc"
    subprocess.run([compiler, "-O2", "-o", program, PROGRAMS / f"{name}.c"], check=True, capture_output=True)
    return program


def _result(samples: Samples) -> Result:
    def added(observer: str, caller: str) -> list[float]:
        base = samples["nobody", CALLERS[caller].call]
        return [with_ - without for with_, without in zip(samples[observer, caller], base, strict=True)]

    empty = added("empty pair", GETPPID)

    def row(what: str, observer: str, caller: str, bar: str = "") -> Row:
        cost = added(observer, caller)
        ratios = [each / floor for each, floor in zip(cost, empty, strict=True)]
        bars = {
            "": None,
            "ratio": Bar(statistics.median(ratios), RATIO_LIMIT, "x empty pair"),
            "ns": Bar(statistics.median(cost), TRACED_LIMIT_NS, "ns"),
        }
        return Row(what, cost, "ns", times(ratios, "empty pair"), bars[bar])

    rows = [
        Row("getppid, nobody looks on (the call itself)", samples["nobody", GETPPID], "ns"),
        row("added by empty programs on sys_enter and sys_exit", "empty pair", GETPPID),
        row("added by otel-kernel, outside any pod", "ours", GETPPID, "ratio"),
        row("added by otel-kernel, in a pod: counted by name", "ours", IN_POD, "ratio"),
        row("the same with all names, errors, durations and paths asked for", "ours, counting all", IN_POD),
        row("the same with nothing counted for containers", "ours, counting nothing", IN_POD),
        row("added by otel-kernel, in a birth: a call that is counted", "ours", "getppid in a birth", "ns"),
        row("added by otel-kernel, in a birth: a call that is drawn (unshare)", "ours", "unshare in a birth", "ns"),
        row("added by otel-kernel, in a birth: one with a path (umount2)", "ours", "umount2 in a birth", "ns"),
        row("added by bpftrace counting by cgroup and call, outside any pod", "bpftrace", GETPPID),
        row("added by bpftrace counting by cgroup and call, in a pod", "bpftrace", IN_POD),
    ]
    method = (
        "One C program calls getppid (unshare, umount2) in batches, at real-time priority; a round's figure is its "
        f"fastest batch, less that of the same round with nobody looking on. {ROUNDS} rounds, observers in turn, each "
        "loop in its own process. It was checked that the agent and bpftrace counted every call."
    )
    return Result("What is added to a system call?", method, rows)
