"""Which processes of a strace log take part in a birth, and until when: the contract's rules, from strace alone."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath

from tests.agreement.strace_log import Call, Log, Thread, flags, strings

CLONES = frozenset({"clone", "clone3", "fork", "vfork"})
EXECS = frozenset({"execve", "execveat"})
RUNTIME_VERBS = frozenset({"create", "run", "start", "restore"})
OPTIONS_WITH_VALUE = frozenset({"--root", "--log", "--log-format", "--criu", "--rootless", "--log-level"})

BEGUN, ENTERED, RETURNED = range(3)  # what one line of the log tells, in this order


class Role(Enum):
    """What a process is to a birth at one moment."""

    DAEMON = "daemon"
    CANDIDATE = "candidate"
    LINEAGE = "lineage"
    DROPPED = "dropped"  # decided against, or past its entry point


@dataclass(slots=True, eq=False)
class Process:
    """One process, and its calls while it took part."""

    pid: int
    parent: "Process | None"
    role: Role
    made_by: Call | None = None
    root_changed: bool = False
    root_moved: bool = False
    took_part: bool = False
    handed_over: bool = False
    arguments: list[str] = field(default_factory=list)  # of its last exec
    container_id: str | None = None  # what its lineage was begun for
    network_namespace: str | None = None  # the file that CNI was given
    calls: list[Call] = field(default_factory=list)
    undetermined: list[Call] = field(default_factory=list)  # of the calls: see _hand_over
    unseen_calls: int = 0  # at most: see Thread.cut_after
    ending: int | None = None  # the line of its first exit_group
    threads: list[Call] = field(default_factory=list)  # the calls that made them
    execs: int = 0

    def is_late(self, line: int) -> bool:
        """Return whether its threads were being ended: strace may have asked one that was gone.

        It then tells of the call that another thread was asked about before. That there was a call is true.
        """
        return self.ending is not None and line > self.ending


@dataclass(slots=True)
class Roles:
    """All processes of a log, and the daemons' calls."""

    processes: list[Process]
    daemon_calls: list[tuple[Process, Call]]

    @property
    def lineages(self) -> list[Process]:
        """The processes that took part."""
        return [process for process in self.processes if process.took_part]


class _Play:
    """Plays the log again, line by line."""

    def __init__(self, makers: dict[int, tuple[Call, Thread]], attached: dict[int, int]) -> None:
        self._makers = makers
        self._daemons = {pid: Process(pid, None, Role.DAEMON) for pid in set(attached.values())}
        self._attached = attached
        self._threads: list[Thread] = []
        self._process: dict[int, Process] = {}  # id of the thread object -> its process
        self.roles = Roles([], [])

    def begin(self, thread: Thread) -> None:
        """A thread's first line."""
        self._threads.append(thread)
        if id(thread) not in self._makers:
            self._process[id(thread)] = self._daemons[self._attached[thread.id]]
            return
        maker, making_thread = self._makers[id(thread)]
        parent = self._process[id(making_thread)]
        if not makes_process(maker):
            self._process[id(thread)] = parent
            parent.threads += [maker] if _is_in(maker, parent.calls) else []
            return
        role = Role.CANDIDATE if parent.role is Role.DAEMON else parent.role
        child = Process(thread.id, parent, role, maker, parent.root_changed, parent.root_moved)
        if role is Role.LINEAGE:
            child.took_part, child.container_id = True, parent.container_id
        self.roles.processes.append(child)
        self._process[id(thread)] = child

    def enter(self, thread: Thread, call: Call) -> None:
        """A call's beginning."""
        process = self._process[id(thread)]
        if call.name == "exit_group" and process.ending is None:
            process.ending = call.entered
        if process.role is Role.DAEMON:
            self.roles.daemon_calls.append((process, call))
        elif process.role in {Role.CANDIDATE, Role.LINEAGE}:
            process.calls.append(call)

    def leave(self, thread: Thread, call: Call) -> None:
        """A call's return."""
        process = self._process[id(thread)]
        if call.value is None or call.value < 0:
            return
        if call.name in EXECS:
            self._exec(process, call)
        elif call.name == "pivot_root" or (call.name == "chroot" and process.root_moved):
            process.root_changed = True
        elif call.name == "move_mount" or (call.name == "mount" and "MS_MOVE" in flags(call.arguments[3])):
            process.root_moved = True

    def end(self) -> None:
        """The log's end."""
        for thread in self._threads:
            process = self._process[id(thread)]
            before = [thread.calls[count - 1] if count else self._makers[id(thread)][0] for count in thread.cut_after]
            process.unseen_calls += sum(_is_in(call, process.calls) for call in before)

    def _exec(self, process: Process, call: Call) -> None:
        process.arguments = strings(call.arguments[1 if call.name == "execve" else 2])
        if process.role is Role.CANDIDATE:
            _decide(process, strings(call.arguments[2]))
        parent = process.parent
        if process.role is Role.LINEAGE and _verb(process.arguments) in RUNTIME_VERBS and parent is not None:
            _hand_over(parent, process, call)
        if process.role is Role.LINEAGE:
            process.execs += 1
            process.role = Role.DROPPED if process.root_changed else Role.LINEAGE


