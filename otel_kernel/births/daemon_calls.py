"""Daemons' own calls, kept for a while: they come before or after the facts that tell whose they are."""

import re
from collections import OrderedDict, deque
from collections.abc import Iterator

from otel_kernel.births.arguments import pod_uid_in
from otel_kernel.births.model import Unit
from otel_kernel.births.process import CLONES, Process
from otel_kernel.kernel.events import Call, CgroupWrite

# A child execs or ends at once; what a runtime clones for probes would otherwise crowd out what waits for its pod.
_CLONE_KEPT_NS = 10_000_000_000
_THREADS_KEPT = 1024
# What stands before it is looked at after its first digits: at most places of a path there are none.
_ID = re.compile(
    r"[0-9a-f]{8}(?:(?<=pod.{8})|(?<![0-9a-f].{8}))"
    r"(?:[0-9a-f]{56}|(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:_[0-9a-f]{4}){3}_[0-9a-f]{12}|[0-9a-f]{24})(?![0-9a-f])"
)
_NEW_NET = 0x40000000
_MOUNTED_ON = frozenset({"mount", "move_mount"})
_ROOT_DIRECTORIES = ("/rootfs", "/merged")

Item = Call | CgroupWrite


def ids_in(text: str) -> list[str]:
    """Return the container ids and pod UIDs in a path, systemd's underscores turned into dashes.

    Below a pod's directory of the kubelet names are the pod's to choose, others' ids among them: only its own counts.
    """
    pod_uid = pod_uid_in(text)
    if pod_uid is not None:
        return [pod_uid]
    return [found.replace("_", "-") for found in _ID.findall(text)]


def tokens_of(item: Item) -> tuple[str, ...]:
    """Return the ids and paths by which a call may be known to belong to a pod."""
    if isinstance(item, CgroupWrite):
        return tuple(ids_in(item.path))
    tokens: list[str] = []
    for text in (item.source, item.target, item.data):
        if text and "/" in text:
            tokens += ids_in(text)
    tokens += [path for path in (item.source, item.target) if path and path.startswith("/")]
    tokens += _layers(item.data)
    return tuple(dict.fromkeys(tokens))


def mounted_target(call: Call) -> str | None:
    """Return the path that a successful call mounted on, fit to recognise a later call by."""
    target = call.target
    if call.return_value != 0 or call.name not in _MOUNTED_ON or target is None:
        return None
    return target if target.count("/") > 1 and not target.startswith("/proc/") else None


def snapshot_of(call: Call) -> str | None:
    """Return the snapshot that a successful mount of a container's root names; lower layers are others' too."""
    if call.name != "mount" or call.return_value != 0 or not (call.target or "").endswith(_ROOT_DIRECTORIES):
        return None
    for option in (call.data or "").split(","):
        if option.startswith("upperdir=/"):
            return option.removeprefix("upperdir=")
    return call.source if call.source and call.source.startswith("/") else None


def _layers(data: str | None) -> Iterator[str]:
    for option in (data or "").split(","):
        name, _, value = option.partition("=")
        if name in {"lowerdir", "upperdir"}:
            yield from (path for path in value.split(":") if path.startswith("/"))


