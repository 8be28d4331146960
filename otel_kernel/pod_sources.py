"""The sources of identity that are asked over a network or a socket: which there are, and what they answer.

Each has threads of its own: nothing here waits. What they learn is taken by the one thread that puts births together.
"""

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from otel_kernel.births.kubernetes_view import EventsQuestion
from otel_kernel.health import Health
from otel_kernel.host_files import HostFiles
from otel_kernel.node import procfs, unix_sockets
from otel_kernel.pods import cgroup_path, cri, kube_client
from otel_kernel.pods.answers import Answer, Answers
from otel_kernel.pods.asking import Standing
from otel_kernel.pods.kube_api import SOURCE as KUBE_API
from otel_kernel.pods.kube_api import PodWatch, Wanted
from otel_kernel.pods.kube_lookups import SOURCE as KUBE_LOOKUP
from otel_kernel.pods.kube_lookups import Lookups
from otel_kernel.pods.kube_pod import Allowed
from otel_kernel.settings import Settings

log = logging.getLogger(__name__)


# Where runtimes listen unless they are told otherwise: containerd, CRI-O, k3s and rke2, cri-dockerd, microk8s, k0s.
SOCKETS = (
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/k3s/containerd/containerd.sock",
    "run/cri-dockerd.sock",
    "var/snap/microk8s/common/run/containerd.sock",
    "run/k0s/containerd.sock",
)
SOCKET_NAMES = frozenset(Path(path).name for path in SOCKETS)


class _Source(Protocol):
    def close(self) -> None:
        """End it, without waiting."""


class PodSources:
    """Owns the sources."""

    def __init__(self, settings: Settings, files: HostFiles, health: Health) -> None:
        """Open what the settings and this machine allow."""
        self._answers = Answers()
        self._health = health
        self._opened: list[_Source] = []
        self._lookups: Lookups | None = None
        self._cri: cri.Cri | None = None
        if settings.kubernetes.kubernetes == "auto":
            self._open_api_server(settings)
            find = partial(runtime_sockets, files, settings.kubernetes.cri_socket)
            self._cri = cri.Cri(find, self._answers.put, Standing(cri.SOURCE, health))
            self._cri.start()
            self._opened.append(self._cri)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is an answer."""
        return self._answers.fileno()

    def take(self) -> list[Answer]:
        """Return what has been learnt since the last call."""
        return self._answers.take()

    def ask(self, questions: Iterable[EventsQuestion]) -> None:
        """Have the events of pods asked for; `take` returns them later."""
        for question in questions:
            if self._lookups is not None:
                self._lookups.ask_events(question.pod_uid, question.namespace)

    def look(self) -> None:
        """Have those asked again that do not tell by themselves: there is a new container."""
        if self._cri is not None:
            self._cri.look()

    def close(self) -> None:
        """End all, without waiting for an answer."""
        for source in self._opened:
            source.close()

    def _open_api_server(self, settings: Settings) -> None:
        if not kube_client.is_configured():
            return
        node = settings.resource.node_name
        if node is None:
            log.warning("the API server is not asked: OTEL_KERNEL_NODE_NAME does not say whose pods are wanted")
            return
        self._lookups = Lookups(self._answers, Standing(KUBE_LOOKUP, self._health))
        allowed = Allowed(settings.kubernetes.labels, settings.kubernetes.annotations)
        watch = PodWatch(Wanted(node, allowed), self._lookups.tell, Standing(KUBE_API, self._health))
        self._lookups.start()
        watch.start()
        self._opened.append(watch)


def runtime_sockets(files: HostFiles, given: Path | None = None) -> Iterator[Path]:
    """Yield where container runtimes listen: where they were said to, else at known places, else where daemons do."""
    if given is not None:
        if given.is_socket():
            yield given
        return
    for known in SOCKETS:
        if (files.root / known).is_socket():
            yield files.root / known
    for daemon in procfs.daemons(files.proc_root, files.runtimes, cgroup_path.in_pod):
        for path in unix_sockets.listening(files.proc_root, daemon.pid):
            if Path(path).name in SOCKET_NAMES and (there := files.root / path.lstrip("/")).is_socket():
                yield there


def asks_events(settings: Settings) -> bool:
    """Whether Kubernetes' events of each birth are asked for."""
    kubernetes = settings.kubernetes
    there = kubernetes.kubernetes == "auto" and kube_client.is_configured() and settings.resource.node_name is not None
    return kubernetes.events and there
