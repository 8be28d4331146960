"""Who a container or a pod is: what several sources said, the strongest of them kept."""

from dataclasses import dataclass, field

from otel_kernel.births.facts import ContainerFacts

POD_FIELDS = ("pod_uid", "pod_name", "namespace", "runtime_name")
_FIELDS = (
    *POD_FIELDS,
    "sandbox_id",
    "is_sandbox",
    "container_name",
    "image_name",
    "network_namespace",
    "cgroup_id",
)
# The kernel's own word on where a task is beats what the runtime wrote down, and that beats what somebody was told.
_RANKS = {"cgroup-path": 3, "oci-bundle": 2}


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
    not_kubernetes: bool = False
    counted: bool = False  # as not Kubernetes
    sources: dict[str, None] = field(default_factory=dict)  # an ordered set
    failures: dict[str, str] = field(default_factory=dict)
    _ranks: dict[str, int] = field(default_factory=dict)

    def learn(self, facts: ContainerFacts) -> None:
        """Take over what these facts say better than what is known."""
        if facts.failure is not None:
            self.failures[facts.source] = facts.failure
        else:
            self.failures.pop(facts.source, None)
            self.sources[facts.source] = None
        self.not_kubernetes = self.not_kubernetes or facts.not_kubernetes
        rank = _RANKS.get(facts.source, 1)
        for name in _FIELDS:
            self._take(name, getattr(facts, name), rank)

    def absorb(self, other: "Identity") -> None:
        """Take over what another identity says of the pod."""
        self.sources.update(other.sources)
        for name in POD_FIELDS:
            self._take(name, getattr(other, name), other._ranks.get(name, 0))  # noqa: SLF001

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

    def _take(self, name: str, value: object, rank: int) -> None:
        if value is not None and rank > self._ranks.get(name, 0):
            setattr(self, name, value)
            self._ranks[name] = rank