class DaemonCalls:
    """Keeps daemons' calls until somebody is found whom they belong to. Bounded; what is dropped is counted."""

    def __init__(self, kept: int, kept_ns: int) -> None:
        self._kept = kept
        self._kept_ns = kept_ns
        self._items: OrderedDict[int, tuple[Item, tuple[str, ...]]] = OrderedDict()
        self._by_token: dict[str, dict[int, None]] = {}
        self._clones: OrderedDict[int, Call] = OrderedDict()
        self._threads: OrderedDict[tuple[int, int], deque[Call]] = OrderedDict()
        self._returning: dict[tuple[int, int], tuple[Unit, int]] = {}
        self._next = 0
        self.unmatched = 0  # gave up on: nobody's, or nobody's in time
        self.dropped = 0  # of these, for lack of room

    def __len__(self) -> int:
        return len(self._items) + len(self._clones) + sum(map(len, self._threads.values()))

    def keep(self, item: Item, tokens: tuple[str, ...]) -> None:
        """Keep a call that nobody claims yet."""
        if isinstance(item, Call) and item.name in CLONES:
            self._keep_clone(item)
        elif isinstance(item, Call) and item.name in {"unshare", "setns"}:
            self._keep_of_thread(item)
        elif tokens:
            self._keep_by_tokens(item, tokens)
        else:
            self.unmatched += 1

    def claim_clone(self, process: Process) -> Call | None:
        """Return the kept clone that made this process."""
        pid, start_ns = process.key
        call = self._clones.get(pid)
        if call is None or not call.start_ns <= start_ns <= call.end_ns:
            return None
        return self._clones.pop(pid)

    def claim(self, token: str) -> list[Item]:
        """Return the kept calls that name an id or a path."""
        return [self._remove(number) for number in tuple(self._by_token.get(token, ()))]

    def claim_unshare(self, bind: Call) -> Call | None:
        """Return the unshare by which a thread made the network namespace that it bound to a file."""
        before = [c for c in self._of_thread(bind) if c.end_ns <= bind.start_ns]
        last = max(before, key=_started_ns, default=None)
        return self._take(last) if last is not None and _made_network(last) else None

    def claim_return(self, bind: Call, unit: Unit) -> Call | None:
        """Return the setns by which that thread returned; when it is still to come, `returned_for` will tell."""
        after = [c for c in self._of_thread(bind) if c.start_ns >= bind.end_ns]
        first = min(after, key=_started_ns, default=None)
        if first is None:
            self._returning[(bind.pid, bind.thread_id)] = (unit, bind.end_ns)
        # Else its return was lost, and what comes is another pod's.
        return self._take(first) if first is not None and first.name == "setns" else None

    def returned_for(self, call: Call) -> Unit | None:
        """Return the unit whose network namespace a thread leaves by this setns."""
        thread = (call.pid, call.thread_id)
        unit, after_ns = self._returning.get(thread, (None, 0))
        if unit is None or call.start_ns < after_ns or not (call.name == "setns" or _made_network(call)):
            return None
        del self._returning[thread]
        return unit if call.name == "setns" else None

    def forget(self, unit: Unit) -> None:
        """Expect nothing more for a unit."""
        for thread in [thread for thread, (waiting, _) in self._returning.items() if waiting is unit]:
            del self._returning[thread]

    def expire(self, now_ns: int) -> None:
        """Give up on what was kept for long enough."""
        while self._items and _ended_ns(next(iter(self._items.values()))[0]) < now_ns - self._kept_ns:
            self._give_up()
        while self._clones and next(iter(self._clones.values())).end_ns < now_ns - _CLONE_KEPT_NS:
            self._clones.popitem(last=False)
            self.unmatched += 1

    def _keep_clone(self, call: Call) -> None:
        if not call.child_pid or self._clones.pop(call.child_pid, None) is not None:
            self.unmatched += 1
        if call.child_pid:
            self._clones[call.child_pid] = call
        if len(self._clones) > self._kept:
            self._clones.popitem(last=False)
            self.unmatched += 1
            self.dropped += 1

    def _keep_of_thread(self, call: Call) -> None:
        thread = (call.pid, call.thread_id)
        calls = self._threads.setdefault(thread, deque(maxlen=16))
        self._threads.move_to_end(thread)
        self.unmatched += len(calls) == calls.maxlen
        calls.append(call)
        if len(self._threads) > _THREADS_KEPT:
            self.unmatched += len(self._threads.popitem(last=False)[1])

    def _keep_by_tokens(self, item: Item, tokens: tuple[str, ...]) -> None:
        self._items[self._next] = (item, tokens)
        for token in tokens:
            self._by_token.setdefault(token, {})[self._next] = None
        self._next += 1
        if len(self._items) > self._kept:
            self._give_up()
            self.dropped += 1

    def _give_up(self) -> None:
        self._remove(next(iter(self._items)))
        self.unmatched += 1

    def _remove(self, number: int) -> Item:
        item, tokens = self._items.pop(number)
        for token in tokens:
            numbers = self._by_token[token]
            del numbers[number]
            if not numbers:
                del self._by_token[token]
        return item

    def _of_thread(self, bind: Call) -> deque[Call] | tuple[()]:
        return self._threads.get((bind.pid, bind.thread_id), ())

    def _take(self, call: Call) -> Call:
        self._threads[(call.pid, call.thread_id)].remove(call)
        return call


def _made_network(call: Call) -> bool:
    return call.name == "unshare" and call.return_value == 0 and bool(call.arguments[0] & _NEW_NET)


def _started_ns(call: Call) -> int:
    return call.start_ns


def _ended_ns(item: Item) -> int:
    return item.end_ns if isinstance(item, Call) else item.ns
