"""The agent: source -> traces -> outputs, until it is told to stop."""

import ctypes
import gc
import logging
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from otel_kernel import ebpf, host_files
from otel_kernel.births import recording
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.kubernetes_view import ConditionChange, EventsQuestion
from otel_kernel.births.trace import Trace
from otel_kernel.ebpf_source import EbpfSource, Recorder
from otel_kernel.file_source import FileSource
from otel_kernel.health import Counter, Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.probes import Loading, ProbesError
from otel_kernel.metrics.agent_row import SourceFigures
from otel_kernel.metrics.catalogue import EVENTS
from otel_kernel.metrics.collection import Collection, Plan
from otel_kernel.metrics.conditions import condition_event
from otel_kernel.metrics.samples import Source as Meter
from otel_kernel.node import procfs
from otel_kernel.outputs import Outputs
from otel_kernel.periodic_reader import PeriodicReader
from otel_kernel.pod_sources import PodSources, asks_events
from otel_kernel.pods.answers import Answer
from otel_kernel.pods.directory import Directory
from otel_kernel.settings import Settings
from otel_kernel.telemetry.encode import Host
from otel_kernel.telemetry.endpoint import EndpointError

REFUSED = 2
IDLE_WAIT_S = 1.0  # records that need no haste lie in the ring until then
OPEN_WAIT_S = 0.2  # the same while a birth is open
PROMPT_NICENESS = -10
FILES = 1 << 15  # the files of cgroups are kept open
OBJECTS_BETWEEN_LOOKS = 20_000
LARGE_BYTES = 64 << 10
M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # malloc.h
GROUPS_OF_EVENTS = frozenset(event.group for event in EVENTS)

log = logging.getLogger(__name__)


class Source(Protocol):
    """What tells of births."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something that should not wait."""

    @property
    def next_deadline_ns(self) -> int | None:
        """When `traces` wants to be called even if nothing became readable, in boot time."""

    @property
    def meters(self) -> Sequence[Meter]:
        """What counts in the kernel for metrics."""

    def learn(self, answers: Sequence[Answer]) -> None:
        """Take in what sources with threads of their own have learnt."""

    def take_questions(self) -> list[EventsQuestion]:
        """Return of which pods Kubernetes' events are wanted."""

    def take_new_containers(self) -> bool:
        """Return whether containers have come since the last call."""

    def take_condition_changes(self) -> list[ConditionChange]:
        """Return the conditions of pods that came after their birth was told."""

    def traces(self) -> list[Trace]:
        """Return the births that are over."""

    def figures(self) -> SourceFigures:
        """Return what only the source knows of itself."""

    def stop(self) -> list[Trace]:
        """End observation and return the births that are open, as far as they came."""

    def close(self) -> None:
        """Let go of everything; until then what was counted can be read."""


def run(settings: Settings) -> int:
    """Observe until SIGTERM or SIGINT. Returns the exit status: 0, 2 when it may not begin."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="otel-kernel: %(message)s")
    prepare_process()
    health = Health()
    with ExitStack() as stack:
        loading = ebpf.start(settings, settings.measured)
        stop_fd = stack.enter_context(stop_signals())
        try:
            outputs = Outputs(settings, host(settings), health)
            stack.callback(outputs.close)
            record = stack.enter_context(recorder(settings.observation.record, health))
            directory = Directory(settings.resource.node_name)
            source, words = open_source(settings, loading, health, directory, record)
            stack.callback(source.close)
            collection = Collection(directory, plan(settings, outputs), health, source.meters, source.figures)
        except (EndpointError, ProbesError, OSError) as error:
            return refuse(str(error))
        reader = PeriodicReader(collection, outputs, settings.metrics.interval_ms * 1_000_000)
        be_prompt()
        # Their threads come after that: who holds the interpreter's lock must not wait for a CPU longer than we do.
        asked = PodSources(settings, host_files.find(settings.observation), health)
        stack.callback(asked.close)
        say(f"ready: {words}")
        observe(source, reader, asked, outputs, stop_fd)
    sum_up(health)
    return 0


def sum_up(health: Health) -> None:
    """Say in one line what was counted, losses among it."""
    counted = {counter.name.lower().replace("_", " "): count for counter, count in health.snapshot().items() if count}
    log.info("counted: %s", ", ".join(f"{name} {count}" for name, count in counted.items()) or "nothing")


def observe(source: Source, reader: PeriodicReader, asked: PodSources, outputs: Outputs, stop_fd: int) -> None:
    """Send each birth when it is over and what is measured when it is time, until a signal comes; then what is left."""

    def send(traces: list[Trace]) -> None:
        for trace in traces:
            outputs.send(trace)
            reader.born(trace)

    with select.epoll() as waiting:
        for fd in (source.fileno(), reader.fileno(), asked.fileno(), stop_fd):
            waiting.register(fd, select.EPOLLIN)
        while not any(
            fd == stop_fd for fd, _ in waiting.poll(wait_s(source.next_deadline_ns, reader.next_deadline_ns))
        ):
            source.learn(asked.take())
            send(source.traces())
            asked.ask(source.take_questions())
            if source.take_new_containers():
                asked.look()
            outputs.send_events([condition_event(change) for change in source.take_condition_changes()])
            reader.work()
    send(source.stop())
    reader.stop()


def prepare_process() -> None:
    """Make this process fit for the many files and objects of a full node."""
    allowed, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # Each thread of gRPC's would have a heap of its own, and what a large request leaves free in one is of no use to
    # anybody: megabytes.
    with suppress(AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
    # Python looks for cycles whenever 700 objects came: at all that is remembered of a node in the end, for 60 ms.
    gc.set_threshold(OBJECTS_BETWEEN_LOOKS, *gc.get_threshold()[1:])


def be_prompt() -> None:
    """Let this thread run before others where that is allowed.

    A bundle may be gone some 10 ms after its path was told; on a busy node a thread may wait longer for a CPU.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PROMPT_NICENESS)


