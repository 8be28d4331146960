"""What a request in OTLP/JSON tells. Raises MalformedError for what is none.

Unknown fields are ignored, 64-bit integers come as decimal strings or numbers, ids in hexadecimal (specification,
protocol/otlp: JSON Protobuf Encoding).
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from otel_kernel.bridge.told import BIRTH_LEVEL, STEP, STEP_ACTION, Birth, Event, MalformedError, Scalar, Step

UINT64_MAX = 2**64 - 1

Json = dict[str, Any]


def births(body: bytes) -> Iterator[Birth]:
    """Yield the births' roots of a request with spans."""
    for group in _objects(_parsed(body), "resourceSpans"):
        resource = _scalars(_object(group, "resource"))
        for span in (span for scope in _objects(group, "scopeSpans") for span in _objects(scope, "spans")):
            attributes = _scalars(span)
            if attributes.get("otel_kernel.level") == BIRTH_LEVEL:
                yield Birth(
                    _text(span, "traceId").lower(),
                    _text(span, "spanId").lower(),
                    _nanoseconds(span, "startTimeUnixNano"),
                    _nanoseconds(span, "endTimeUnixNano"),
                    resource,
                    attributes,
                    tuple(_steps(span)),
                )


def events(body: bytes) -> Iterator[Event]:
    """Yield the events of a request with log records."""
    for group in _objects(_parsed(body), "resourceLogs"):
        resource = _scalars(_object(group, "resource"))
        for record in (record for scope in _objects(group, "scopeLogs") for record in _objects(scope, "logRecords")):
            if name := _text(record, "eventName"):
                yield Event(name, _nanoseconds(record, "timeUnixNano"), resource, _scalars(record))


def nothing(body: bytes) -> Iterator[Event]:
    """Yield nothing of a request with metrics, once it is seen to be one."""
    _objects(_parsed(body), "resourceMetrics")
    yield from ()


def _parsed(body: bytes) -> Json:
    try:
        parsed = json.loads(body)
    except RecursionError:  # the parser's own limit, about a thousand; nothing here goes as deep as a value may
        raise MalformedError("the body is nested too deep") from None
    except ValueError:  # among them UnicodeDecodeError, and integers of too many digits
        raise MalformedError("the body is not JSON") from None
    if not isinstance(parsed, dict):
        raise MalformedError("the body is not a JSON object")
    return parsed


def _objects(parent: Json, name: str) -> list[Json]:
    found = parent.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise MalformedError(f"{name} is not a list of objects")
    return found


def _object(parent: Json, name: str) -> Json:
    found = parent.get(name)
    if found is not None and not isinstance(found, dict):
        raise MalformedError(f"{name} is not an object")
    return found or {}


def _text(parent: Json, name: str) -> str:
    found = parent.get(name, "")
    if not isinstance(found, str):
        raise MalformedError(f"{name} is not a string")
    return found


def _nanoseconds(parent: Json, name: str) -> int:
    try:
        found = _integer(parent.get(name, 0))
    except ValueError:
        raise MalformedError(f"{name} is not an integer") from None
    if not 0 <= found <= UINT64_MAX:
        raise MalformedError(f"{name} is not an unsigned 64-bit integer")
    return found


def _integer(value: Any) -> int:  # noqa: ANN401  # whatever JSON holds
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError


def _scalars(parent: Json) -> dict[str, Scalar]:
    attributes: dict[str, Scalar] = {}
    for each in _objects(parent, "attributes"):
        key, value = _text(each, "key"), _scalar(_object(each, "value"))
        if value is not None:
            attributes[key] = value
    return attributes


def _scalar(value: Json) -> Scalar | None:
    """Return a scalar value; None for arrays, maps, bytes and nothing, which no message needs."""
    try:
        match value:
            case {"stringValue": str(text)}:
                return text
            case {"boolValue": bool(truth)}:
                return truth
            case {"intValue": number}:
                return _integer(number)
            case {"doubleValue": float(number) | int(number)}:
                return float(number)
            case {"doubleValue": str(word)}:  # "NaN", "Infinity", "-Infinity", or a number in quotes
                return float(word)
    except (ValueError, OverflowError):
        raise MalformedError("a value is not of its kind") from None
    if value.keys() & {"stringValue", "boolValue", "doubleValue"}:
        raise MalformedError("a value is not of its kind")
    return None


def _steps(span: Json) -> Iterator[Step]:
    for event in _objects(span, "events"):
        if _text(event, "name") == STEP:
            yield Step(_nanoseconds(event, "timeUnixNano"), str(_scalars(event).get(STEP_ACTION, "")))
