"""What is asked of the API server one by one: the owner of an owner, the events of a pod. In a thread of its own."""

import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from otel_kernel.births.facts import Owner, PodEvent, PodEvents, PodFacts
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.pods import kube_pod
from otel_kernel.pods.answers import Answers
from otel_kernel.pods.asking import Standing
from otel_kernel.pods.kube_client import CONTROLLED, KubeClient, KubeError

SOURCE = "kube-lookup"
Remembered = TypeVar("Remembered")

_QUESTIONS_KEPT = 512
_OWNERS_KEPT = 1024
_FAILED_AGAIN_S = 30.0  # an owner that could not be asked for is asked for again after this time
_EVENTS_PER_S = 5.0
_EVENTS_AT_ONCE = 20.0


class Lookups:
    """Owns the thread, and a bounded memory of owners."""

    def __init__(self, answers: Answers, standing: Standing) -> None:
        self._answers = answers
        self._standing = standing
        self._questions: queue.Queue[Callable[[], None]] = queue.Queue(_QUESTIONS_KEPT)
        self._lock = threading.Lock()
        self._above: OrderedDict[str, tuple[Owner, ...]] = OrderedDict()  # by an owner's UID: who controls it
        self._failed_s: OrderedDict[str, float] = OrderedDict()  # by an owner's UID: when
        self._waiting: dict[str, dict[str, PodFacts]] = {}  # by an owner's UID, by a pod's: to be told again
        self._rate = Rate(_EVENTS_PER_S, _EVENTS_AT_ONCE)
        self._client: KubeClient | None = None
        self._thread = threading.Thread(target=self._run, name="kube-lookups", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tell(self, pod: PodFacts) -> None:
        """Tell of a pod at once, and once more when its owners are all known."""
        owner = pod.owners[0] if pod.owners and pod.owners[0].kind in CONTROLLED else None
        is_new = False
        with self._lock:  # until it is told: what is found out later must be told later
            above = self._above.get(owner.uid) if owner else ()
            if owner is not None and above is None:
                is_new = self._awaits(owner, pod)
            is_awaited = owner is not None and owner.uid in self._waiting
            self._answers.put(replace(pod, owners=(*pod.owners, *(above or ())), is_partial=is_awaited))
        if owner is not None and is_new and not self._ask(partial(self._find_above, owner, pod.namespace)):
            self._give_up(owner)

    def ask_events(self, pod_uid: str, namespace: str) -> None:
        """Have the pod's events listed. There is always an answer, an empty one when they could not be had."""
        if not self._rate.allows(time.monotonic()):
            self._standing.failed("rate_limited", "more births than events may be asked for")
        elif self._ask(partial(self._find_events, pod_uid, namespace)):
            return
        self._answers.put(PodEvents(boot_ns(), pod_uid, ()))

    def _awaits(self, owner: Owner, pod: PodFacts) -> bool:
        """Remember a pod until its owner's controller is known; whether that has yet to be asked."""
        if time.monotonic() < self._failed_s.get(owner.uid, 0) + _FAILED_AGAIN_S and owner.uid in self._failed_s:
            return False
        is_new = owner.uid not in self._waiting
        self._waiting.setdefault(owner.uid, {})[pod.pod_uid] = pod
        return is_new

    def _ask(self, question: Callable[[], None]) -> bool:
        try:
            self._questions.put_nowait(question)
        except queue.Full:
            self._standing.failed("overrun", "more is to be asked of the API server than it answers")
            return False
        return True

    def _run(self) -> None:
        while True:
            self._questions.get()()

    def _find_above(self, owner: Owner, namespace: str) -> None:
        try:
            told = self._connected().owner(owner.kind, namespace, owner.name)
        except KubeError as error:
            self._failed(error, f"who owns {owner.kind} {owner.name} is not known: {error}")
            self._give_up(owner)
            return
        self._standing.answered()
        uid, _ = kube_pod.uid_and_version(told)
        metadata = told.get("metadata")
        # Another object may have its name by now.
        above = kube_pod.controller(metadata) if uid == owner.uid and isinstance(metadata, dict) else ()
        with self._lock:
            _remember(self._above, owner.uid, above)
            self._failed_s.pop(owner.uid, None)
        self._tell_again(owner, above)

    def _give_up(self, owner: Owner) -> None:
        with self._lock:
            _remember(self._failed_s, owner.uid, time.monotonic())
        self._tell_again(owner, ())

    def _tell_again(self, owner: Owner, above: tuple[Owner, ...]) -> None:
        with self._lock:
            for pod in self._waiting.pop(owner.uid, {}).values():
                self._answers.put(replace(pod, ns=boot_ns(), owners=(*pod.owners, *above)))

    def _find_events(self, pod_uid: str, namespace: str) -> None:
        events: tuple[PodEvent, ...] = ()
        try:
            events = kube_pod.events(self._connected().events(namespace, pod_uid))
            self._standing.answered()
        except KubeError as error:
            self._failed(error, f"events are not known: {error}")
        self._answers.put(PodEvents(boot_ns(), pod_uid, events))

    def _connected(self) -> KubeClient:
        if self._client is None:
            self._client = KubeClient()
        return self._client

    def _failed(self, error: KubeError, words: str) -> None:
        self._standing.failed(error.kind, words)
        if self._client is not None:
            self._client.close()
        self._client = None  # credentials are read anew


class Rate:
    """How many may come at once, and how many a second after that."""

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s = per_s
        self._most = self._left = at_once
        self._counted_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Whether one more may come now."""
        self._left = min(self._most, self._left + (now_s - self._counted_s) * self._per_s)
        self._counted_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _remember(memory: OrderedDict[str, Remembered], key: str, value: Remembered) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _OWNERS_KEPT:
        memory.popitem(last=False)
