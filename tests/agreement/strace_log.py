"""What `strace -f -ttt -y -v -o FILE` wrote, as calls: one per system call entered, none dropped, none invented."""

import errno
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)", re.DOTALL)
NAME = re.compile(r"(\w+|\?\?\?)\(")
# The thread was killed while it was stopped for strace, before strace could ask what it calls; or strace asked, and was
# told a result, an errno, in the number's place.
NAMELESS = re.compile(r"\?\?\?|syscall_0xf{8}[0-9a-f]{8}")
RESUMED = re.compile(r"<\.\.\. (\w+|\?\?\?) resumed>")
UNFINISHED = re.compile(r" ?<(?:unfinished|detached|pid changed to \d+) \.\.\.>$")
ENDED = re.compile(r"\+\+\+ (?:exited with \d+|killed by \w+(?: \(core dumped\))?) \+\+\+$")
SUPERSEDED = re.compile(r"\+\+\+ superseded by execve in pid (\d+) \+\+\+$")
# What may hold brackets and commas that are none: strings, paths of descriptors (< and > are escaped), comments.
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(?<=[0-9D])<(?:[^<>\\]|\\.)*>|/\*.*?\*/|=>|[()\[\]{},]')
RETURNED = re.compile(r"\s*= (\?|-?\d+|0x[0-9a-f]+)(?:<(?P<path>(?:[^<>\\]|\\.)*)>)?(?: (?P<rest>.*))?$", re.DOTALL)
HOST_ID = re.compile(r"/\* (\d+) in strace's PID NS \*/")
ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-f]{2})|(.))", re.DOTALL)
LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f", b"a": b"\a", b"b": b"\b"}
# include/linux/errno.h: never seen by the program, but returned by the system call
RESTARTS = {"ERESTARTSYS": 512, "ERESTARTNOINTR": 513, "ERESTARTNOHAND": 514, "ERESTART_RESTARTBLOCK": 516}
INSIDE_KERNEL = {"ENOTSUPP": 524}


@dataclass(slots=True)
class Call:
    """One system call of one thread. `entered` and `returned` are line numbers: strace's own order of what it saw."""

    name: str
    thread: int  # at its return, for a successful execve the process
    entered: int
    entered_s: Decimal
    text: str = ""
    returned: int | None = None  # None: never
    value: int | None = None  # the kernel's raw value: negative errno, also -512 to -516
    host_id: int | None = None  # clone family: the child as strace's own PID namespace counts it

    @property
    def is_nameless(self) -> bool:
        """Whether strace could not tell what was called."""
        return NAMELESS.fullmatch(self.name) is not None

    @property
    def arguments(self) -> list[str]:
        """The arguments as strace prints them, without descriptors' names of fields inside structures."""
        return split_arguments(self.text)[0]


@dataclass(slots=True)
class Thread:
    """One thread's life as strace saw it."""

    id: int
    began: int  # line
    calls: list[Call] = field(default_factory=list)
    # After how many of its calls another thread ended it while it made none. It may have been about to make one more:
    # one that is killed in strace's stop at the entry of a call never makes it, and strace may not hear of that stop,
    # but the tracepoint sys_exit tells (kernel/entry/common.c: syscall_trace_enter).
    cut_after: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Log:
    """A whole log. Thread ids may be reused: the list is in the order of their beginnings."""

    threads: list[Thread] = field(default_factory=list)

    @property
    def calls(self) -> Iterator[Call]:
        """All calls, thread by thread."""
        return (call for thread in self.threads for call in thread.calls)


class UnreadableLineError(ValueError):
    """A line that strace should not write: the expectation would be wrong, so nothing is guessed."""


