"""Text that others chose, made safe for a terminal and measured in its cells."""

import math
import unicodedata
from collections.abc import Iterable, Iterator

NS_PER_S = 1_000_000_000
MINUTE_S = 60
HOUR_S = 3600
DAY_S = 86_400
LONGEST_S = 1e10  # what 64 bits of nanoseconds hold, and less

WITHOUT_WIDTH = frozenset({"Mn", "Me"})
VARIATION_SELECTORS = range(0xFE00, 0xFE10)  # they widen the character before them, in some terminals
JAMO_WITHOUT_WIDTH = range(0x1160, 0x1200)
WIDE = frozenset({"W", "F"})


def harmless(text: str, *, ascii_only: bool = False) -> str:
    """Return text in which whatever a terminal would obey, reorder or measure in its own way is shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(
        char if _is_safe(char, before, ascii_only=ascii_only) else _escape(char)
        for before, char in zip(" " + composed, composed, strict=False)
    )


def _is_safe(char: str, before: str, *, ascii_only: bool) -> bool:
    if char.isascii():
        return char.isprintable()
    # What is not printable a terminal obeys, or gives a width of its own: controls, formatting (bidirectional
    # overrides, zero width), private use, lone surrogates, unassigned, separators.
    if ascii_only or not char.isprintable() or ord(char) in VARIATION_SELECTORS or ord(char) in JAMO_WITHOUT_WIDTH:
        return False
    # One mark on one letter. Heaped up they reach into the lines above, at the beginning into what stands before.
    return unicodedata.category(char) not in WITHOUT_WIDTH or before.isalpha()


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def cells(text: str) -> int:
    """Return how many cells of a terminal harmless text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells(char) for char in text)


def _cells(char: str) -> int:
    if unicodedata.category(char) in WITHOUT_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in WIDE else 1


def fit(text: str, width: int, ellipsis: str) -> str:
    """Return harmless text cut to at most `width` cells, with an ellipsis where it was cut, and filled up to them."""
    taken = cells(text)
    if taken <= width:
        return text + " " * (width - taken)
    kept, used = "", cells(ellipsis)
    for char in text:
        used += _cells(char)
        if used > width:
            break
        kept += char
    kept += ellipsis
    return kept + " " * (width - cells(kept))


def wrap(items: Iterable[str], width: int, separator: str, ellipsis: str) -> Iterator[str]:
    """Yield lines of at most `width` cells with the items in order; an item longer than a line is cut."""
    line, width = "", width - cells(separator.rstrip())
    for item in items:
        longer = f"{line}{separator}{item}" if line else item
        if cells(longer) <= width:
            line = longer
            continue
        if line:
            yield line + separator.rstrip()
        line = item if cells(item) <= width else fit(item, width, ellipsis)
    if line:
        yield line


def duration(ns: int, *, micro: str = "µ") -> str:
    """Return nanoseconds in three digits and the unit that suits them: `41.2µs`, `170ms`, `2m03s`, `5d`."""
    if ns < 0:
        return "-" + duration(-ns, micro=micro)
    if ns >= MINUTE_S * NS_PER_S:
        return _long_duration(round(ns / NS_PER_S))
    value, unit = float(ns), "ns"
    for larger in (f"{micro}s", "ms", "s"):
        if round(value) < 1000:  # noqa: PLR2004 (three digits)
            break
        value, unit = value / 1000, larger
    if unit == "ns" or value >= 99.95:  # noqa: PLR2004 (three digits)
        return f"{value:.0f}{unit}"
    return f"{value:.1f}{unit}" if value >= 9.995 else f"{value:.2f}{unit}"  # noqa: PLR2004 (three digits)


def _long_duration(seconds: int) -> str:
    if seconds < HOUR_S:
        return f"{seconds // MINUTE_S}m{seconds % MINUTE_S:02}s"
    if seconds < 4 * DAY_S:
        return f"{seconds // HOUR_S}h{seconds % HOUR_S // MINUTE_S:02}m"
    return f"{seconds // DAY_S}d"


def seconds_ns(value: object) -> int | None:
    """Return a number of seconds, as attributes tell durations, in nanoseconds; None for what is no duration."""
    if isinstance(value, int | float) and math.isfinite(value) and 0 <= value < LONGEST_S:
        return round(value * NS_PER_S)
    return None
