"""Where sources with threads of their own leave what they learn, for the one thread that puts births together."""

import os
from collections import deque
from typing import TypeAlias

from otel_kernel.births.facts import ContainerFacts, PodEvents, PodFacts

Answer: TypeAlias = ContainerFacts | PodFacts | PodEvents

_KEPT = 4096  # of a node with 250 pods, ten times over


class Answers:
    """Facts in the order in which they came, and a descriptor that is readable while there are some."""

    def __init__(self) -> None:
        self._facts: deque[Answer] = deque()
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.dropped = 0  # nobody took them in time

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._ready

    def put(self, told: Answer) -> None:
        """Leave a fact; from any thread."""
        if len(self._facts) >= _KEPT:
            self.dropped += 1
            return
        self._facts.append(told)
        os.eventfd_write(self._ready, 1)

    def take(self) -> list[Answer]:
        """Return what has come since the last call; from one thread."""
        try:
            os.eventfd_read(self._ready)
        except BlockingIOError:
            return []
        return [self._facts.popleft() for _ in range(len(self._facts))]

    def close(self) -> None:
        """Close the descriptor, when no source is left."""
        os.close(self._ready)
