"""How a source over the network is asked again after it failed, and what is told and counted of that."""

import logging
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from otel_kernel.health import Health

log = logging.getLogger(__name__)

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0


@dataclass(slots=True)
class Backoff:
    """Waits that double from failure to failure, each a random part of it: agents of many nodes do not come at once."""

    first_s: float = FIRST_WAIT_S
    longest_s: float = LONGEST_WAIT_S
    failures: int = 0

    def next_s(self) -> float:
        """Return how long to wait after one more failure."""
        self.failures += 1
        most_s = min(self.longest_s, self.first_s * 2 ** min(self.failures - 1, 16))
        return random.uniform(most_s / 2, most_s)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Begin anew: it worked."""
        self.failures = 0


@dataclass(slots=True)
class Standing:
    """Whether one source answers. Its failures are counted by kind, and said once each until it answers again."""

    source: str
    health: Health
    said: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self) -> None:
        """Take in that it answered."""
        self.health.answered(self.source)
        with self.lock:
            again, self.said = bool(self.said), set()
        if again:
            log.info("%s answers again", self.source)

    def failed(self, kind: str, words: str) -> None:
        """Count a failure; `kind` is one of a few words, `words` one line for the operator."""
        self.health.failed(self.source, kind)
        with self.lock:
            new = kind not in self.said
            self.said.add(kind)
        if new:
            log.warning("%s: %s", self.source, " ".join(words.split())[:300])


def lines(chunks: Iterator[bytes], longest_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a stream. Raises ValueError for one that is longer than allowed."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        *whole, rest = rest.split(b"\n")
        yield from (line for line in whole if line)
        if len(rest) > longest_bytes:
            raise ValueError(f"a line of more than {longest_bytes} bytes")
