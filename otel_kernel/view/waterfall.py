"""A birth as a waterfall: each row a name in a tree, how long it took, when it began, its bar, and what it called."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from otel_kernel.births.trace import Trace
from otel_kernel.view import picture as pictures
from otel_kernel.view.bar import Axis, Bar, bar
from otel_kernel.view.header import header, legend
from otel_kernel.view.picture import Picture
from otel_kernel.view.rows import CallSum, Row, rows
from otel_kernel.view.text import cells, duration, fit, harmless, wrap

NAME_SHARE = 0.38  # of the width, at most
TOOK_WIDTH, AFTER_WIDTH = 9, 9
TICKS = 4
INDENT = "   "


@dataclass(frozen=True, slots=True)
class Note:
    """Something said beside a bar, or below it where it does not fit."""

    items: tuple[str, ...]
    codes: str

    @property
    def text(self) -> str:
        """The note on one line."""
        return ", ".join(self.items)


def waterfall(trace: Trace, picture: Picture) -> list[str]:
    """Return the lines of a trace's picture, none of them wider than the picture."""
    drawn = rows(trace, fold=picture.calls == "folded")
    names = [_guides(row, picture) + _name(row, picture) for row in drawn]
    name_width = min(max(map(cells, names)), round(picture.width * NAME_SHARE))
    axis = Axis(
        min(row.span.start_unix_ns for row in drawn),
        max(row.span.end_unix_ns for row in drawn),
        picture.width - name_width - TOOK_WIDTH - AFTER_WIDTH - 1,
    )
    lines = [*header(trace, picture), "", _ticks(axis, name_width, picture)]
    for row, name, following in zip(drawn, names, [*drawn[1:], None], strict=True):
        notes = _notes(row, picture)
        drawn_bar = bar(row.span.start_unix_ns, row.span.end_unix_ns, axis, picture.signs)
        beside = _beside(notes, drawn_bar, axis.width)
        left = _left(row, fit(name, name_width, picture.signs.ellipsis), axis, picture)
        lines.append(left + _bar_and_notes(row, drawn_bar, notes[:beside], axis, picture))
        has_rows_below = following is not None and len(following.guides) > len(row.guides)
        lines += _below(row, notes[beside:], picture, has_rows_below=has_rows_below)
    return [line.rstrip() for line in [*lines, "", *legend(picture)]]


def _ticks(axis: Axis, name_width: int, picture: Picture) -> str:
    left = " " * name_width + f"{'took':>{TOOK_WIDTH}}{'after':>{AFTER_WIDTH}} "
    end_ns = axis.end_ns - axis.start_ns
    last = duration(end_ns, micro=picture.signs.micro)
    ticks = "0"
    for tick in range(1, TICKS):
        label = duration(end_ns * tick // TICKS, micro=picture.signs.micro)
        ticks = ticks.ljust(axis.width * tick // TICKS) + label + " "
        if len(ticks) + len(last) > axis.width:
            ticks = ticks[: -len(label) - 1]
            break
    return picture.paint(left + ticks + last.rjust(axis.width - len(ticks)), pictures.DIM)


def _guides(row: Row, picture: Picture) -> str:
    branch = (picture.signs.last_branch if row.guides[-1] else picture.signs.branch) if row.guides else ""
    return _stems(row.guides[:-1], picture) + branch


def _name(row: Row, picture: Picture) -> str:
    is_named_by_itself = row.span.attributes.get("otel_kernel.level") in {"birth", "unit", "process"}
    whose = "" if is_named_by_itself or row.parent_service in {None, row.span.service} else f"{row.span.service} "
    return _text(whose + row.span.name, picture)


def _stems(guides: Sequence[bool], picture: Picture) -> str:
    return "".join(INDENT if is_last else picture.signs.stem for is_last in guides)


def _left(row: Row, name: str, axis: Axis, picture: Picture) -> str:
    span, micro = row.span, picture.signs.micro
    took = duration(span.end_unix_ns - span.start_unix_ns, micro=micro)
    after_ns = span.start_unix_ns - axis.start_ns
    after = f"+{duration(after_ns, micro=micro)}" if after_ns else "0"
    guides = len(_guides(row, picture))
    painted = picture.paint(name[:guides], pictures.DIM) + picture.paint(name[guides:], _name_codes(row))
    return painted + f"{took:>{TOOK_WIDTH}}{after:>{AFTER_WIDTH}} "


def _notes(row: Row, picture: Picture) -> list[Note]:
    signs = picture.signs
    notes = []
    if row.span.error is not None:
        notes.append(Note((f"{signs.failed} {_text(row.span.error, picture)}".rstrip(),), pictures.RED))
    if row.slowest:
        notes.append(Note((signs.slowest,), pictures.SLOWEST))
    if row.calls:
        notes.append(Note(tuple(_call_sum(call, picture) for call in row.calls), pictures.DIM))
    return notes


def _call_sum(call: CallSum, picture: Picture) -> str:
    failed = f" ({call.failed} failed)" if call.failed else ""
    return f"{_text(call.name, picture)} {call.count}{failed} {duration(call.time_ns, micro=picture.signs.micro)}"


def _beside(notes: Sequence[Note], drawn: Bar, width: int) -> int:
    # How many of the notes fit beside the bar, at its right or at its left.
    room = max(width - drawn.before - len(drawn.text), drawn.before) - 2
    count = len(notes)
    while count and _width(notes[:count]) > room:
        count -= 1
    return count


def _width(notes: Sequence[Note]) -> int:
    return sum(cells(note.text) for note in notes) + 2 * (len(notes) - 1)


def _bar_and_notes(row: Row, drawn: Bar, notes: Sequence[Note], axis: Axis, picture: Picture) -> str:
    painted = picture.paint(drawn.text, _bar_codes(row))
    if not notes:
        return " " * drawn.before + painted
    said = "  ".join(picture.paint(note.text, note.codes) for note in notes)
    if _width(notes) <= axis.width - drawn.before - len(drawn.text) - 2:
        return " " * drawn.before + painted + "  " + said
    return " " * (drawn.before - _width(notes) - 2) + said + "  " + painted


def _below(row: Row, notes: Sequence[Note], picture: Picture, *, has_rows_below: bool) -> Iterator[str]:
    stems = _stems(row.guides, picture) + (picture.signs.stem if has_rows_below else INDENT)
    width = max(picture.width - cells(stems), picture.width // 2)
    for note in notes:
        for line in wrap(note.items, width, ", ", picture.signs.ellipsis):
            yield picture.paint(stems[: picture.width // 2], pictures.DIM) + picture.paint(line, note.codes)


def _name_codes(row: Row) -> str:
    if row.span.error is not None:
        return pictures.RED
    if row.slowest:
        return pictures.SLOWEST
    return pictures.BOLD if row.span.attributes.get("otel_kernel.level") in {"birth", "unit"} else pictures.PLAIN


def _bar_codes(row: Row) -> str:
    if row.span.error is not None:
        return pictures.RED
    if row.slowest:
        return pictures.SLOWEST
    colour = pictures.COLOUR_OF_SERVICE.get(row.span.service, pictures.COLOUR_OF_OTHERS)
    is_wait = row.span.attributes.get("otel_kernel.level") == "wait"
    return f"{pictures.DIM};{colour}" if is_wait else colour


def _text(text: str, picture: Picture) -> str:
    return harmless(text, ascii_only=picture.signs is pictures.ASCII)
