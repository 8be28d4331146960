"""Every setting of the agent, once: environment, arguments, help and docs/settings.md are made from these fields.

The standard OTEL_* variables keep their meaning and units (OpenTelemetry specification: SDK environment variables, OTLP
exporter). The rest is OTEL_KERNEL_*: durations in seconds, switches `on` or `off`; each OTEL_KERNEL_FOO_BAR is also
--foo-bar. An empty value counts as unset. An argument beats its variable.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from otel_kernel import values
from otel_kernel.declaration import SettingsError, optional, read, setting
from otel_kernel.exporters import Otlp
from otel_kernel.values import Output, list_of, one_of

SERVICE_NAME = "otel-kernel"
METRIC_GROUPS = ("cpu", "memory", "pressure", "syscalls", "sched", "process", "files", "network", "births", "agent")


@dataclass(frozen=True)
class Observation:
    """What the agent looks at."""

    ebpf: Literal["auto", "off", "require"] = setting(
        "OTEL_KERNEL_EBPF",
        one_of("auto", "off", "require"),
        "auto",
        "require: refuse to run without eBPF; auto: watch files then",
    )
    proc_root: Path = setting("OTEL_KERNEL_PROC_ROOT", values.DIRECTORY, "/proc", "where the node's /proc is")
    cgroup_root: Path = setting(
        "OTEL_KERNEL_CGROUP_ROOT", values.DIRECTORY, "/sys/fs/cgroup", "where the node's cgroup hierarchies are"
    )
    runtimes: tuple[str, ...] = setting(
        "OTEL_KERNEL_RUNTIMES", list_of(values.EXECUTABLE), "", "further executables that count as runtime daemons"
    )
    record: Path | None = optional(
        "OTEL_KERNEL_RECORD", values.PATH, "write the kernel's events of births to this file, for replay"
    )


@dataclass(frozen=True)
class Births:
    """When a birth ends and how it is told."""

    quiet_ns: int = setting(
        "OTEL_KERNEL_BIRTH_QUIET", values.DURATION, "5", "a birth has ended when nothing more began for so long"
    )
    timeout_ns: int = setting(
        "OTEL_KERNEL_BIRTH_TIMEOUT", values.DURATION, "600", "a birth is told as it stands after so long"
    )
    arguments: Literal["off", "redacted", "full"] = setting(
        "OTEL_KERNEL_ARGS",
        one_of("off", "redacted", "full"),
        "off",
        "arguments of processes on their spans; they may hold secrets",
    )
    calls: Literal["spans", "folded"] = setting(
        "OTEL_KERNEL_CALLS",
        one_of("spans", "folded"),
        "spans",
        "a span for each call, or events of its process or group",
    )
    services: Literal["component", "single", "workload"] = setting(
        "OTEL_KERNEL_SERVICES",
        one_of("component", "single", "workload"),
        "component",
        "a service.name for each component, one for all, or service.* of the workload by the semantic conventions",
    )
    openat_spans: bool = setting(
        "OTEL_KERNEL_OPENAT_SPANS", values.ON_OFF, "off", "draw openat and openat2 too; they are counted anyway"
    )


@dataclass(frozen=True)
class Resource:
    """Who is speaking."""

    node_name: str | None = optional("OTEL_KERNEL_NODE_NAME", values.NODE, "k8s.node.name", "not said")
    service_name: str | None = optional(
        "OTEL_SERVICE_NAME",
        values.SERVICE,
        "service.name of births, units and metrics",
        f"service.name of OTEL_RESOURCE_ATTRIBUTES, else {SERVICE_NAME}",
    )
    attributes: tuple[tuple[str, str], ...] = setting(
        "OTEL_RESOURCE_ATTRIBUTES", values.PAIRS, "", "attributes of every resource"
    )

    @property
    def service(self) -> str:
        """The service.name of what belongs to no component."""
        return self.service_name or dict(self.attributes).get("service.name") or SERVICE_NAME


@dataclass(frozen=True)
class Kubernetes:
    """What Kubernetes is asked."""

    kubernetes: Literal["auto", "off"] = setting(
        "OTEL_KERNEL_KUBERNETES",
        one_of("auto", "off"),
        "auto",
        "ask the API server of KUBECONFIG or the service account",
    )
    kubelet_url: str | None = optional(
        "OTEL_KERNEL_KUBELET_URL",
        values.URL,
        "ask the kubelet for this node's pods, not the API server: https://ADDRESS:10250",
        "the API server is asked",
    )
    kubelet_token_file: Path | None = optional(
        "OTEL_KERNEL_KUBELET_TOKEN_FILE", values.READABLE_FILE, "bearer token for the kubelet", "the service account's"
    )
    kubelet_ca_file: Path | None = optional(
        "OTEL_KERNEL_KUBELET_CA_FILE", values.READABLE_FILE, "PEM: who signs the kubelet's certificate", "the cluster's"
    )
    cri_socket: Path | None = optional(
        "OTEL_KERNEL_CRI_SOCKET",
        values.PATH,
        "where the container runtime speaks CRI",
        "found at the usual places, else where a runtime daemon listens",
    )
    events: bool = setting("OTEL_KERNEL_KUBERNETES_EVENTS", values.ON_OFF, "off", "list each pod's events once")
    labels: tuple[str, ...] = setting(
        "OTEL_KERNEL_LABELS", list_of(values.KUBERNETES_KEY), "", "labels to put on resources"
    )
    annotations: tuple[str, ...] = setting(
        "OTEL_KERNEL_ANNOTATIONS", list_of(values.KUBERNETES_KEY), "", "annotations to put on resources"
    )


@dataclass(frozen=True)
class Metrics:
    """What is measured."""

    groups: tuple[str, ...] = setting(
        "OTEL_KERNEL_METRICS", list_of(one_of(*METRIC_GROUPS)), ",".join(METRIC_GROUPS), "groups of metrics to export"
    )
    interval_ms: int = setting(
        "OTEL_METRIC_EXPORT_INTERVAL", values.MILLISECONDS, "15000", "between exports, milliseconds"
    )
    throttle_threshold_percent: int = setting(
        "OTEL_KERNEL_THROTTLE_THRESHOLD",
        values.whole_number(1, 100),
        "25",
        "percent of throttled periods that makes an event",
    )
    throttle_stacks: bool = setting(
        "OTEL_KERNEL_THROTTLE_STACKS",
        values.ON_OFF,
        "off",
        "where containers were when their CPU limit was used up, in otel_kernel.cpu.throttled",
    )
    syscall_names: tuple[str, ...] | str | None = optional(
        "OTEL_KERNEL_SYSCALL_NAMES",
        values.either("all", list_of(values.SYSCALL)),
        "system calls counted by name",
        "about 40",
    )
    syscall_errors: bool = setting("OTEL_KERNEL_SYSCALL_ERRORS", values.ON_OFF, "off", "count errors by call")
    syscall_duration: tuple[str, ...] = setting(
        "OTEL_KERNEL_SYSCALL_DURATION",
        list_of(values.SYSCALL),
        "",
        "system calls whose durations are measured, at most 16",
    )
    functions: tuple[str, ...] = setting(
        "OTEL_KERNEL_FUNCTIONS",
        list_of(values.FUNCTION),
        "",
        "functions of the kernel whose calls and durations are measured, at most 16, where it lets them be probed",
    )
    open_paths: bool = setting("OTEL_KERNEL_OPEN_PATHS", values.ON_OFF, "off", "the most opened path prefixes")
    bpf_stats: bool = setting(
        "OTEL_KERNEL_BPF_STATS", values.ON_OFF, "off", "the kernel's run count and time of each program"
    )


@dataclass(frozen=True)
class Bridge:
    """From OTLP to an operator's webhook: `otel-kernel bridge`."""

    listen: tuple[str, int] = setting(
        "OTEL_KERNEL_BRIDGE_LISTEN", values.LISTENING, "127.0.0.1:4319", "where OTLP/HTTP is received"
    )
    url: str | None = optional("OTEL_KERNEL_BRIDGE_URL", values.URL, "the operator's webhook", "required by bridge")
    state: Path | None = optional(
        "OTEL_KERNEL_BRIDGE_STATE", values.PATH, "directory of what was posted", "required by bridge"
    )
    token_file: Path | None = optional(
        "OTEL_KERNEL_BRIDGE_TOKEN_FILE", values.READABLE_FILE, "bearer token for the operator"
    )
    listen_token_file: Path | None = optional(
        "OTEL_KERNEL_BRIDGE_LISTEN_TOKEN_FILE", values.READABLE_FILE, "bearer token that senders must show"
    )
    ca_file: Path | None = optional("OTEL_KERNEL_BRIDGE_CA_FILE", values.READABLE_FILE, "PEM: whom to trust")
    cert_file: Path | None = optional(
        "OTEL_KERNEL_BRIDGE_CERT_FILE", values.READABLE_FILE, "PEM: who we are to the operator"
    )
    key_file: Path | None = optional("OTEL_KERNEL_BRIDGE_KEY_FILE", values.READABLE_FILE, "PEM: its key")
    listen_cert_file: Path | None = optional(
        "OTEL_KERNEL_BRIDGE_LISTEN_CERT_FILE", values.READABLE_FILE, "PEM: who we are to senders"
    )
    listen_key_file: Path | None = optional("OTEL_KERNEL_BRIDGE_LISTEN_KEY_FILE", values.READABLE_FILE, "PEM: its key")


