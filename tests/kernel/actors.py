"""A runtime daemon and its children that do exactly what a test tells them (actor.c), and what was told of it."""

import os
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

from otel_kernel.kernel import syscalls
from otel_kernel.kernel.events import (
    Call,
    CgroupChange,
    CgroupWrite,
    Decision,
    End,
    Event,
    Exec,
    Fork,
    Loss,
    Throttled,
    Wait,
)
from otel_kernel.kernel.probes import Counters, Probes

# Other daemons of the machine, real ones too, are none to the probes of these tests.
DAEMON = f"daemon{os.getpid()}"
NR = syscalls.table()
Step = tuple[str | int | Path, ...]
Told = Fork | Exec | End | Call | Wait | CgroupWrite
Kind = TypeVar("Kind", Exec, Call, End, Fork, Wait, CgroupChange, CgroupWrite)
_FOLLOWED = ("processes", "threads", "texts")
_SEPARATOR = "\x1f"


def call(name: str, *arguments: str | int) -> Step:
    """One system call; its return value is kept and is the next step's `r`."""
    return ("call", NR[name], *arguments)


def repeat(times: int, name: str, *arguments: str | int) -> Step:
    """The same system call many times."""
    return ("repeat", times, NR[name], *arguments)


TELL: Step = ("tell",)


class Ran(NamedTuple):
    """One child of the daemon, reaped."""

    pid: int
    status: int  # as wait(2) tells it
    told: tuple[int, ...]  # the return values of its steps, from each `tell`


@dataclass(frozen=True)
class Seen:
    """What the kernel told, in its order."""

    events: tuple[Event, ...]

    def of(self, kind: type[Kind], pid: int | None = None) -> list[Kind]:
        """Return the events of one kind, of one process or of all."""
        return [event for event in self.events if isinstance(event, kind) and pid in (None, event.pid)]

    def calls(self, name: str, pid: int | None = None) -> list[Call]:
        """Return the drawn calls of one name."""
        return [event for event in self.of(Call, pid) if event.name == name]

    @property
    def of_processes(self) -> list[Told]:
        """Return all but the cgroups, which other pods of this machine have, too."""
        return [event for event in self.events if not isinstance(event, CgroupChange | Throttled | Loss)]

    def call(self, name: str, pid: int | None = None) -> Call:
        """Return the only call of that name."""
        (only,) = self.calls(name, pid)
        return only

    def end(self, pid: int) -> End:
        """Return the only end of a process."""
        (only,) = self.of(End, pid)
        return only

    def decisions(self, pid: int | None = None) -> list[Decision]:
        """Return what each exec decided."""
        return [event.decision for event in self.of(Exec, pid)]


class Daemon:
    """A process whose name makes it a runtime daemon. Owns the process."""

    def __init__(self, programs: Path, name: str) -> None:
        self._programs = programs
        self._process = subprocess.Popen(
            [self.program(name), "daemon"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )
        self.pid = self._process.pid
        assert self._line() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def program(self, name: str) -> str:
        """Return the path under which the actor is called so."""
        path = self._programs / name
        if not path.exists():
            path.symlink_to("actor")
        return str(path)

    def words(self, command: str, *steps: Step) -> list[str]:
        """Return the argument vector of a program that takes steps: its path first, then its own name."""
        name, *arguments = shlex.split(command)
        return [self.program(name), name, *arguments, *(f"={word}" for word in _joined(steps))]

    def run(self, command: str, *steps: Step, how: str = "fork", environment: Iterable[str] = ()) -> Ran:
        """Start a child of the daemon and return when it has been reaped. `how`: fork, vfork, missing, idle."""
        words = self.words(command, *steps)
        return self._ask("run", how, str(len(words)), *words, *environment)

    def do(self, *steps: Step) -> Ran:
        """Let the daemon itself take steps."""
        return self._ask("do", *_joined(steps))

    def stop(self) -> None:
        """End the daemon."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, *fields: str) -> Ran:
        assert self._process.stdin is not None
        self._process.stdin.write(_SEPARATOR.join(fields) + "\n")
        self._process.stdin.flush()
        told: list[int] = []
        while True:
            head, *rest = self._line().split()
            if head == "done":
                return Ran(int(rest[0]), int(rest[1]), tuple(told))
            assert head == "told", f"{head} {' '.join(rest)}"
            told.extend(map(int, rest))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the daemon ended"
        return line.rstrip("\n")


class Kernel:
    """The loaded probes, and what they tell of one test's daemons. Owns the daemons."""

    def __init__(self, probes: Probes, programs: Path, name: str) -> None:
        self.probes = probes
        self._programs = programs
        self._name = name
        self._daemons: list[Daemon] = []
        self.seen()
        self._before = probes.counters()

    def daemon(self, name: str | None = None) -> Daemon:
        """Start a daemon; it becomes one by its exec."""
        started = Daemon(self._programs, name or self._name)
        self._daemons.append(started)
        return started

    def seen(self) -> Seen:
        """Return what was told since the last time. All of it is there as soon as a process was reaped."""
        return Seen(tuple(self.probes.events()))

    def counted(self) -> Counters:
        """Return what the kernel side counted in this test."""
        return Counters(*(now - then for now, then in zip(self.probes.counters(), self._before, strict=True)))

    def stop(self) -> None:
        """End the daemons."""
        while self._daemons:
            self._daemons.pop().stop()

    def forget(self) -> None:
        """Empty the maps: what one test left is not the next one's."""
        for name in _FOLLOWED:
            for key in list(self.probes.maps[name].keys()):
                self.probes.maps[name].delete(key)

    def followed(self) -> dict[str, list[int]]:
        """Return the process and thread ids that the maps still hold."""
        keys = {name: set(self.probes.maps[name].keys()) for name in _FOLLOWED}
        held = {name: sorted(int.from_bytes(key, "little") for key in found) for name, found in keys.items()}
        return {name: ids for name, ids in held.items() if ids}


def _joined(steps: Iterable[Step]) -> list[str]:
    return [str(word) for step in steps for word in ("--", *step)][1:]
