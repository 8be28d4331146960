"""A bar on the time axis, to an eighth of a cell where the terminal has such characters."""

from dataclasses import dataclass

from otel_kernel.view.picture import Signs

EIGHTHS = 8


@dataclass(frozen=True, slots=True)
class Axis:
    """The time that a bar's width stands for."""

    start_ns: int
    end_ns: int
    width: int  # cells

    def eighths(self, ns: int) -> int:
        """Return where a moment lies, in eighths of a cell from the left."""
        span_ns = max(1, self.end_ns - self.start_ns)
        inside_ns = min(max(ns, self.start_ns), self.end_ns) - self.start_ns
        return inside_ns * self.width * EIGHTHS // span_ns


@dataclass(frozen=True, slots=True)
class Bar:
    """A drawn bar: `text` stands after `before` empty cells."""

    before: int
    text: str


def bar(start_ns: int, end_ns: int, axis: Axis, signs: Signs) -> Bar:
    """Return the bar of an interval: never empty, never beyond the axis."""
    first = min(axis.eighths(start_ns), axis.width * EIGHTHS - 1)
    last = max(axis.eighths(end_ns), first + 1)
    cell, into = divmod(first, EIGHTHS)
    end_cell, over = divmod(last, EIGHTHS)
    if end_cell == cell or (end_cell == cell + 1 and not over):
        return Bar(cell, _within_a_cell(into, last - first, signs))
    rest = signs.left_eighths[over - 1] if over else ""
    return Bar(cell, _from(into, signs) + signs.full * (end_cell - cell - 1) + rest)


def _within_a_cell(into: int, eighths: int, signs: Signs) -> str:
    # Terminals have characters that are filled from the left in every eighth, from the right only two.
    if eighths == EIGHTHS:
        return signs.full
    in_the_left_half = 2 * into + eighths <= EIGHTHS
    return signs.left_eighths[eighths - 1] if in_the_left_half else _of_the_right(eighths, signs)


def _from(into: int, signs: Signs) -> str:
    return _of_the_right(EIGHTHS - into, signs)


def _of_the_right(eighths: int, signs: Signs) -> str:
    if eighths >= 6:  # noqa: PLR2004 (nearer to a full cell than to a half)
        return signs.full
    return signs.right_half if eighths >= 3 else signs.right_eighth  # noqa: PLR2004 (nearer to a half than to an eighth)