@dataclass(frozen=True)
class Settings:
    """Where births, metrics and events go."""

    chosen_outputs: tuple[Output, ...] | None = optional(
        "OTEL_KERNEL_OUTPUT",
        list_of(values.OUTPUT),
        "where all goes: the terminal shows births and events, a file gets OTLP JSON lines",
        "otlp if an endpoint is set, else terminal",
    )
    observation: Observation = field(default_factory=Observation)
    births: Births = field(default_factory=Births)
    resource: Resource = field(default_factory=Resource)
    otlp: Otlp = field(default_factory=Otlp)
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    metrics: Metrics = field(default_factory=Metrics)
    bridge: Bridge = field(default_factory=Bridge)
    notices: tuple[str, ...] = ()  # what was asked for and will not be done: one line each

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Where births go, after all that was and was not set."""
        default = Output("otlp") if self.otlp.has_endpoint else Output("terminal")
        chosen = self.chosen_outputs or (default,)
        return tuple(output for output in chosen if not (self.otlp.disabled and output.kind == "otlp"))

    @property
    def measured(self) -> frozenset[str]:
        """The groups of metrics that are exported to somewhere."""
        by_otlp = Output("otlp") in self.outputs and self.otlp.metrics.endpoint
        in_files = self.otlp.metrics.wanted != "none" and any(output.path for output in self.outputs)
        return frozenset(self.metrics.groups if by_otlp or in_files else ())

    @classmethod
    def load(cls, environ: Mapping[str, str], arguments: Mapping[str, str] = MappingProxyType({})) -> Self:
        """Return the settings that the environment and the arguments (by variable name) make.

        Raises SettingsError, with one line, for the first value that is not allowed or a variable that does not exist.
        """
        settings = read(cls, environ, arguments)
        _refuse_what_cannot_be_together(settings)
        return replace(settings, notices=tuple(_notices(settings)))


def _refuse_what_cannot_be_together(settings: Settings) -> None:
    otlp = settings.otlp
    if Output("otlp") in settings.outputs and not otlp.has_endpoint:
        raise SettingsError(
            "OTEL_KERNEL_OUTPUT=otlp is not allowed without OTEL_EXPORTER_OTLP_ENDPOINT: nowhere to send to"
        )
    for exporter in otlp.exporters.values():
        exporter.refuse_contradictions()


def _notices(settings: Settings) -> Iterator[str]:
    if settings.otlp.disabled and settings.otlp.has_endpoint:
        yield "OTEL_SDK_DISABLED=true: nothing is sent by OTLP"
    if Output("otlp") in settings.outputs:
        for signal, exporter in settings.otlp.exporters.items():
            if exporter.wanted == "otlp" and not exporter.endpoint:
                yield f"no OTEL_EXPORTER_OTLP_{signal}_ENDPOINT: {signal.lower()} are not sent by OTLP"
