"""Events and facts as JSON lines: what OTEL_KERNEL_RECORD writes and tests replay; lone surrogates survive."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, asdict, fields
from enum import IntEnum
from types import NoneType, UnionType
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from otel_kernel.births.facts import ContainerFacts, PodEvents, PodFacts
from otel_kernel.kernel.events import Call, CgroupChange, CgroupWrite, End, Event, Exec, Fork, Loss, Throttled, Wait

Facts: TypeAlias = ContainerFacts | PodFacts | PodEvents
Recorded: TypeAlias = Event | Facts
_FACTS = (ContainerFacts, PodFacts, PodEvents)
_TYPES: dict[str, type] = {
    kind.__name__: kind for kind in (Fork, Exec, End, Call, Wait, CgroupChange, CgroupWrite, Throttled, Loss, *_FACTS)
}


def encode(told: Recorded) -> str:
    """Return one event or fact as a line of JSON, without its line feed."""
    values = asdict(told) if isinstance(told, _FACTS) else told._asdict()
    return json.dumps({"type": type(told).__name__, **values}, separators=(",", ":"))


def decode(line: str) -> Recorded:
    """Return what a line tells. Raises ValueError, in one line, for anything that `encode` does not write."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a recorded event: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(said, dict) or not isinstance(said.get("type"), str) or said["type"] not in _TYPES:
        raise ValueError(f"not a recorded event: no type of {', '.join(_TYPES)}")
    kind = _TYPES[said.pop("type")]
    readers = _READERS[kind]
    # A recording may be older than what sources tell by now.
    differing = sorted((said.keys() ^ readers.keys()) - (_LATER[kind] - said.keys()))
    if differing:
        raise ValueError(f"not a recorded {kind.__name__}: fields missing or unknown: {', '.join(differing)[:200]}")
    values = {}
    for name in said:
        read = readers[name]
        try:
            values[name] = read(said[name])
        except (TypeError, ValueError):
            raise ValueError(f"not a recorded {kind.__name__}: {name} is {said[name]!r:.80}") from None
    recorded: Recorded = kind(**values)
    return recorded


def decode_lines(lines: Iterable[str]) -> Iterator[Recorded]:
    """Yield what the lines of a recording tell. Raises ValueError that names the first malformed line."""
    for number, line in enumerate(lines, 1):
        try:
            yield decode(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _reader(hint: Any) -> Callable[[Any], Any]:  # noqa: ANN401  # a type hint may be anything
    """Return what turns a JSON value into one of this type, or raises TypeError or ValueError."""
    if isinstance(hint, UnionType):
        inner = _reader(next(part for part in get_args(hint) if part is not NoneType))
        return lambda value: None if value is None else inner(value)
    if get_origin(hint) is tuple:
        return _tuple_reader(get_args(hint))
    if issubclass(hint, tuple):
        inside = _tuple_reader(tuple(get_type_hints(hint).values()))
        return lambda value: hint(*inside(value))
    if issubclass(hint, IntEnum):
        return lambda value: hint(_exactly(int, value))
    return lambda value: _exactly(hint, value)


def _tuple_reader(parts: tuple[Any, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if parts[-1] is Ellipsis:
        each = _reader(parts[0])
        return lambda value: tuple(each(item) for item in _exactly(list, value))
    readers = [_reader(part) for part in parts]
    return lambda value: tuple(read(item) for read, item in zip(readers, _exactly(list, value), strict=True))


def _exactly(kind: type, value: Any) -> Any:  # noqa: ANN401  # whatever JSON holds
    if type(value) is not kind:
        raise TypeError
    return value


def _readers(kind: type) -> dict[str, Callable[[Any], Any]]:
    names = [field.name for field in fields(kind)] if kind in _FACTS else list(kind._fields)  # type: ignore[attr-defined]
    hints = get_type_hints(kind)
    return {name: _reader(hints[name]) for name in names}


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING


_READERS = {kind: _readers(kind) for kind in _TYPES.values()}
_LATER = {
    kind: frozenset(field.name for field in fields(kind) if _has_default(field)) if kind in _FACTS else frozenset()
    for kind in _TYPES.values()
}
