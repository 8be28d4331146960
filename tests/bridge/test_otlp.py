"""Bodies that are not what they say: a clear complaint, never anything else."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.bridge import otlp_json, otlp_protobuf
from otel_kernel.bridge.told import MalformedError
from tests.bridge.births import as_json, as_protobuf, recorded, throttled

LEVEL = {"key": "otel_kernel.level", "value": {"stringValue": "birth"}}


def spans(*attributes: object, **changed: object) -> dict[str, Any]:
    """Return a request with one root of a birth that differs in this."""
    span = {"traceId": "AB" * 16, "spanId": "cd" * 8, "startTimeUnixNano": "1", "endTimeUnixNano": 2, **changed}
    span.setdefault("attributes", [LEVEL, *attributes])
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


def told(request: object) -> list[Any]:
    """Return what a request in JSON tells."""
    return list(otlp_json.births(json.dumps(request).encode()))


def test_only_roots_of_births() -> None:
    """Of a whole trace only the root concerns the operator."""
    assert len(recorded().spans) > 20
    assert len(list(otlp_json.births(as_json(recorded())))) == 1


def test_numbers_and_ids_as_the_specification_allows() -> None:
    """Integers in quotes or not, ids in capitals, unknown fields."""
    (birth,) = told(spans({"key": "n", "value": {"intValue": "-5"}}, unknown={"a": [1]}))
    assert (birth.trace_id, birth.start_unix_ns, birth.end_unix_ns) == ("ab" * 16, 1, 2)
    assert birth.attributes["n"] == -5
    values = [{"doubleValue": "NaN"}, {"intValue": 7}, {"arrayValue": {"values": []}}, {}, {"doubleValue": 1}]
    (birth,) = told(spans(*({"key": f"v{at}", "value": value} for at, value in enumerate(values))))
    assert birth.attributes.keys() == {"otel_kernel.level", "v0", "v1", "v4"}


@pytest.mark.parametrize(
    "request_",
    [
        [],
        "text",
        {"resourceSpans": {}},
        {"resourceSpans": [5]},
        {"resourceSpans": [{"scopeSpans": [{"spans": ["x"]}]}]},
        spans(startTimeUnixNano="soon"),
        spans(endTimeUnixNano=-1),
        spans(endTimeUnixNano=2**64),
        spans(endTimeUnixNano=True),
        spans(traceId=5),
        spans({"key": "n", "value": {"intValue": "1.5"}}),
        spans({"key": "n", "value": {"stringValue": 5}}),
        spans({"key": "n", "value": {"doubleValue": "much"}}),
        spans({"key": 5, "value": {}}),
        spans({"key": "n", "value": "plain"}),
        spans(events=[{"name": ["x"]}]),
    ],
)
def test_wrong_shapes(request_: object) -> None:
    """JSON that is no OTLP is complained about."""
    with pytest.raises(MalformedError):
        told(request_)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"resourceSpans":' + b"9" * 5000 + b"}",
        b'{"resourceSpans": [' + b'{"a": [' * 5000 + b"]}" * 5000 + b"]}",
    ],
    ids=lambda body: f"{body[:20]!r}...{len(body)}",
)
def test_not_json(body: bytes) -> None:
    """Nesting, endless numbers and broken text end in a complaint, not in a crash."""
    with pytest.raises(MalformedError):
        list(otlp_json.births(body))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["attributes", "spans"]), inner),
)


@given(anything, st.sampled_from(["resource", "scopeSpans", "attributes", "events", "traceId", "startTimeUnixNano"]))
def test_any_json(value: object, place: str) -> None:
    """Whatever stands wherever: a result or a complaint."""
    for request in (value, {"resourceSpans": [{place: value}]}, spans(**{place: value})):
        body = json.dumps(request).encode()
        for read in (otlp_json.births, otlp_json.events, otlp_json.nothing):
            with contextlib.suppress(MalformedError):
                list(read(body))


@given(st.binary(), st.integers(0, 5000))
def test_any_bytes(noise: bytes, at: int) -> None:
    """Noise, and noise in a real request: a result or a complaint."""
    for whole in (as_protobuf(recorded()), throttled("web-1", 5)):
        for read in (otlp_protobuf.births, otlp_protobuf.events, otlp_protobuf.nothing, otlp_json.births):
            for body in (noise, whole[:at] + noise + whole[at:]):
                with contextlib.suppress(MalformedError):
                    list(read(body))


def test_deep_protobuf() -> None:
    """Values within values within values are refused by the parser itself."""
    value = b""
    for _ in range(400):
        inner = b"\x0a" + _varint(len(value)) + value  # ArrayValue.values
        value = b"\x2a" + _varint(len(inner)) + inner  # AnyValue.array_value
    attribute = b"\x0a\x01n\x12" + _varint(len(value)) + value
    resource = b"\x0a" + _varint(len(attribute)) + attribute
    group = b"\x0a" + _varint(len(resource)) + resource
    with pytest.raises(MalformedError):
        list(otlp_protobuf.births(b"\x0a" + _varint(len(group)) + group))


def _varint(number: int) -> bytes:
    said = bytearray()
    while number > 127:
        said.append(number & 127 | 128)
        number >>= 7
    return bytes((*said, number))
