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
from otel_kernel.pods import cgroup_path, cri, kube_client, kubelet
from otel_kernel.pods.answers import Answer, Answers
from otel_kernel.pods.asking import Standing
from otel_kernel.pods.kube_api import SOURCE as KUBE_API
from otel_kernel.pods.kube_api import PodWatch, Wanted
from otel_kernel.pods.kube_lookups import SOURCE as KUBE_LOOKUP
from otel_kernel.pods.kube_lookups import Lookups
from otel_kernel.pods.kube_pod import Allowed
from otel_kernel.settings import Kubernetes, Settings

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
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
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
        self._kubelet: kubelet.Kubelet | None = None
        if settings.kubernetes.kubernetes == "auto":
            self._open_kubernetes(settings)
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
        for source in (self._cri, self._kubelet):
            if source is not None:
                source.look()

    def close(self) -> None:
        """End all, without waiting for an answer."""
        for source in self._opened:
            source.close()

    def _open_kubernetes(self, settings: Settings) -> None:
        allowed = Allowed(settings.kubernetes.labels, settings.kubernetes.annotations)
        if kube_client.is_configured():
            self._lookups = Lookups(self._answers, Standing(KUBE_LOOKUP, self._health))
            self._lookups.start()
        tell = self._answers.put if self._lookups is None else self._lookups.tell
        access = kubelet_access(settings.kubernetes, settings.resource.node_name)
        if access is not None:
            self._kubelet = kubelet.Kubelet(access, allowed, tell, Standing(kubelet.SOURCE, self._health))
            self._kubelet.start()
            self._opened.append(self._kubelet)
        elif self._lookups is not None:
            self._watch_api_server(settings.resource.node_name, allowed, self._lookups)

    def _watch_api_server(self, node: str | None, allowed: Allowed, lookups: Lookups) -> None:
        if node is None:
            log.warning("the API server is not asked: OTEL_KERNEL_NODE_NAME does not say whose pods are wanted")
            return
        watch = PodWatch(Wanted(node, allowed), lookups.tell, Standing(KUBE_API, self._health))
        watch.start()
        self._opened.append(watch)


def kubelet_access(kubernetes: Kubernetes, node: str | None) -> kubelet.Access | None:
    """Return how the kubelet is asked, None when it is not to be: by default with a pod's own service account."""
    if kubernetes.kubelet_url is None:
        return None
    token_file, ca_file = (
        given or (SERVICE_ACCOUNT / name if (SERVICE_ACCOUNT / name).exists() else None)
        for given, name in ((kubernetes.kubelet_token_file, "token"), (kubernetes.kubelet_ca_file, "ca.crt"))
    )
    return kubelet.Access(kubernetes.kubelet_url, token_file, ca_file, node)


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
    return kubernetes.events and kubernetes.kubernetes == "auto" and kube_client.is_configured()
