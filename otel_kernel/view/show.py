"""`otel-kernel show FILE`: every birth of a file, drawn."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from otel_kernel.births.trace import Trace
from otel_kernel.view.otlp_lines import Lines
from otel_kernel.view.picture import Calls, picture_for
from otel_kernel.view.text import harmless
from otel_kernel.view.waterfall import waterfall

DRAWN, NOT_ALL, NO_FILE = 0, 1, 2


def show(path: str | Path, *, calls: Calls = "folded", trace: str | None = None, stdout: TextIO | None = None) -> int:
    """Draw the births of a file of OTLP JSON lines (`-`: standard input), or the one with this trace id.

    Returns 0, 1 when there was a line that is no OTLP or nothing to draw, 2 when the file cannot be read. A reader that
    goes away (`| head`) is not an error.
    """
    lines = Lines()
    try:
        with _opened(path) as file:
            lines.read(file)
    except OSError as error:
        _complain(f"{path}: {error.strerror}")
        return NO_FILE
    wanted = trace.replace("-", "").lower() if trace else None
    births = [birth for birth in lines.births() if wanted in (None, birth.trace_id.hex())]
    out = stdout or sys.stdout
    try:
        for birth in births:
            draw(birth, out, calls)
    except BrokenPipeError:
        # Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return DRAWN
    return _verdict(path, lines, births, wanted)


def draw(birth: Trace, stdout: TextIO, calls: Calls = "folded") -> None:
    """Write the picture of a birth to a stream, and an empty line after it."""
    stdout.writelines(f"{line}\n" for line in (*waterfall(birth, picture_for(stdout, calls)), ""))
    stdout.flush()


def _verdict(path: str | Path, lines: Lines, births: list[Trace], wanted: str | None) -> int:
    if lines.unreadable:
        are = "line is" if lines.unreadable == 1 else "lines are"
        _complain(f"{path}: {lines.unreadable} {are} no OTLP JSON, passed over")
    if not births:
        _complain(f"{path}: no birth {f'with trace id {wanted} ' if wanted else ''}in it")
    return NOT_ALL if lines.unreadable or not births else DRAWN


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with Path(path).open("rb") as file:
        yield file


def _complain(message: str) -> None:
    print(f"otel-kernel show: {harmless(message)}", file=sys.stderr)
