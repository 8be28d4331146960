"""Text that others chose, in a terminal."""

import pytest

from otel_kernel.view.text import cells, duration, fit, harmless, seconds_ns, wrap


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runc init", "runc init"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("\ud83d", "\\ud83d"),
        ("\ue000", "\\ue000"),
        ("line\u2028end", "line\\u2028end"),
        ("cafe\u0301", "caf\u00e9"),
        ("x\u0301\u0301\u0301", "x\u0301\\u0301\\u0301"),
        ("\u0301x", "\\u0301x"),
        ("\u2764\ufe0f", "\u2764\\ufe0f"),
        ("no\u00a0break", "no\\xa0break"),
        ("\u4e2d\u6587", "\u4e2d\u6587"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text: str, expected: str) -> None:
    """Controls, escapes, bidirectional overrides and heaps of marks come out as visible escapes; letters stay."""
    assert harmless(text) == expected


def test_ascii_terminals_get_ascii() -> None:
    """Where only ASCII can be shown, everything else is an escape."""
    assert harmless("caf\u00e9 \u4e2d", ascii_only=True) == "caf\\xe9 \\u4e2d"


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("\u4e2d\u6587", 4), ("x\u0301", 1), ("caf\u00e9", 4), ("\uff21", 2)]
)
def test_cells(text: str, width: int) -> None:
    """Wide characters take two cells, marks none."""
    assert cells(text) == width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc", "abc  "),
        ("abcde", "abcde"),
        ("abcdef", "abcd…"),
        ("\u4e2d\u6587\u4e2d", "\u4e2d\u6587…"),
        ("a\u4e2d\u6587", "a\u4e2d\u6587"),
    ],
)
def test_text_is_fitted_to_cells(text: str, expected: str) -> None:
    """Text is filled up or cut to the width, never in the middle of a wide character."""
    assert fit(text, 5, "…") == expected
    assert cells(fit(text, 4, "…")) == 4


def test_wrapping_keeps_every_item_in_order() -> None:
    """Items are put on as few lines as they need; only one that is longer than a line is cut."""
    assert [*wrap(["aa", "bb", "cc", "d" * 12], 8, ", ", "…")] == ["aa, bb,", "cc,", "dddddd…"]


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0ns"), (1, "1ns"), (999, "999ns"), (1_000, "1.00µs"), (9_994, "9.99µs"), (9_996, "10.0µs"),
        (41_234, "41.2µs"), (99_960, "100µs"), (999_499, "999µs"), (999_500, "1.00ms"), (169_790_000, "170ms"),
        (1_000_000_000, "1.00s"), (59_900_000_000, "59.9s"), (60_000_000_000, "1m00s"), (123_000_000_000, "2m03s"),
        (3_600_000_000_000, "1h00m"), (90_061_000_000_000, "25h01m"), (2**64 - 1, "213503d"), (-5, "-5ns"),
    ],
)  # fmt: skip
def test_durations_in_three_digits(ns: int, expected: str) -> None:
    """A duration is told in three digits and the unit that suits it."""
    assert duration(ns) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, 500_000_000),
        (2, 2_000_000_000),
        (float("nan"), None),
        (float("inf"), None),
        (-1.0, None),
        ("1", None),
        (None, None),
        (1e300, None),
    ],
)
def test_seconds_of_attributes(value: object, expected: int | None) -> None:
    """What is no duration is None, not a guess and not an exception."""
    assert seconds_ns(value) == expected
