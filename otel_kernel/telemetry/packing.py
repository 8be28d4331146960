"""Many small requests as few large ones, none of them too large.

Requests of OTLP are lists of resources, and lists written one after the other are one list (protobuf encoding:
repeated fields): serialised requests are joined as bytes.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def parts(items: Sequence[Item], say: Callable[[Sequence[Item]], bytes], limit_bytes: int) -> list[bytes]:
    """Return what `say` makes of all items, or of so few at a time that each part keeps the limit, in their order.

    One item alone is never cut.
    """
    said = say(items)
    if len(said) <= limit_bytes or len(items) <= 1:
        return [said]
    middle = len(items) // 2
    return [*parts(items[:middle], say, limit_bytes), *parts(items[middle:], say, limit_bytes)]


def packed(resources: Iterable[Sequence[bytes]], limit_bytes: int) -> tuple[bytes, ...]:
    """Return requests with the parts of all resources, never two parts of one in a request: one might be lost."""
    requests: list[bytes] = []
    filling: list[bytes] = []
    size_bytes = 0
    for said in resources:
        if len(said) > 1:
            requests += said
            continue
        if filling and size_bytes + len(said[0]) > limit_bytes:
            requests.append(b"".join(filling))
            filling, size_bytes = [], 0
        filling += said
        size_bytes += sum(map(len, said))
    return (*requests, b"".join(filling)) if filling else tuple(requests)
