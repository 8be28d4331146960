"""The command line: what it teaches, what it refuses, and with which exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_kernel import __version__
from otel_kernel.cli import main

SEVENTEEN = (
    *("read", "write", "openat", "close", "mmap", "munmap", "futex", "ppoll", "socket", "connect", "accept", "sendto"),
    *("recvfrom", "sendmsg", "recvmsg", "clone", "execve"),
)


def ended(arguments: list[str]) -> int:
    """Return the exit status that a command line ends with."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "a command is needed: run, check, show FILE or bridge"),
        (["rum"], "invalid choice: 'rum'"),
        (["--verbose"], "--verbose"),
        (["run", "--birth-quite", "3"], "unknown argument '--birth-quite'; did you mean --birth-quiet?"),
        (["run", "now"], "unknown argument 'now'"),
        (["run", "--birth-q", "3"], "unknown argument '--birth-q'"),
        (["run", "--birth-quiet"], "expected one argument"),
        (["run", "--ebpf", "maybe"], "--ebpf (OTEL_KERNEL_EBPF)='maybe' is not allowed; allowed: auto, off, require"),
        (["run", "--node-name", "a\x1b[2Jb"], r"'a\x1b[2Jb' is not allowed"),
        (["check", "--output", "otlp"], "without OTEL_EXPORTER_OTLP_ENDPOINT"),
        (["check", "--syscall-names", "read,getpid,nonsense"], "='nonsense' is not allowed"),
        (["check", "--syscall-names", "read,Write"], "='read,Write' is not allowed"),
        (["check", "--syscall-names", "read,all"], "'all' is not allowed"),
        (["run", "--syscall-duration", "futexx"], "has no system call of that name"),
        (["run", "--syscall-duration", ",".join(SEVENTEEN)], "is not allowed: at most 16 names"),
        (["show"], "FILE"),
        (["show", "births.jsonl", "--calls", "all"], "invalid choice: 'all'"),
        (["show", "a\x1b.jsonl", "b\x1b.jsonl"], r"unknown argument 'b\x1b.jsonl'"),
        (["bridge"], "OTEL_KERNEL_BRIDGE_URL is not set, and bridge needs it"),
    ],
)
def test_refused(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line ends with status 2 and one printable line on standard error."""
    assert ended(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert part in error
    assert error.startswith("otel-kernel")
    assert error.endswith("\n")
    assert error[:-1].isprintable()


def test_refused_from_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong variable is refused like a wrong argument."""
    monkeypatch.setenv("OTEL_KERNEL_BIRTH_TIMEOUT", "10m")
    assert ended(["check", "--json"]) == 2
    assert capsys.readouterr().err.startswith("otel-kernel: OTEL_KERNEL_BIRTH_TIMEOUT='10m' is not allowed; allowed: ")


def test_bytes_that_are_not_text() -> None:
    """Arguments and variables that are not UTF-8 are refused in one line of ASCII, without a traceback."""
    for argument, environ in ((b"--node-name=\xff", {}), (b"--ebpf=off", {b"OTEL_KERNEL_NODE_NAME": b"\xff"})):
        refused = subprocess.run(
            [sys.executable, "-m", "otel_kernel", "run", argument],
            env=os.environb | environ | {b"LC_ALL": b"C"},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert refused.returncode == 2
        assert refused.stderr.count(b"\n") == 1
        assert rb"'\udcff' is not allowed" in refused.stderr


@pytest.mark.parametrize("command", [[], ["run"], ["check"], ["show"], ["bridge"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself and ends with status 0."""
    assert ended([*command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: otel-kernel", *command]))


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """The help of run tells each option with its variable, and what is allowed."""
    ended(["run", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--birth-quiet VALUE a birth has ended when nothing more began for so long [OTEL_KERNEL_BIRTH_QUIET;" in told


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is the package's."""
    assert ended(["--version"]) == 0
    assert capsys.readouterr().out == f"otel-kernel {__version__}\n"


def test_installed_command() -> None:
    """The command that the package installs is this command line."""
    command = Path(sys.executable).parent / "otel-kernel"
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told == f"otel-kernel {__version__}\n"


def test_nothing_heavy_for_a_wrong_setting() -> None:
    """A setting is refused before the agent, with gRPC and all, is imported."""
    program = "import sys, otel_kernel.cli as cli; cli.main(['run', '--ebpf', 'x']); print('grpc' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert told == "False\n"
