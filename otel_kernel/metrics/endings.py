"""The last values of containers, read when their last process has ended and before the runtime removes their cgroup.

A removed cgroup cannot be read any more. Version 2 tells when a cgroup has become empty (cgroup.events); then it takes
the runtime some milliseconds, with `runc delete`, until it removes it.
"""

from collections.abc import Callable

from otel_kernel.health import Counter, Health
from otel_kernel.metrics.cgroups import Reading
from otel_kernel.metrics.judge import Judge
from otel_kernel.metrics.moment import Moment
from otel_kernel.node import inotify, open_files
from otel_kernel.pods.directory import Container


class Endings:
    """Watches containers and keeps the last values of those that became empty. Owns the watches."""

    def __init__(
        self, hierarchy_v2: str | None, read: Callable[[str, int], Reading], judge: Judge, health: Health
    ) -> None:
        """Watch nothing yet; without a hierarchy of version 2, never anything. Raises OSError."""
        self._hierarchy = hierarchy_v2
        self._read = read
        self._judge = judge
        self._health = health
        self._inotify = inotify.Inotify()
        self._watched: dict[str, int] = {}  # container id -> watch
        self._containers: dict[int, Container] = {}  # by watch
        self._last: dict[str, tuple[int, Reading]] = {}
        self._ended: set[str] = set()  # became empty under watch

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a container may have ended."""
        return self._inotify.fileno()

    def watch(self, container: Container, now: Moment) -> None:
        """Watch a container until its last values are taken; it may have come and ended already."""
        if self._hierarchy is None:
            return
        file = f"{self._hierarchy}{container.cgroup.path}/cgroup.events"
        watch = self._judge.call("watch of cgroup.events", self._inotify.watch_file, file)
        if watch is not None:
            self._watched[container.id] = watch
            self._containers[watch] = container
            self._look_at(container, now)
            self._ended.discard(container.id)
            if container.id in self._last and self._last[container.id][1].usage_ns == 0:
                del self._last[container.id]  # it has not begun

    def look(self, now: Moment) -> None:
        """Read the last values of the containers that became empty."""
        for change in self._inotify.changes():
            if change.kind is inotify.Kind.OVERFLOW:
                for container in tuple(self._containers.values()):
                    self._look_again(container, now)
            elif change.kind is inotify.Kind.MODIFIED and change.watch in self._containers:
                self._look_again(self._containers[change.watch], now)

    def supersede(self, container_id: str) -> None:
        """Forget what was read: it was told since, and may be more by now, as a process that ends goes on a little."""
        self._last.pop(container_id, None)

    def take(self, container: Container) -> tuple[int, Reading] | None:
        """Return when a container was read after its end (boot time), and what; it is no longer watched.

        None when a collection has read it since; also, and counted unless it is a sandbox's, when its cgroup was gone
        before it could be read.
        """
        watch = self._watched.pop(container.id, None)
        if watch is not None:
            del self._containers[watch]
            self._inotify.unwatch(watch)
        last = self._last.pop(container.id, None)
        if last is None and container.id not in self._ended and not container.is_sandbox:
            self._health.add(Counter.ENDINGS_UNREAD)
        self._ended.discard(container.id)
        return last

    def close(self) -> None:
        """End all watches."""
        self._inotify.close()

    def _look_again(self, container: Container, now: Moment) -> None:
        if (
            container.id not in self._ended
        ):  # what was read when the watch began was between two of the runtime's stages
            self._last.pop(container.id, None)
        self._look_at(container, now)

    def _look_at(self, container: Container, now: Moment) -> None:
        file = f"{self._hierarchy}{container.cgroup.path}/cgroup.events"
        events = self._judge.call("cgroup.events", open_files.read, file) or b""
        if b"populated 0" in events:
            self._last[container.id] = (now.boot_ns, self._read(container.cgroup.path, now.unix_ns))
            self._ended.add(container.id)
        elif b"populated 1" in events:  # between two stages of the runtime's it is empty for a moment, too
            self._last.pop(container.id, None)
            self._ended.discard(container.id)
