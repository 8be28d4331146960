"""What a collector told that may concern the operator: births' roots and events, whichever way they were encoded."""

from collections.abc import Mapping
from typing import NamedTuple

Scalar = str | int | float | bool
Attributes = Mapping[str, Scalar]

BIRTH_LEVEL = "birth"
STEP = "otel_kernel.step"
STEP_ACTION = "otel_kernel.step.action"


class MalformedError(ValueError):
    """A body that is not what it says it is: one line for the sender."""


class Step(NamedTuple):
    """A moment of a birth."""

    unix_ns: int
    action: str


class Birth(NamedTuple):
    """The root of a birth's trace. Ids are hexadecimal; arrays among the attributes are left out."""

    trace_id: str
    span_id: str
    start_unix_ns: int
    end_unix_ns: int
    resource: Attributes
    attributes: Attributes
    steps: tuple[Step, ...]


class Event(NamedTuple):
    """A log record with an event name."""

    name: str
    unix_ns: int
    resource: Attributes
    attributes: Attributes


Told = Birth | Event
