"""Waiting for a condition, with a generous deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LIMIT_S = 20.0


def until(look: Callable[[], T], holds: Callable[[T], object] = bool, limit_s: float = LIMIT_S) -> T:
    """Return what is seen once the condition holds for it, or what was seen last."""
    deadline = time.monotonic() + limit_s
    while not holds(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return seen
