"""How a picture is drawn: its size, its signs and its colours."""

import os
import shutil
from dataclasses import dataclass
from typing import Literal, TextIO

NARROWEST, WIDEST = 80, 200
WITHOUT_TERMINAL = (120, 24)

Calls = Literal["folded", "spans"]

RESET = "\x1b[0m"
PLAIN, BOLD, DIM, RED = "", "1", "2", "31"
SLOWEST = "1;33"
COLOUR_OF_SERVICE = {
    "kubelet": "34",
    "containerd": "35",
    "crio": "35",
    "containerd-shim": "95",
    "runc": "32",
    "crun": "32",
    "cni": "33",
}
COLOUR_OF_OTHERS = "36"


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters of a picture."""

    branch: str
    last_branch: str
    stem: str
    left_eighths: str  # from one eighth of a cell to seven, filled from the left
    full: str
    right_half: str
    right_eighth: str
    slowest: str
    failed: str
    ellipsis: str
    micro: str
    dot: str
    rule: str


UNICODE = Signs("├─ ", "└─ ", "│  ", "▏▎▍▌▋▊▉", "█", "▐", "▕", "◀ slowest", "✗", "…", "µ", "·", "─")
ASCII = Signs("|- ", "`- ", "|  ", "#######", "#", "#", "#", "<- slowest", "!!", "...", "u", "-", "-")


@dataclass(frozen=True, slots=True)
class Picture:
    """What a picture looks like."""

    width: int
    calls: Calls = "folded"
    colour: bool = False
    signs: Signs = UNICODE

    def paint(self, text: str, codes: str) -> str:
        """Return text in a colour or weight, where there are colours."""
        return f"\x1b[{codes}m{text}{RESET}" if self.colour and codes and text.strip() else text


def picture_for(stdout: TextIO, calls: Calls) -> Picture:
    """Return the picture that suits a stream: the terminal's width, colours unless NO_COLOR, ASCII without UTF-8."""
    width = shutil.get_terminal_size(WITHOUT_TERMINAL).columns
    encoding = (stdout.encoding or "ascii").lower().replace("-", "").replace("_", "")
    return Picture(
        width=max(NARROWEST, min(WIDEST, width)),
        calls=calls,
        colour=stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        signs=UNICODE if encoding == "utf8" else ASCII,
    )
