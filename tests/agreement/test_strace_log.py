"""The reader of strace's output, on lines that strace 6.1 wrote."""

import pytest

from tests.agreement.strace_log import (
    Call,
    UnreadableLineError,
    descriptor_path,
    flags,
    read_log,
    split_arguments,
    string,
    strings,
)


def calls(*lines: str) -> list[Call]:
    """Return the calls of a log whose lines are given without time stamps."""
    stamped = [line.replace(" ", f" 1795438154.{number:06d} ", 1) + "\n" for number, line in enumerate(lines)]
    return list(read_log(stamped).calls)


def test_a_complete_call_has_its_name_its_arguments_and_its_return_value() -> None:
    """A call on one line is entered and returned there."""
    (call,) = calls('7 mount("shm", "/a/shm", "tmpfs", MS_NOSUID|MS_NODEV, "mode=1777,size=67108864") = 0')
    assert (call.name, call.thread, call.value, call.entered, call.returned) == ("mount", 7, 0, 1, 1)
    assert call.arguments == ['"shm"', '"/a/shm"', '"tmpfs"', "MS_NOSUID|MS_NODEV", '"mode=1777,size=67108864"']


def test_a_call_that_others_interrupt_is_put_together() -> None:
    """What `resumed` says continues what `unfinished` left."""
    first, second = calls(
        "7 clone(child_stack=NULL, flags=CLONE_VM|CLONE_VFORK|SIGCHLD <unfinished ...>",
        "8 close(3</x>)      = 0",
        "7 <... clone resumed>) = 8",
    )
    assert (first.name, first.value, first.entered, first.returned) == ("clone", 8, 1, 3)
    assert flags(first.arguments[1]) == {"CLONE_VM", "CLONE_VFORK", "SIGCHLD"}
    assert second.name == "close"


def test_an_argument_written_at_return_is_kept_beside_those_at_entry() -> None:
    """clone3's structure is printed twice, before and after."""
    (call,) = calls(
        "9 clone3({flags=CLONE_VM|CLONE_THREAD, child_tid=0x7f, exit_signal=0} <unfinished ...>",
        "9 <... clone3 resumed> => {parent_tid=[3 /* 26171 in strace's PID NS */]}, 88)"
        " = 3 /* 26171 in strace's PID NS */",
    )
    assert (call.value, call.host_id) == (3, 26171)
    assert flags(call.arguments[0]) == {"CLONE_VM", "CLONE_THREAD"}


@pytest.mark.parametrize(
    ("told", "value"),
    [
        ("-1 ENOENT (No such file or directory)", -2),
        ("? ERESTARTSYS (To be restarted if SA_RESTART is set)", -512),
        ("? ERESTART_RESTARTBLOCK (Interrupted by signal)", -516),
        ("-1 ENOTSUPP (Unknown error 524)", -524),
        ("0x7f4de5114000", 0x7F4DE5114000),
        ("022", 0o22),
        ("3</dev/pts/0>", 3),
        ("?", None),
    ],
)
def test_the_return_value_is_the_kernels_own(told: str, value: int | None) -> None:
    """A failure is a negative errno, an interrupted call one of the kernel's restart codes, no return is None."""
    (call,) = calls(f"7 something(1) = {told}")
    assert call.value == value


def test_text_in_strings_is_not_taken_for_syntax() -> None:
    """Quotes, brackets and strace's own words inside strings change nothing."""
    (call,) = calls(r'7 execve("/bin/true", ["true", "quo\"te) = 5", "new\nline <unfinished ...>"], ["A=("]) = 0')
    assert call.value == 0
    assert strings(call.arguments[1]) == ["true", 'quo"te) = 5', "new\nline <unfinished ...>"]


def test_bytes_that_are_not_text_survive() -> None:
    """Octal and hexadecimal escapes give the bytes back."""
    assert string(r'"/nope/\377\1"') == "/nope/\udcff\x01"
    assert string(r'"\x20\n"') == " \n"
    assert string("NULL") is None


def test_a_descriptors_path_may_hold_anything() -> None:
    """Brackets and commas in a path printed by -y do not end an argument."""
    arguments, rest = split_arguments('7</a, b) = 1/c>, "x", 1) = 1')
    assert (arguments, rest) == (["7</a, b) = 1/c>", '"x"', "1"], " = 1")
    assert descriptor_path(arguments[0]) == "/a, b) = 1/c"
    assert descriptor_path("7") is None


def test_a_call_cut_by_its_threads_end_never_returns() -> None:
    """Both forms of an unfinished call, and exit itself, have no return value."""
    cut, refused, ended = calls(
        "7 futex(0x1, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>",
        "8 ???( <unfinished ...>",
        "9 exit_group(0)     = ?",
        "7 <... futex resumed>) = ?",
        "8 <... ??? resumed>) = ?",
        "7 +++ exited with 0 +++",
        "8 +++ killed by SIGKILL +++",
    )
    assert [call.value for call in (cut, refused, ended)] == [None, None, None]
    assert [call.name for call in (cut, refused, ended)] == ["futex", "???", "exit_group"]
    assert [call.is_nameless for call in (cut, refused, ended)] == [False, True, False]


def test_a_number_that_was_a_result_names_no_call() -> None:
    """Asked too late what a killed thread calls, the kernel tells the error in the number's place."""
    (call,) = calls("7 syscall_0xfffffffffffffffe(0x1, 0, 0, 0, 0x7ffccb19f527, 0x7fbf035026c0 <unfinished ...>")
    assert call.is_nameless


def test_an_execve_of_another_thread_returns_in_the_processs_leader() -> None:
    """The thread that called execve goes on under the process id; what the leader did never returns."""
    log = read_log(
        f"{line}\n"
        for line in (
            "9 1.0 pause( <unfinished ...>",
            '13 1.1 execve("/bin/true", ["true"], [] <unfinished ...>',
            "9 1.2 <... pause resumed>) = ?",
            "9 1.3 +++ superseded by execve in pid 13 +++",
            "9 1.4 <... execve resumed>) = 0",
            "9 1.5 brk(NULL) = 0x5",
        )
    )
    assert [(thread.id, [call.name for call in thread.calls]) for thread in log.threads] == [
        (9, ["pause", "execve", "brk"]),
        (13, []),
    ]
    assert [(call.thread, call.value) for call in log.threads[0].calls] == [(9, None), (9, 0), (9, 5)]


def test_a_thread_id_used_again_is_another_thread() -> None:
    """After its end an id begins anew."""
    log = read_log(["7 1.0 exit(0) = ?\n", "7 1.1 +++ exited with 0 +++\n", "7 1.2 getpid() = 7\n"])
    assert [[call.name for call in thread.calls] for thread in log.threads] == [["exit"], ["getpid"]]


def test_signals_are_no_calls() -> None:
    """A signal's line is passed over."""
    assert calls("7 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=29111} ---") == []


@pytest.mark.parametrize("line", ["nonsense", "7 1.0 nonsense", "7 1.0 <... read resumed>) = 0", "7 1.0 read(3, 4) ="])
def test_an_unknown_line_is_refused(line: str) -> None:
    """Nothing is guessed: an expectation made of half a log would be wrong."""
    with pytest.raises(UnreadableLineError):
        read_log([line])