def wait_s(births_ns: int | None, metrics_ns: int) -> float:
    """Return how long the kernel's records may lie in the ring, in seconds; the deadlines are in boot time."""
    longest_s, next_ns = (IDLE_WAIT_S, metrics_ns) if births_ns is None else (OPEN_WAIT_S, min(births_ns, metrics_ns))
    return max(0.0, min(longest_s, (next_ns - boot_ns()) / 1e9))


def open_source(
    settings: Settings, loading: Loading | str, health: Health, directory: Directory, record: Recorder | None
) -> tuple[Source, str]:
    """Return the best source that works here and what it observes, in words.

    Raises ProbesError when eBPF is required and does not work, OSError when there is no cgroup hierarchy either.
    """
    files = host_files.find(settings.observation)
    for hidden in host_files.hidden(files):
        log.warning("%s; %s would help", *hidden)
    try:
        run_statistics = settings.metrics.bpf_stats and "agent" in settings.measured
        probes = ebpf.finish(loading, files, run_statistics=run_statistics)
        source = EbpfSource(probes, health, files, directory, record)
        return source, source.observe(assembly_settings(settings))
    except (ProbesError, OSError) as error:
        if settings.observation.ebpf == "require":
            raise ProbesError(f"eBPF is required and does not work here: {error}") from error
        fallback = FileSource(assembly_settings(settings), files, health, directory)
        return fallback, f"files only ({error}): {fallback.words}"


def assembly_settings(settings: Settings) -> AssemblySettings:
    """Return what the assembly needs of the settings; observation begins now."""
    births = settings.births
    return AssemblySettings(
        quiet_ns=births.quiet_ns,
        timeout_ns=births.timeout_ns,
        calls=births.calls,
        services=births.services,
        arguments=births.arguments,
        service_name=settings.resource.service,
        node_name=settings.resource.node_name,
        started_ns=boot_ns(),
        asks_events=asks_events(settings),
    )


def plan(settings: Settings, outputs: Outputs) -> Plan:
    """Return what is measured: nothing of which nothing would become."""
    observation, node_name = settings.observation, settings.resource.node_name
    groups = settings.measured
    if not groups and outputs.take_events:
        groups = GROUPS_OF_EVENTS & frozenset(settings.metrics.groups)
    return Plan(
        observation.cgroup_root,
        observation.proc_root,
        node_name,
        node_name or host(settings).name,
        groups,
        settings.metrics.throttle_threshold_percent,
    )


def host(settings: Settings) -> Host:
    """Return what every resource says of this node."""
    proc_root = settings.observation.proc_root
    attributes = {key: value for key, value in settings.resource.attributes if key != "service.name"}
    name = settings.resource.node_name or procfs.hostname(proc_root) or os.uname().nodename
    return Host(name, procfs.host_id(host_files.root(proc_root)), attributes)


@contextmanager
def stop_signals() -> Iterator[int]:
    """Yield a descriptor that becomes readable when SIGTERM or SIGINT comes."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(wakeup)
        for each, handler in before.items():
            signal.signal(each, handler)
        os.close(readable)
        os.close(writable)


@contextmanager
def recorder(path: Path | None, health: Health) -> Iterator[Recorder | None]:
    """Yield what writes every event and fact to the file that OTEL_KERNEL_RECORD names. Raises OSError."""
    if path is None:
        yield None
        return
    with path.open("w", encoding="utf-8") as file:
        yield lambda told: _record(file, health, told)


def _record(file: IO[str], health: Health, told: object) -> None:
    try:
        file.write(recording.encode(told) + "\n")  # type: ignore[arg-type]
    except OSError:
        health.add(Counter.RECORDING_FAILURES)


def say(line: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def refuse(reason: str) -> int:
    """Say in one line why the agent does not run."""
    say(f"otel-kernel: {' '.join(reason.split())}")
    return REFUSED