class _Reader:
    """The threads that live at the current line."""

    def __init__(self) -> None:
        self.log = Log()
        self._alive: dict[int, Thread] = {}
        self._open: dict[int, Call] = {}

    def read(self, number: int, line: str) -> None:
        if not (found := LINE.fullmatch(line.rstrip("\n"))):
            raise UnreadableLineError(f"line {number}: {line[:200]!r}")
        thread, seconds, text = int(found[1]), Decimal(found[2]), found[3]
        if ENDED.match(text):
            _cut(self._thread(thread, number))
            self._alive.pop(thread)
            self._open.pop(thread, None)
        elif superseded := SUPERSEDED.match(text):
            self._supersede(thread, int(superseded[1]))
        elif resumed := RESUMED.match(text):
            self._resume(thread, number, resumed[1], text[resumed.end() :])
        elif named := NAME.match(text):
            self._enter(thread, number, seconds, (named[1], text[named.end() :]))
        elif not text.startswith("--- "):  # a signal
            raise UnreadableLineError(f"line {number}: {line[:200]!r}")

    def _thread(self, thread: int, number: int) -> Thread:
        if thread not in self._alive:
            self._alive[thread] = Thread(thread, number)
            self.log.threads.append(self._alive[thread])
        return self._alive[thread]

    def _enter(self, thread: int, number: int, seconds: Decimal, what: tuple[str, str]) -> None:
        name, text = what
        call = Call(name, thread, number, seconds)
        self._thread(thread, number).calls.append(call)
        if unfinished := UNFINISHED.search(text):
            call.text = text[: unfinished.start()]
            self._open[thread] = call
        else:
            _finish(call, number, text)

    def _resume(self, thread: int, number: int, name: str, text: str) -> None:
        call = self._open.pop(thread, None)
        if call is None or call.name != name:
            raise UnreadableLineError(f"line {number}: {name} of {thread} resumes what was not begun")
        if unfinished := UNFINISHED.search(text):  # strace was interrupted once more
            call.text += text[: unfinished.start()]
            self._open[thread] = call
            return
        _finish(call, number, call.text + text)

    def _supersede(self, leader: int, thread: int) -> None:
        """The thread's execve succeeded: it goes on as the process's leader, which was ended in what it did."""
        call = self._open.pop(thread)
        self._alive.pop(thread).calls.remove(call)
        _cut(self._alive[leader])
        call.thread = leader
        self._alive[leader].calls.append(call)
        self._open[leader] = call


def read_log(lines: Iterable[str]) -> Log:
    """Return the calls of a log. Raises UnreadableLineError for a line that is none of strace's."""
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        reader.read(number, line)
    return reader.log


def _cut(thread: Thread) -> None:
    if not thread.calls or thread.calls[-1].returned is not None:
        thread.cut_after.append(len(thread.calls))


def _finish(call: Call, number: int, text: str) -> None:
    _, tail = split_arguments(text)
    found = RETURNED.match(tail)
    if not found:
        raise UnreadableLineError(f"line {number}: {call.name}({text[:100]} ... {tail[-100:]!r}")
    call.text = text
    call.value = _value(found[1], found["rest"] or "")
    call.returned = None if call.value is None else number
    host = HOST_ID.search(found["rest"] or "")
    call.host_id = int(host[1]) if host else call.value


def _value(told: str, rest: str) -> int | None:
    name = rest.split(" ", 1)[0]
    if told == "?":
        return -RESTARTS[name] if name in RESTARTS else None
    value = int(told, 8 if re.fullmatch("0[0-7]+", told) else 0)  # umask returns `022`
    if value == -1 and name.startswith("E"):
        return -(INSIDE_KERNEL.get(name) or int(getattr(errno, name)))
    return value


def split_arguments(text: str) -> tuple[list[str], str]:
    """Split `a, [b, c], "d")  = 0` at its outer commas; return the arguments and what follows the closing bracket."""
    arguments: list[str] = []
    depth, start = 0, 0
    for token in TOKEN.finditer(text):
        sign = token[0]
        if sign in "([{":
            depth += 1
        elif sign in ")]}" and depth > 0:
            depth -= 1
        elif sign == ")":
            arguments.append(text[start : token.start()].strip())
            return [a for a in arguments if a], text[token.end() :]
        elif sign == "," and depth == 0:
            arguments.append(text[start : token.start()].strip())
            start = token.end()
    arguments.append(text[start:].strip())
    return [a for a in arguments if a], ""


def string(argument: str) -> str | None:
    """Return the string printed as `"..."`, None for NULL and addresses. Bytes that are not UTF-8 become surrogates."""
    if not argument.startswith('"'):
        return None
    quoted = argument.removesuffix("...").removesuffix('"')[1:].encode("utf-8", "surrogateescape")
    return ESCAPE.sub(_unescape, quoted).decode("utf-8", "surrogateescape")


def strings(argument: str) -> list[str]:
    """Return the strings of an array printed as `["a", "b"]`."""
    found = (string(token[0]) for token in TOKEN.finditer(argument) if token[0].startswith('"'))
    return [text for text in found if text is not None]


def flags(argument: str) -> set[str]:
    """Return the names in `flags=A|B`, `A|B`, or in the structure `{flags=A|B, ...}` of clone3."""
    return set(re.findall(r"[A-Z][A-Z0-9_]+", argument.split("flags=", 1)[-1].split(",", 1)[0]))


def descriptor_path(argument: str) -> str | None:
    """Return the path of a descriptor printed as `7</path>`."""
    found = re.fullmatch(r"(?:\d+|AT_FDCWD)<((?:[^<>\\]|\\.)*)>.*", argument, re.DOTALL)
    return string(f'"{found[1]}"') if found else None


def _unescape(found: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = found.groups()
    if octal:
        return bytes([int(octal, 8)])
    return bytes([int(hexadecimal, 16)]) if hexadecimal else LETTERS.get(letter, letter)
