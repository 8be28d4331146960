"""Recordings: loss-free, and clear about what is none."""

import pytest
from hypothesis import given

from otel_kernel.births.recording import Recorded, decode, decode_lines, encode
from otel_kernel.kernel.events import Loss
from tests.births.anything import anything
from tests.births.story import Story, assemble


@given(anything())
def test_what_is_recorded_comes_back(told: Recorded) -> None:
    """Every event and fact is one line of ASCII and comes back equal, lone surrogates too."""
    line = encode(told)
    assert line.isascii()
    assert "\n" not in line
    back = decode(line)
    assert back == told
    assert type(back) is type(told)


def test_a_recording_replays_to_the_same_trace() -> None:
    """A birth that is recorded and read again gives the same trace."""
    story = Story().pod_cgroup().born_sandbox()
    story.born_container("app")
    _, told = assemble(story)
    again = Story(events=list(decode_lines(encode(event) + "\n" for event in story.events)), now=story.now)
    assert assemble(again)[1] == told


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "not a recorded event: Expecting value"),
        ("[" * 100_000, "not a recorded event"),
        ("[]", "not a recorded event: no type of Fork, "),
        ('{"type":"Nonsense"}', "not a recorded event: no type of Fork, "),
        ('{"type":["Loss"]}', "not a recorded event: no type of Fork, "),
        ('{"type":"Loss","ns":1}', "not a recorded Loss: fields missing or unknown: lost, probe_misses"),
        ('{"type":"Loss","ns":1,"lost":"2","probe_misses":0}', "not a recorded Loss: lost is '2'"),
        ('{"type":"Loss","ns":true,"lost":2,"probe_misses":0}', "not a recorded Loss: ns is True"),
    ],
)
def test_a_malformed_line_is_one_clear_error(line: str, complaint: str) -> None:
    """What `encode` does not write raises one ValueError of one line."""
    with pytest.raises(ValueError, match="not a recorded") as raised:
        decode(line)
    assert str(raised.value).startswith(complaint)
    assert "\n" not in str(raised.value)


def test_the_malformed_line_is_named() -> None:
    """A recording says which of its lines is none."""
    with pytest.raises(ValueError, match="line 2: not a recorded event"):
        list(decode_lines([encode(Loss(1, 2, 3)), "{"]))
