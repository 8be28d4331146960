"""Lines of `name value`."""

from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.node import fields

MEMORY_STAT = b"anon 4096\nfile 8192\ninactive_file 12288\nworkingset_refault_file 3\n"


def test_a_line_is_found_wherever_it_stands() -> None:
    """The first line, one in the middle and the last are found by their whole name."""
    assert fields.field(MEMORY_STAT, b"anon") == 4096
    assert fields.field(MEMORY_STAT, b"inactive_file") == 12288
    assert fields.field(MEMORY_STAT, b"workingset_refault_file") == 3
    assert fields.field(MEMORY_STAT, b"refault_file") is None
    assert fields.field(MEMORY_STAT, b"inactive") is None


def test_half_a_line_says_nothing() -> None:
    """A number that may have been cut is not taken for a smaller one."""
    assert fields.field(b"anon 4096\nfile 81", b"file") is None
    assert fields.field(b"anon 4096\nfile", b"file") is None
    assert fields.line(b"4096") is None
    assert fields.line(b"4096\n4097\n") is None


def test_numbers_beyond_floating_point_are_exact() -> None:
    """The largest number that the kernel can tell is told exactly; a longer one was not told by the kernel."""
    assert fields.field(b"anon 18446744073709551615\n", b"anon") == (1 << 64) - 1
    assert fields.number(b"9" * 21) is None


def test_what_is_no_whole_number_is_none() -> None:
    """Signs, blanks, letters and emptiness are no numbers."""
    assert [fields.number(text) for text in (b"", b"-1", b"+1", b"1.5", b" 1", b"max", b"1_0", "²".encode())] == [
        None
    ] * 8


NAMES = st.from_regex(r"[a-z_.]{1,12}", fullmatch=True)


@given(st.dictionaries(NAMES, st.integers(0, (1 << 64) - 1), min_size=1), st.binary(max_size=12), st.data())
def test_every_line_is_found_by_its_name(values: dict[str, int], tail: bytes, data: st.DataObject) -> None:
    """Whatever stands around it, and however the file ends, a whole line gives its number."""
    content = b"".join(f"{name} {value}\n".encode() for name, value in values.items())
    wanted = data.draw(st.sampled_from(sorted(values)))
    assert fields.field(content + tail, wanted.encode()) == values[wanted]


@given(st.binary(), st.binary(min_size=1, max_size=8))
def test_any_content_gives_a_number_or_nothing(content: bytes, name: bytes) -> None:
    """Whatever a file holds, its reader goes on, and a number that is told stands in a line of it."""
    found = fields.field(content, name)
    assert found is None or any(
        line.startswith(name + b" ") and int(line[len(name) :]) == found for line in lines(content)
    )


def lines(content: bytes) -> list[bytes]:
    """Return what begins after a newline, also within a name that holds one."""
    starts = [0, *(at + 1 for at, byte in enumerate(content) if byte == ord("\n"))]
    return [content[at:].partition(b"\n")[0] for at in starts]
