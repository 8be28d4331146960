"""What a birth's trace must say, computed from a strace log: calls per thread, calls per process, the certificate."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

from tests.agreement.roles import CLONES, EXECS, Process, Roles, clone_flags, makes_process
from tests.agreement.strace_log import Call, descriptor_path, flags, string

MOUNT_FAMILY = frozenset({
    "mount", "umount2", "pivot_root", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount",
    "mount_setattr",
})  # fmt: skip
DRAWN = CLONES | EXECS | MOUNT_FAMILY | {"unshare", "setns"}
WRITES = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2"})
OPENS = frozenset({"openat", "openat2"})
NEW_NAMESPACES = frozenset(f"CLONE_NEW{kind}" for kind in ("NS", "UTS", "IPC", "USER", "PID", "NET", "CGROUP", "TIME"))
CGROUP_FILES = "/sys/fs/cgroup/"

Step = tuple[str, int | None]  # name, return value


@dataclass(frozen=True, slots=True)
class Pod:
    """The pod whose birth was traced, as the one who asked for it knows it."""

    uid: str
    ids: tuple[str, ...]  # of the sandbox and the containers


@dataclass(frozen=True, slots=True)
class Count:
    """A number that strace knows, or knows the bounds of: see Process.undetermined and .unseen_calls."""

    least: int
    most: int

    def __add__(self, other: "Count") -> "Count":
        return Count(self.least + other.least, self.most + other.most)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.least <= number <= self.most

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


def exactly(number: int) -> Count:
    """Return a count that is known."""
    return Count(number, number)


@dataclass(frozen=True, slots=True)
class ProcessCounts:
    """What the trace must say of one process; of a serving shim until its hand-over."""

    syscalls: Count
    opens: Count  # openat and openat2
    failed_opens: Count
    undetermined: tuple[Call, ...]  # why the bounds differ


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the trace must say."""

    threads: dict[int, list[Step]]
    processes: dict[int, ProcessCounts]
    counts: dict[str, Count]


def expect(roles: Roles, pod: Pod) -> Expectation:
    """Return what a trace of the pod's birth must say."""
    lineages = [process for process in roles.lineages if process.container_id in pod.ids]
    daemons = _DaemonCalls(roles, pod, lineages)
    drawn = [call for of in lineages for call in of.calls if _is_drawn(call) and not of.is_late(call.entered)]
    drawn += [call for call in daemons.matched if _is_drawn(call)]
    of_calls = _counts(lineages, drawn) | {"cgroup_writes": _cgroup_writes(lineages, daemons)}
    return Expectation(
        threads=_by_thread(drawn),
        processes={process.pid: process_counts(process) for process in lineages},
        counts={"threads": total(map(_threads, lineages))} | {name: exactly(n) for name, n in of_calls.items()},
    )


def total(counts: Iterable[Count]) -> Count:
    """Return the sum of counts."""
    return sum(counts, exactly(0))


def process_counts(process: Process) -> ProcessCounts:
    """Return what the trace must say of one process."""
    named = [call for call in process.calls if not call.is_nameless and not process.is_late(call.entered)]
    unknown = len(process.calls) - len(named) + process.unseen_calls
    opens = [call for call in named if call.name in OPENS]
    told = [call for call in opens if call.returned is not None and not process.is_late(call.returned)]
    failed = [call for call in told if call.value is not None and call.value < 0]
    untold = len(opens) - len(told)  # whether they failed
    return ProcessCounts(
        _count(process.calls, process, process.unseen_calls),
        _count(opens, process, unknown),
        _count(failed, process, untold + unknown),
        tuple(process.undetermined),
    )


def _threads(process: Process) -> Count:
    return _count(process.threads, process)


def _count(calls: list[Call], process: Process, more: int = 0) -> Count:
    undetermined = sum(any(call is other for other in process.undetermined) for call in calls)
    return Count(len(calls) - undetermined, len(calls) + more)


def _is_drawn(call: Call) -> bool:
    return call.name in DRAWN and (call.name not in CLONES or makes_process(call))


def _by_thread(calls: Iterable[Call]) -> dict[int, list[Step]]:
    threads: dict[int, list[Step]] = {}
    for call in sorted(calls, key=lambda call: call.entered):
        threads.setdefault(call.thread, []).append((call.name, call.value))
    return threads


