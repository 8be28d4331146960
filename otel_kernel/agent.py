"""The agent: source -> traces -> outputs, until it is told to stop."""

import logging
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

from otel_kernel.births import recording
from otel_kernel.births.assembly import AssemblySettings
from otel_kernel.births.trace import Trace
from otel_kernel.ebpf_source import EbpfSource, Recorder
from otel_kernel.file_source import FileSource
from otel_kernel.health import Counter, Health
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.kernel.probes import Loading, ProbesError, Sizes
from otel_kernel.node import cgroupfs, procfs
from otel_kernel.outputs import Outputs
from otel_kernel.settings import Settings
from otel_kernel.telemetry.encode import Host
from otel_kernel.telemetry.endpoint import EndpointError
from otel_kernel.telemetry.files import FileError

REFUSED = 2
FAILED = 1
IDLE_WAIT_S = 1.0  # records that need no haste lie in the ring until then
OPEN_WAIT_S = 0.2  # the same while a birth is open

log = logging.getLogger(__name__)


class Source(Protocol):
    """What tells of births."""

    def fileno(self) -> int: ...
    @property
    def next_deadline_ns(self) -> int | None: ...
    def traces(self) -> list[Trace]: ...
    def stop(self) -> list[Trace]: ...


def run(settings: Settings) -> int:
    """Observe until SIGTERM or SIGINT. Returns the exit status: 0, 1 when it could not go on, 2 when it may not begin."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="otel-kernel: %(message)s")
    health = Health()
    with ExitStack() as stack:
        loading = start_loading(settings)
        stop_fd = stack.enter_context(stop_signals())
        try:
            outputs = Outputs(settings, host(settings), health)
            stack.callback(outputs.close)
            record = stack.enter_context(recorder(settings.observation.record, health))
            source, words = open_source(settings, loading, health, record)
        except (EndpointError, FileError, ProbesError, OSError) as error:
            return refuse(str(error))
        say(f"ready: {words}")
        observe(source, outputs, stop_fd)
    return 0


def observe(source: Source, outputs: Outputs, stop_fd: int) -> None:
    """Send each birth when it is over, until a signal comes; then those that are open."""
    with select.epoll() as waiting:
        waiting.register(source.fileno(), select.EPOLLIN)
        waiting.register(stop_fd, select.EPOLLIN)
        while not any(fd == stop_fd for fd, _ in waiting.poll(wait_s(source.next_deadline_ns))):
            for trace in source.traces():
                outputs.send(trace)
    for trace in source.stop():
        outputs.send(trace)


def wait_s(deadline_ns: int | None) -> float:
    """Return how long the kernel's records may lie in the ring, in seconds."""
    if deadline_ns is None:
        return IDLE_WAIT_S
    return max(0.0, min(OPEN_WAIT_S, (deadline_ns - boot_ns()) / 1e9))


def start_loading(settings: Settings) -> Loading | str:
    """Start the loader early: it compiles while the rest is set up. Returns why not, else."""
    if settings.observation.ebpf == "off":
        return "eBPF is off"
    if os.geteuid() != 0:
        return "not root"
    try:
        return Loading(cache_directory(), Sizes(), draw_openat=settings.births.openat_spans)
    except (ProbesError, OSError) as error:
        return str(error)


def cannot_load(reason: str) -> str:
    """Return what an operator can do about the reason for which eBPF does not work, empty when nothing is known to help."""
    remedies = {
        "not root": "run as root, or with CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH as a privileged container",
        "eBPF is off": "OTEL_KERNEL_EBPF=auto",
        "No module named 'bcc'": "install BCC's Python binding (Debian: python3-bpfcc)",
        "UAPI headers": "install linux-libc-dev",
        "BTF": "a kernel with CONFIG_DEBUG_INFO_BTF",
        "Operation not permitted": "a privileged container; kernel lockdown must not be `confidentiality`",
        "cgroup v2": "a cgroup v2 hierarchy (hybrid is enough)",
    }
    return next((remedy for sign, remedy in remedies.items() if sign in reason), "")


def open_source(
    settings: Settings, loading: Loading | str, health: Health, record: Recorder | None
) -> tuple[Source, str]:
    """Return the best source that works here and what it observes, in words.

    Raises ProbesError when eBPF is required and does not work, OSError when there is no cgroup hierarchy either.
    """
    hierarchy = cgroupfs.hierarchy(settings.observation.cgroup_root)
    reason = loading if isinstance(loading, str) else ""
    if not isinstance(loading, str):
        try:
            if hierarchy.kind is cgroupfs.Kind.V1:
                raise ProbesError("no cgroup v2 hierarchy: a task's pod cannot be told in the kernel")
            source = EbpfSource(loading, health, runtimes=frozenset(settings.observation.runtimes))
            words = source.observe(assembly_settings(settings), settings.observation.proc_root, hierarchy.root, record)
        except (ProbesError, OSError) as error:
            reason = str(error)
        else:
            return source, words
    if settings.observation.ebpf == "require":
        raise ProbesError(f"eBPF is required and does not work here: {reason}")
    files = FileSource(assembly_settings(settings), settings.observation.proc_root, hierarchy.root, health)
    return files, f"files only ({reason}): {files.words}"


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
    )


def host(settings: Settings) -> Host:
    """Return what every resource says of this node."""
    proc_root = settings.observation.proc_root
    root = Path("/") if proc_root == Path("/proc") else proc_root / "1" / "root"
    attributes = {key: value for key, value in settings.resource.attributes if key != "service.name"}
    name = settings.resource.node_name or procfs.hostname(proc_root) or os.uname().nodename
    return Host(name, procfs.host_id(root), attributes)


def cache_directory() -> Path:
    """Return where the header shim is kept (XDG base directory specification), made if absent."""
    base = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME", "") and f"{os.environ['HOME']}/.cache") or "/var/cache"
    directory = Path(base) / "otel-kernel"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


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
    print(line, file=sys.stderr, flush=True)


def refuse(reason: str) -> int:
    """Say in one line why the agent does not run."""
    say(f"otel-kernel: {' '.join(reason.split())}")
    return REFUSED
