"""What one collection of metrics costs on a full node."""

import contextlib
import os
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.full_node import CGROUPS, CONTAINERS, FullPod, full_node, tell
from benchmarks.results import Bar, Result, Row, times
from otel_kernel.agent import prepare_process
from otel_kernel.health import Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.moment import Moment
from otel_kernel.metrics.points import ResourceMeasurements
from otel_kernel.pods.directory import Directory
from otel_kernel.settings import METRIC_GROUPS, Observation
from otel_kernel.telemetry.encode import Host
from otel_kernel.telemetry.encode_metrics import MetricsEncoder

NEEDS = ("gcc",)
PODS = 250
ROUNDS = 24
SETTLING = 4  # collections until limits and namespaces are no longer read each time
INTERVAL_NS = 15_000_000_000
LIMIT_MS = 150
MS = 1e3


class _Node:
    """A collection of a full node, in a time of its own: what is read now and then is read now and then."""

    def __init__(self, pods: list[FullPod]) -> None:
        directory = Directory("bench")
        tell(directory, pods)
        observation = Observation()
        groups = frozenset(METRIC_GROUPS)
        plan = Plan(CGROUPS, observation.proc_root, "bench", "bench", groups, throttle_threshold_percent=25)
        self.collection = Collection(directory, plan, Health())
        self._ahead_ns = 0

    def steps(self) -> Iterator[ResourceMeasurements | None]:
        """Measure everything once, an interval later than the last time."""
        self._ahead_ns += INTERVAL_NS
        return self.collection.steps(lambda: Moment(time.time_ns() + self._ahead_ns, boot_ns() + self._ahead_ns))

    def collect(self) -> int:
        """Measure everything once, and return how many points that made; like the agent, hold none of them."""
        return sum(
            len(measured.points)
            for told in self.steps()
            if told is not None
            for scope in told.scopes.values()
            for measured in scope
        )


def measure(say: Callable[[str], None]) -> Result:
    """Make the node, and let it be measured again and again beside a bare loop over the same files."""
    prepare_process()
    encoder = MetricsEncoder(Host("bench"), "otel-kernel")
    taken: dict[str, list[float]] = {name: [] for name in ("collect", "encoded", "bare")}
    with full_node(PODS, say) as pods:
        node = _Node(pods)
        first_ms = _cpu_ms(node.collect)
        for _ in range(SETTLING):
            node.collect()
        with _reads() as files:
            points = node.collect()
        twice = [file for file, count in Counter(files).items() if count > 1]
        if twice:
            raise RuntimeError(f"{len(twice)} files are read twice in one collection, {twice[0]} among them")
        say(f"{ROUNDS} collections of {len(files)} files")
        with _open(files) as descriptors:
            for _ in range(ROUNDS):
                taken["collect"].append(_cpu_ms(node.collect))
                taken["encoded"].append(_cpu_ms(lambda: deque(encoder.encoding(node.steps()), maxlen=0)))
                taken["bare"].append(_cpu_ms(lambda: _read_all(descriptors)))
        node.collection.close()
    return _result(taken, first_ms, len(files), points)


def _result(taken: dict[str, list[float]], first_ms: float, files: int, points: int) -> Result:
    ratios = [ours / bare for ours, bare in zip(taken["collect"], taken["bare"], strict=True)]
    collect_ms = statistics.median(taken["collect"])
    bar = Bar(collect_ms, LIMIT_MS, "ms")
    rows = [
        Row("one collection", taken["collect"], "ms", times(ratios, "bare loop"), bar),
        Row("- the first one, which opens the files", (first_ms,), "ms"),
        Row("a bare loop that reads the same files, kept open", taken["bare"], "ms"),
        Row("one collection, encoded as OTLP", taken["encoded"], "ms"),
    ]
    method = (
        f"{PODS} pods of {len(CONTAINERS)} containers and a sandbox: real cgroup directories in every hierarchy, a "
        f"process in each, a network with a device for each pod; {files} files are read and {points:,} points made of "
        "them. CPU time of one thread, as if 15 s passed between two collections, so that limits, mounts and "
        "namespaces are read as often as they are. It was checked that no file was read twice in one collection."
    )
    return Result("What does one collection of metrics cost on a full node?", method, rows)


def _cpu_ms(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return (time.process_time() - before) * MS


@contextlib.contextmanager
def _reads() -> Iterator[list[str]]:
    """Note which files are read from their beginning."""
    files: list[str] = []
    pread = os.pread

    def noting(descriptor: int, size: int, offset: int, /) -> bytes:
        if offset == 0:
            files.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        return pread(descriptor, size, offset)

    os.pread = noting
    try:
        yield files
    finally:
        os.pread = pread


@contextlib.contextmanager
def _open(files: list[str]) -> Iterator[list[int]]:
    descriptors = [os.open(file, os.O_RDONLY) for file in files]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _read_all(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.pread(descriptor, 4096, 0)