def _counts(lineages: list[Process], drawn: list[Call]) -> dict[str, int]:
    done = [call for call in drawn if call.value is not None and call.value >= 0]
    made = [len(_new_namespaces(call)) for call in done]
    return {
        "processes": len(lineages),
        "execs": sum(process.execs for process in lineages),
        "clones": sum(call.name in CLONES for call in done),
        "mounts": sum(_is_mount(call) for call in done),
        "namespaces": sum(made),
        "namespace_ops": sum(map(bool, made)) + sum(call.name == "setns" for call in done),
    }


def _new_namespaces(call: Call) -> set[str]:
    if call.name == "unshare":
        return flags(call.arguments[0]) & NEW_NAMESPACES
    return clone_flags(call) & NEW_NAMESPACES if call.name in CLONES else set()


def _is_mount(call: Call) -> bool:
    if call.name in {"open_tree", "open_tree_attr"}:
        return "OPEN_TREE_CLONE" in flags(call.arguments[2])
    return call.name in {"mount", "fsmount"}


def _cgroup_writes(lineages: list[Process], daemons: "_DaemonCalls") -> int:
    own = [call for process in lineages for call in process.calls if _cgroup_file(call)]
    return len(own) + sum(_cgroup_file(call) is not None for call in daemons.matched)


def _cgroup_file(call: Call) -> str | None:
    """Return the file of a cgroup file system that a call wrote to."""
    if call.name not in WRITES or call.value is None or call.value <= 0:
        return None
    path = descriptor_path(call.arguments[0])
    return path if path is not None and path.startswith(CGROUP_FILES) else None


class _DaemonCalls:
    """Which of the daemons' calls touch what is the pod's. `matched` grows until no further key is found."""

    def __init__(self, roles: Roles, pod: Pod, lineages: list[Process]) -> None:
        self._calls = [call for _, call in roles.daemon_calls if call.name in DRAWN or call.name in WRITES]
        self._names = (pod.uid, pod.uid.replace("-", "_"), *pod.ids)
        self._paths = {process.network_namespace for process in lineages if process.network_namespace}
        makers = {id(process.made_by) for process in lineages}
        self.matched = [call for call in self._calls if id(call) in makers]
        while further := [call for call in self._calls if self._is_new(call) and self._touches(call)]:
            self.matched += further
            self._paths |= {path for call in further for path in _keys(call)}
        self.matched += self._network_namespace()

    def _is_new(self, call: Call) -> bool:
        return all(call is not known for known in self.matched)

    def _touches(self, call: Call) -> bool:
        return any(path in self._paths or any(name in path for name in self._names) for path in _paths(call))

    def _network_namespace(self) -> Iterator[Call]:
        """Yield the unshare that made the namespace bound to CNI's file, and the setns by which its thread returns."""
        for bind in [
            call
            for call in self.matched
            if call.name == "mount" and (string(call.arguments[0]) or "").endswith("/ns/net")
        ]:
            own = [call for call in self._calls if call.thread == bind.thread]
            yield [c for c in own if c.name == "unshare" and c.entered < bind.entered and "CLONE_NEWNET" in c.text][-1]
            yield next(c for c in own if c.name == "setns" and c.entered > bind.entered)


def _paths(call: Call) -> Iterator[str]:
    """Yield the paths that a call names: those of the mount family, and the cgroup file it wrote to."""
    if call.name in WRITES:
        file = _cgroup_file(call)
        yield from () if file is None else (file,)
        return
    if call.name not in MOUNT_FAMILY:
        return
    for argument in call.arguments[:5]:
        text = string(argument)
        yield from () if text is None else (text, *_layers(text))


def _layers(data: str) -> Iterator[str]:
    """Yield the directories of an overlay's own layers in mount's data."""
    for option in data.split(","):
        name, _, value = option.partition("=")
        if name in {"lowerdir", "upperdir"}:
            yield from value.split(":")


def _keys(call: Call) -> Iterator[str]:
    """Yield what a matched mount makes known: what it mounted on, and the snapshot of a container's root."""
    if call.name != "mount" or call.value != 0:
        return
    target, source = string(call.arguments[1]) or "", string(call.arguments[0]) or ""
    yield target
    if PurePath(target).name == "rootfs":
        options = (string(call.arguments[4]) or "").split(",")
        upper = [option.removeprefix("upperdir=") for option in options if option.startswith("upperdir=")]
        yield from upper or [source]