def roles(log: Log, attached: dict[int, int]) -> Roles:
    """Return who takes part in the births of a log. `attached`: thread -> process of what strace was attached to."""
    play = _Play(_makers(log, attached), attached)
    happenings: list[tuple[int, int, Thread, Call | None]] = []
    for thread in log.threads:
        happenings.append((thread.began, BEGUN, thread, None))
        for call in thread.calls:
            happenings.append((call.entered, ENTERED, thread, call))
            if call.returned is not None:
                happenings.append((call.returned, RETURNED, thread, call))
    for _, what, thread, happened in sorted(happenings, key=lambda happening: happening[:2]):
        if happened is None:
            play.begin(thread)
        elif what == ENTERED:
            play.enter(thread, happened)
        else:
            play.leave(thread, happened)
    play.end()
    return play.roles


def makes_process(call: Call) -> bool:
    """Return whether a call of the clone family makes a process, not a thread."""
    return "CLONE_THREAD" not in clone_flags(call)


def clone_flags(call: Call) -> set[str]:
    """Return the flags of a call of the clone family."""
    if call.name not in {"clone", "clone3"}:
        return set()
    return flags(next(argument for argument in call.arguments if "flags=" in argument))


def _makers(log: Log, attached: dict[int, int]) -> dict[int, tuple[Call, Thread]]:
    """Return, for each thread that began in the log, the call that made it and who made that call."""
    last_begun = {thread.id: thread.began for thread in log.threads}
    made: dict[int | None, list[tuple[Call, Thread]]] = {}
    for thread in log.threads:
        for call in thread.calls:
            if call.name in CLONES:
                is_child = call.host_id is not None and last_begun.get(call.host_id, 0) > call.entered
                made.setdefault(call.host_id if is_child else None, []).append((call, thread))
    makers = {}
    for thread in log.threads:
        # Ids are reused: the last clone that returned this id and was entered before the thread's first line. One whose
        # caller was being ended returned nothing, or not what strace tells (Process.is_late): its child tells of it.
        for told in (thread.id, None):
            before = [pair for pair in made.get(told, []) if pair[0].entered < thread.began]
            if before and (told is not None or thread.id not in attached):
                makers[id(thread)] = max(before, key=lambda pair: pair[0].entered)
                break
    return makers


def _decide(process: Process, environment: list[str]) -> None:
    """A candidate's first exec decides whether its lineage continues."""
    cni = dict(text.partition("=")[::2] for text in environment if text.startswith("CNI_"))
    if _is_shim(process.arguments) and process.arguments[-1] == "start":
        process.container_id = process.arguments[process.arguments.index("-id") + 1]
    elif _verb(process.arguments) in RUNTIME_VERBS:
        process.container_id = process.arguments[-1]
    elif cni.get("CNI_COMMAND") == "ADD":
        process.container_id, process.network_namespace = cni["CNI_CONTAINERID"], cni["CNI_NETNS"]
    process.took_part = process.container_id is not None
    process.role = Role.LINEAGE if process.took_part else Role.DROPPED


def _hand_over(shim: Process, child: Process, call: Call) -> None:
    """The first runtime child of a shim makes it a daemon, by its exec `call`, which returns now.

    strace tells of a call's entry before the kernel begins it, and of its return afterwards: what another thread's call
    returned before that exec was entered is the birth's, what it entered after the exec's return is the daemon's. A
    call that lasts over either may have begun before or after. Nothing bounds how long that takes: a thread that strace
    has let go on waits for a CPU, 100 ms and more on a busy machine. The clone that made the child came before.
    """
    if shim.role is not Role.LINEAGE or not _is_shim(shim.arguments):
        return
    shim.role, shim.handed_over = Role.DAEMON, True
    lasting = [other for other in shim.calls if other.returned is None or other.returned > call.entered]
    shim.undetermined = [other for other in lasting if other is not child.made_by]


def _is_in(call: Call, calls: list[Call]) -> bool:
    return any(call is other for other in calls)


def _is_shim(arguments: list[str]) -> bool:
    return bool(arguments) and PurePath(arguments[0]).name.startswith("containerd-shim") and "-id" in arguments


def _verb(arguments: list[str]) -> str | None:
    """Return the sub-command of a runtime: the first argument that is neither an option nor an option's value."""
    words = iter(arguments[1:])
    for word in words:
        if word in OPTIONS_WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None
