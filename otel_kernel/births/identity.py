"""Who a container or a pod is: what several sources said, the strongest of them kept.

This is the one place that decides between sources (docs/operating.md tells it to operators):

- A field is the strongest source's that tells it (`RANKS`), whenever that came.
- A source that names another pod than a stronger one does is wrong about who this is: nothing of it is believed.
- Kubernetes' word on a pod holds only for the UID in the pod's cgroup, and only while name and namespace are those that
  the runtime was given, and no container that it claims lies in another pod's cgroup.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from otel_kernel.births.facts import ContainerFacts, PodFacts

POD_FIELDS = ("pod_uid", "pod_name", "namespace", "runtime_name", "trace_parent")
_FIELDS = (
    *POD_FIELDS,
    "sandbox_id",
    "is_sandbox",
    "container_name",
    "image_name",
    "network_namespace",
    "cgroup_id",
    "image_id",
    "image_digests",
    "restart_count",
)
# The kernel's own word on where a task is beats what the runtime wrote down before it made the container; that beats
# what is asked for over a network, and that what somebody was told (`cni-env`, `volume-path`).
RANKS = {"cgroup-path": 5, "oci-bundle": 4, "kube-api": 3, "kubelet": 3, "cri": 2}
_LOWEST_RANK = 1


@dataclass(slots=True)
class Identity:
    """What is known of one container, or of one pod. Only a stronger source replaces what another has told."""

    container_id: str | None = None
    pod_uid: str | None = None
    pod_name: str | None = None
    namespace: str | None = None
    runtime_name: str | None = None
    sandbox_id: str | None = None
    is_sandbox: bool | None = None
    container_name: str | None = None
    image_name: str | None = None
    network_namespace: str | None = None
    cgroup_id: int | None = None
    image_id: str | None = None
    image_digests: tuple[str, ...] = ()
    restart_count: int | None = None
    trace_parent: str | None = None
    not_kubernetes: bool = False
    counted: bool = False  # as not Kubernetes
    sources: dict[str, None] = field(default_factory=dict)  # an ordered set
    failures: dict[str, str] = field(default_factory=dict)
    _told_by: dict[str, str] = field(default_factory=dict)  # by field: the source

    def learn(self, facts: ContainerFacts) -> None:
        """Take over what these facts say better than what is known."""
        self.not_kubernetes = self.not_kubernetes or facts.not_kubernetes
        rank = _rank(facts.source)
        if facts.failure is not None:
            self.failures[facts.source] = facts.failure
        elif self._contradicts(facts.pod_uid, rank):
            self.failures[facts.source] = f"it names pod {facts.pod_uid}"
            return
        else:
            self.failures.pop(facts.source, None)
            self.sources[facts.source] = None
        for name in _FIELDS:
            self._take(name, getattr(facts, name), facts.source)

    def absorb(self, other: "Identity") -> None:
        """Take over what another identity says of the pod."""
        self.sources.update(other.sources)
        for name in POD_FIELDS:
            source = other._told_by.get(name)  # noqa: SLF001
            if source is not None:
                self._take(name, getattr(other, name), source)

    def contradiction(self, pod: PodFacts, pod_of: Callable[[str], str | None]) -> str | None:
        """Return why Kubernetes' word on this pod is not believed, None when nothing speaks against it.

        `pod_of` tells whose pod a container's cgroup is in, as far as that is known.
        """
        rank = _rank(pod.source)
        for name in ("pod_uid", "pod_name", "namespace"):
            known = getattr(self, name)
            if known not in {None, getattr(pod, name)} and _rank(self._told_by.get(name, "")) > rank:
                return f"{name} is {getattr(pod, name)}, {self._told_by[name]} says {known}"
        for container in pod.containers:
            other = pod_of(container.container_id) if container.container_id is not None else None
            if other not in {None, pod.pod_uid}:
                return f"container {container.name} is in the cgroup of pod {other}"
        return None

    def forget(self, source: str, why: str, fields: Collection[str] = _FIELDS) -> None:
        """Forget what a source told: it was wrong about who this is."""
        self.failures[source] = why
        self.sources.pop(source, None)
        for name in [name for name, told_by in self._told_by.items() if told_by == source and name in fields]:
            del self._told_by[name]
            setattr(self, name, () if name == "image_digests" else None)

    def rank_of(self, name: str) -> int:
        """Return how strong the source of a field is; 0 when nobody told it."""
        source = self._told_by.get(name)
        return 0 if source is None else _rank(source)

    @property
    def is_kubernetes(self) -> bool:
        """Whether a pod is proven."""
        return self.pod_uid is not None or self.pod_name is not None

    @property
    def names_pod(self) -> bool:
        """Whether a pod is proven and can be told from others."""
        return self.is_kubernetes and (self.pod_uid is not None or self.sandbox is not None)

    @property
    def sandbox(self) -> str | None:
        """The id of the sandbox: its own, for a sandbox."""
        return self.sandbox_id or (self.container_id if self.is_sandbox else None)

    @property
    def failure(self) -> str | None:
        """Why sources could not say, or None."""
        return ", ".join(f"{source}: {reason}" for source, reason in self.failures.items()) or None

    def _contradicts(self, pod_uid: str | None, rank: int) -> bool:
        """Whether a source names another pod than a stronger one; a weaker one that did is forgotten."""
        if pod_uid is None or self.pod_uid in {None, pod_uid}:
            return False
        if rank <= self.rank_of("pod_uid"):
            return True
        # What it said of the container itself may be right: which sandbox it belongs to, what it is called.
        self.forget(self._told_by["pod_uid"], f"it names pod {self.pod_uid}", POD_FIELDS)
        return False

    def _take(self, name: str, value: object, source: str) -> None:
        if value not in {None, ()} and _rank(source) > self.rank_of(name):
            setattr(self, name, value)
            self._told_by[name] = source


def _rank(source: str) -> int:
    return RANKS.get(source, _LOWEST_RANK)
