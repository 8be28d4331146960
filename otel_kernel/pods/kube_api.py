"""The pods of this node as the API server tells them: listed once, then watched, in a thread of its own."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from otel_kernel.births.facts import PodFacts
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.pods import kube_pod
from otel_kernel.pods.asking import Backoff, Standing
from otel_kernel.pods.kube_client import GONE, KubeClient, KubeError

log = logging.getLogger(__name__)

SOURCE = "kube-api"

WATCH_LIMIT_S = (240, 300)  # each agent its own: a server's connections do not end at once
SILENCE_S = 120.0  # bookmarks come about once a minute
LONG_WATCH_S = 5.0  # one that ends sooner was cut
LONGEST_CUT_WAIT_S = 1.0
FROM_MEMORY = "0"  # resourceVersion: as the server remembers it, without asking etcd


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of whom what is told."""

    node: str
    allowed: kube_pod.Allowed


class PodWatch:
    """Owns the thread. Remembers the pods of this node and nobody else's."""

    def __init__(self, wanted: Wanted, tell: Callable[[PodFacts], None], standing: Standing) -> None:
        self._wanted = wanted
        self._tell = tell
        self._standing = standing
        self._pods: dict[str, PodFacts] = {}  # by UID in the API
        self._node_uid: str | None = None
        self._version: str | None = None
        self._backoff = Backoff()
        self._cuts = Backoff(longest_s=LONGEST_CUT_WAIT_S)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kube-api", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Begin nothing more. A request that waits for its answer is left behind: nobody waits for it."""
        self._ended.set()

    def _run(self) -> None:
        client: KubeClient | None = None
        while not self._ended.is_set():
            try:
                client = client or KubeClient()
                self._follow(client)
            except KubeError as error:
                if error.kind == "gone":
                    self._version = None
                self._standing.failed(error.kind, _words(error))
                # What is wrong may be the credentials: the next attempt reads them anew.
                if client is not None:
                    client.close()
                client = None
                self._ended.wait(self._backoff.next_s())

    def _follow(self, client: KubeClient) -> None:
        """List if need be and watch until that ends. Raises KubeError when it cannot be begun, or is to begin anew."""
        if self._version is None:
            self._list(client)
        began_ns = boot_ns()
        limit_s = random.randint(*WATCH_LIMIT_S)  # noqa: S311 - no secret
        changes = client.watch(self._wanted.node, self._version or FROM_MEMORY, limit_s, SILENCE_S)
        self._standing.answered()
        self._backoff.reset()
        try:
            for kind, pod in changes:
                if self._ended.is_set():
                    return
                self._changed(kind, pod)
        except KubeError as error:
            if error.kind == "gone":
                raise
            self._standing.failed("cut", f"a watch was cut: {error}")
        # Connections that the server, or something on the way to it, keeps cutting: not at once again.
        if boot_ns() >= began_ns + LONG_WATCH_S * 1e9:
            self._cuts.reset()
        self._ended.wait(self._cuts.next_s())

    def _list(self, client: KubeClient) -> None:
        self._find_node(client)
        # After `gone` the server's memory may be behind what was seen already.
        page = client.pods(self._wanted.node, None if self._pods else FROM_MEMORY)
        there = {uid for pod in page.items if (uid := self._is_there(pod)) is not None}
        for uid in self._pods.keys() - there:
            self._is_gone(uid)
        log.info("%s: %d pods on %s", SOURCE, len(there), self._wanted.node)
        self._version = page.version or None

    def _find_node(self, client: KubeClient) -> None:
        if self._node_uid is not None:
            return
        try:
            self._node_uid, _ = kube_pod.uid_and_version(client.node(self._wanted.node))
        except KubeError as error:
            self._standing.failed(error.kind, f"the node's UID is not known: {error}")

    def _changed(self, kind: str, pod: object) -> None:
        uid, version = kube_pod.uid_and_version(pod)
        self._version = version or self._version
        if kind in {"ADDED", "MODIFIED"}:
            self._is_there(pod)
        elif kind == "DELETED" and uid is not None:
            self._is_gone(uid)

    def _is_there(self, pod: object) -> str | None:
        facts = kube_pod.parse(pod, 0, SOURCE, self._wanted.allowed)
        uid, _ = kube_pod.uid_and_version(pod)
        if facts is None or uid is None:
            self._standing.failed("malformed", "the API server tells of a pod without UID, name or namespace")
            return uid
        facts = replace(facts, node_uid=self._node_uid)
        # The server tells every change of a status; most of them change nothing that is told here.
        if self._pods.get(uid) != facts:
            self._pods[uid] = facts
            self._tell(replace(facts, ns=boot_ns()))
        return uid

    def _is_gone(self, uid: str) -> None:
        facts = self._pods.pop(uid, None)
        if facts is not None:
            self._tell(replace(facts, ns=boot_ns(), is_deleted=True))


def _words(error: KubeError) -> str:
    if error.kind == "gone":
        return f"{GONE}: what was seen last is too old, pods are listed anew"
    return str(error)
