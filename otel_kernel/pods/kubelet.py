"""The pods of this node as its kubelet tells them, for where the API server may not be asked. In a thread of its own.

`/pods` is all that it knows, listed when a container has come and else from time to time. A static pod has the UID of
its cgroup there (kubernetes, pkg/kubelet/server/server.go: getPods).
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otel_kernel.births.facts import PodFacts
from otel_kernel.kernel.clock import boot_ns
from otel_kernel.pods import kube_pod
from otel_kernel.pods.asking import Backoff, Standing

log = logging.getLogger(__name__)

SOURCE = "kubelet"

CONNECT_LIMIT_S = 2.0
ANSWER_LIMIT_S = 10.0
LONGEST_BYTES = 64 << 20
LOOK_AGAIN_S = 10.0  # conditions change without a new container
GATHER_S = 0.05
SHORTEST_S = 0.5  # between two lists
_KINDS = {401: "unauthorized", 403: "forbidden"}


@dataclass(frozen=True, slots=True)
class Access:
    """Where the kubelet is and how it is asked."""

    url: str
    token_file: Path | None  # read each time: tokens are renewed
    ca_file: Path | None  # None: whom this machine trusts
    node: str | None  # whose certificate it must be: those that kubelets sign themselves name no address


class KubeletError(Exception):
    """The kubelet did not tell. `kind` is one of a few words, the message one line."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Kubelet:
    """Owns the thread. Remembers the pods of the last list."""

    def __init__(
        self, access: Access, allowed: kube_pod.Allowed, tell: Callable[[PodFacts], None], standing: Standing
    ) -> None:
        self._access = access
        self._allowed = allowed
        self._tell = tell
        self._standing = standing
        self._pods: dict[str, PodFacts] = {}  # by UID
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._backoff = Backoff()
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def look(self) -> None:
        """Have it ask again soon: there is a new container."""
        self._wanted.set()

    def close(self) -> None:
        """Begin nothing more; an answer that is awaited is left behind."""
        self._ended.set()
        self._wanted.set()

    def _run(self) -> None:
        was_heard = False
        while not self._ended.is_set():
            try:
                self._list()
            except KubeletError as error:
                self._standing.failed(error.kind, str(error))
                self._ended.wait(self._backoff.next_s())
                continue
            if not was_heard:
                log.info("%s: %d pods at %s", SOURCE, len(self._pods), self._access.url)
            was_heard = True
            self._standing.answered()
            self._backoff.reset()
            self._ended.wait(SHORTEST_S)
            self._wanted.wait(LOOK_AGAIN_S)
            self._ended.wait(GATHER_S)
            self._wanted.clear()

    def _list(self) -> None:
        now = {facts.pod_uid: facts for facts in self._parsed(ask(self._access))}
        before, self._pods = self._pods, now
        for uid, facts in now.items():
            if before.get(uid) != facts:
                self._tell(replace(facts, ns=boot_ns()))
        for uid in before.keys() - now.keys():
            self._tell(replace(before[uid], ns=boot_ns(), is_deleted=True))

    def _parsed(self, listed: object) -> Iterator[PodFacts]:
        pods = listed.get("items") if isinstance(listed, dict) else None
        for pod in pods if isinstance(pods, list) else ():
            facts = kube_pod.parse(pod, 0, SOURCE, self._allowed)
            if facts is not None:
                yield facts


def ask(access: Access) -> object:
    """Return what the kubelet says of its pods. Raises KubeletError."""
    import urllib3  # noqa: PLC0415 - only where the kubelet is asked

    try:
        headers = {"User-Agent": "otel-kernel"}
        if access.token_file is not None:
            headers["Authorization"] = f"Bearer {access.token_file.read_text().strip()}"
        limits = urllib3.Timeout(connect=CONNECT_LIMIT_S, read=ANSWER_LIMIT_S)
        ca_file = str(access.ca_file) if access.ca_file is not None else None
        trusted: dict[str, Any] = {"ca_certs": ca_file, "assert_hostname": access.node}
        with urllib3.PoolManager(retries=False, timeout=limits, **trusted) as connections:
            answer = connections.request(
                "GET", f"{access.url.rstrip('/')}/pods", headers=headers, preload_content=False
            )
            content = answer.read(LONGEST_BYTES + 1)
            answer.close()
        if answer.status != 200:  # noqa: PLR2004 - OK
            kind = _KINDS.get(answer.status, "refused")
            raise KubeletError(kind, f"the kubelet says {answer.status} {answer.reason}")
        if len(content) > LONGEST_BYTES:
            raise KubeletError("too_large", f"an answer of more than {LONGEST_BYTES} bytes")
        told: object = json.loads(content)
    except urllib3.exceptions.NewConnectionError as error:  # a kind of timeout, by its class
        raise KubeletError("unreachable", f"the kubelet cannot be reached: {error}") from None
    except urllib3.exceptions.TimeoutError as error:
        raise KubeletError("timeout", f"the kubelet does not answer in time: {error}") from None
    except urllib3.exceptions.SSLError as error:
        raise KubeletError("tls", f"the kubelet is not trusted: {error}") from None
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise KubeletError("unreachable", f"the kubelet cannot be reached: {error}") from None
    except (ValueError, RecursionError) as error:
        raise KubeletError("malformed", f"the kubelet answers what is no JSON: {error}") from None
    return told
