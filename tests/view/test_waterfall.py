"""Pictures of a birth, compared with the ones that were looked at and found right (tests/view/pictures)."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.births.trace import Span, Trace
from otel_kernel.view.picture import ASCII, Picture
from otel_kernel.view.text import cells
from otel_kernel.view.waterfall import waterfall
from tests.view.handmade import START_NS, as_events, birth, failed

PICTURES = Path(__file__).parent / "pictures"
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
EVERY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)

DRAWN = {
    "folded": (birth(), Picture(120)),
    "spans": (birth(), Picture(120, "spans")),
    "narrow": (birth(), Picture(80)),
    "wide": (birth(), Picture(200)),
    "failed": (failed(), Picture(120)),
    "failed-colour": (failed(), Picture(120, colour=True)),
    "ascii": (failed(), Picture(80, signs=ASCII)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_the_picture(name: str) -> None:
    """The picture is, character by character, the one on record."""
    trace, picture = DRAWN[name]
    assert "\n".join(waterfall(trace, picture)) + "\n" == (PICTURES / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [80, 81, 99, 120, 157, 200])
@pytest.mark.parametrize("calls", ["folded", "spans"])
def test_no_line_is_wider_than_the_picture(width: int, calls: str) -> None:
    """Every line fits, with colours too, which take no cells."""
    for trace in (birth(), failed()):
        for line in waterfall(trace, Picture(width, calls, colour=True)):  # type: ignore[arg-type]
            assert cells(COLOURS.sub("", line)) <= width


def test_calls_that_are_events_are_drawn_like_calls_that_are_spans() -> None:
    """A birth exported with folded calls has the same folded picture, and in `spans` every call has its row."""
    told = as_events(birth())
    assert waterfall(told, Picture(120)) == waterfall(birth(), Picture(120))
    assert sum("─ setns " in line for line in waterfall(told, Picture(120, "spans"))) == 3


def test_colours_change_no_character() -> None:
    """The picture with colours is the picture without, once the colours are taken away."""
    plain = [COLOURS.sub("", line).rstrip() for line in waterfall(failed(), Picture(120, colour=True))]
    assert plain == waterfall(failed(), Picture(120))


def test_only_what_is_known_is_said() -> None:
    """A trace of a root alone has no line for counts, ledger or names, and no invented zero."""
    root = Span(b"r" * 8, None, "pod birth", START_NS, START_NS + 1000, "otel-kernel", {"otel_kernel.level": "birth"})
    text = "\n".join(waterfall(Trace(b"t" * 16, "otel_kernel.cgroupfs", (root,), {}), Picture(80)))
    assert "name not known" in text
    assert not re.search("counts|ledger|slowest +[a-z]|completion|complete|lost", text)


def test_the_slowest_step_stands_out_once() -> None:
    """The step that the root names bears the sign; one that has no row of its own lends it to the row it is in."""

    def marked(slowest: str) -> list[str]:
        root = birth().spans[0]
        told = replace(root, attributes={**root.attributes, "otel_kernel.birth.slowest": slowest})
        lines = waterfall(replace(birth(), spans=(told, *birth().spans[1:])), Picture(120))
        return [line.split("─ ")[1].split("  ")[0] for line in lines if "◀ slowest" in line and "─ " in line]

    assert marked("sandbox: runc init: wait read") == ["wait read"]
    assert marked("container app: runc init") == ["runc init"]
    assert marked("sandbox: runc create: clone") == ["runc create"]
    assert marked("sandbox") == ["sandbox"]
    assert marked("something else") == []


def test_spans_without_their_parent_are_drawn() -> None:
    """When the root's request was lost, what is left is drawn, and the header says that the root is not here."""
    lines = waterfall(replace(birth(), spans=birth().spans[1:]), Picture(120))
    assert any("the root of this trace is not here" in line for line in lines)
    assert sum(line.startswith(("sandbox ", "container app ")) for line in lines) == 2


def test_spans_in_a_circle_are_drawn_once() -> None:
    """Two spans that are each other's parent end in a picture, not in a loop."""
    a, b = (bytes([number]) * 8 for number in (1, 2))
    first, second = Span(a, b, "A", START_NS, START_NS + 5, "s", {}), Span(b, a, "B", START_NS, START_NS + 5, "s", {})
    lines = waterfall(Trace(b"t" * 16, "s", (first, second), {}), Picture(80))
    assert [line.split("  ")[0] for line in lines if "A" in line or "B" in line] == ["A", "A", "└─ B"]  # title, rows


def test_a_span_that_came_twice_is_one_row() -> None:
    """The same span delivered twice is drawn once and its calls are counted once."""
    doubled = replace(birth(), spans=birth().spans * 2)
    assert waterfall(doubled, Picture(120)) == waterfall(birth(), Picture(120))


def test_a_thousand_levels() -> None:
    """A chain of a thousand spans, which no birth is, is still a picture of the right width."""
    ids = [number.to_bytes(8, "big") for number in range(1, 1001)]
    spans = tuple(
        Span(me, parent, "p", START_NS, START_NS + 9, "s", {"otel_kernel.level": "process"})
        for me, parent in zip(ids, [None, *ids], strict=False)
    )
    lines = waterfall(Trace(b"t" * 16, "s", spans, {}), Picture(80))
    assert len(lines) > 1000
    assert all(cells(line) <= 80 for line in lines)


@given(EVERY_TEXT, EVERY_TEXT, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_whatever_names_and_times_come(name: str, other: str, start_ns: int, end_ns: int, unicode: bool) -> None:
    """Hostile names, reasons and times leave every line printable, of the right width, in its place."""
    root, *others = birth().spans
    spans = (
        replace(root, name=other, attributes={**root.attributes, "otel_kernel.birth.slowest": other}),
        *(replace(span, name=name, service=other, error=other) for span in others[:3]),
        replace(others[3], name=name, start_unix_ns=start_ns, end_unix_ns=end_ns, service=other),
        *others[4:],
    )
    trace = replace(birth(), spans=spans, pod={"k8s.pod.name": name, "k8s.namespace.name": other}, scope=name)
    picture = Picture(80) if unicode else Picture(80, signs=ASCII)
    for line in waterfall(trace, picture):
        assert cells(line) <= 80
        assert all(char.isprintable() for char in line)
        assert unicode or line.isascii()
        assert not any("\u202a" <= char <= "\u202e" or "\u2066" <= char <= "\u2069" for char in line)
