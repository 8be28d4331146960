"""Settings: what environment and arguments make of them, and what they refuse."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kernel.declaration import Setting, SettingsError, catalogue
from otel_kernel.reference import page
from otel_kernel.settings import Settings
from otel_kernel.values import Output

SETTINGS = [setting for _, setting in catalogue(Settings)]
DESIGNED = [
    "OUTPUT", "PROC_ROOT", "CGROUP_ROOT", "EBPF", "RUNTIMES", "BIRTH_QUIET", "BIRTH_TIMEOUT", "NODE_NAME",
    "KUBERNETES", "KUBERNETES_EVENTS", "LABELS", "ANNOTATIONS", "ARGS", "CALLS", "SERVICES", "OPENAT_SPANS",
    "SYSCALL_NAMES", "SYSCALL_ERRORS", "SYSCALL_DURATION", "OPEN_PATHS", "METRICS", "THROTTLE_THRESHOLD",
    "THROTTLE_STACKS", "FUNCTIONS",
    "BPF_STATS", "BRIDGE_LISTEN", "BRIDGE_URL", "BRIDGE_STATE", "BRIDGE_TOKEN_FILE",
    "BRIDGE_LISTEN_TOKEN_FILE", "BRIDGE_CA_FILE", "BRIDGE_CERT_FILE", "BRIDGE_KEY_FILE",
    "BRIDGE_LISTEN_CERT_FILE", "BRIDGE_LISTEN_KEY_FILE", "RECORD", "CRI_SOCKET",
    "KUBELET_URL", "KUBELET_TOKEN_FILE", "KUBELET_CA_FILE",
]  # fmt: skip


def refusal(environ: dict[str, str], arguments: dict[str, str] | None = None) -> str:
    """Return the line with which such settings are refused."""
    with pytest.raises(SettingsError) as refused:
        Settings.load(environ, arguments or {})
    return str(refused.value)


def test_nothing_set() -> None:
    """Without any setting everything has its default."""
    settings = Settings.load({})
    assert settings == Settings()
    assert settings.outputs == (Output("terminal"),)
    assert (settings.births.quiet_ns, settings.births.timeout_ns) == (5_000_000_000, 600_000_000_000)
    assert settings.observation.proc_root == Path("/proc")
    assert settings.notices == ()


def test_every_designed_variable_exists() -> None:
    """The catalogue holds each OTEL_KERNEL_ variable of the contract, once, and no other."""
    ours = [variable for setting in SETTINGS for variable in setting.variables if variable.startswith("OTEL_KERNEL_")]
    assert sorted(ours) == sorted(f"OTEL_KERNEL_{name}" for name in DESIGNED)


@pytest.mark.parametrize(
    ("variable", "text", "group", "field", "value"),
    [
        ("OTEL_KERNEL_EBPF", "require", "observation", "ebpf", "require"),
        ("OTEL_KERNEL_RUNTIMES", "youki, kata-runtime", "observation", "runtimes", ("youki", "kata-runtime")),
        ("OTEL_KERNEL_RECORD", "events.jsonl", "observation", "record", Path("events.jsonl")),
        ("OTEL_KERNEL_BIRTH_QUIET", "0.25", "births", "quiet_ns", 250_000_000),
        ("OTEL_KERNEL_BIRTH_TIMEOUT", "86400", "births", "timeout_ns", 86_400_000_000_000),
        ("OTEL_KERNEL_ARGS", "redacted", "births", "arguments", "redacted"),
        ("OTEL_KERNEL_CALLS", "folded", "births", "calls", "folded"),
        ("OTEL_KERNEL_OPENAT_SPANS", "on", "births", "openat_spans", True),
        ("OTEL_KERNEL_NODE_NAME", "ip-10-0-0-1.ec2.internal", "resource", "node_name", "ip-10-0-0-1.ec2.internal"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b%20c,d=e=f", "resource", "attributes", (("a", "b c"), ("d", "e=f"))),
        ("OTEL_METRIC_EXPORT_INTERVAL", "60000", "metrics", "interval_ms", 60_000),
        ("OTEL_KERNEL_METRICS", "cpu,births", "metrics", "groups", ("cpu", "births")),
        ("OTEL_KERNEL_SYSCALL_NAMES", "all", "metrics", "syscall_names", "all"),
        ("OTEL_KERNEL_SYSCALL_NAMES", "read,write", "metrics", "syscall_names", ("read", "write")),
        (
            "OTEL_KERNEL_LABELS",
            "app.kubernetes.io/name,team",
            "kubernetes",
            "labels",
            ("app.kubernetes.io/name", "team"),
        ),
        ("OTEL_KERNEL_BRIDGE_LISTEN", "[::1]:4319", "bridge", "listen", ("::1", 4319)),
    ],
)
def test_value(variable: str, text: str, group: str, field: str, value: object) -> None:
    """A variable's text becomes the value it stands for."""
    assert getattr(getattr(Settings.load({variable: text}), group), field) == value


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("HEADERS", "x-key=a%2Cb", "headers", (("x-key", "a,b"),)),
        ("TIMEOUT", "2500", "timeout_ms", 2500),
        ("COMPRESSION", "gzip", "compression", "gzip"),
        ("INSECURE", "True", "insecure", True),
        ("CERTIFICATE", __file__, "certificate", Path(__file__)),
        ("PROTOCOL", "grpc", "protocol", "grpc"),
        ("ENDPOINT", "http://c:1", "endpoint", "http://c:1"),
    ],
)
@pytest.mark.parametrize("signal", ["TRACES", "METRICS", "LOGS"])
def test_signals_can_differ(signal: str, name: str, text: str, field: str, value: object) -> None:
    """A variable without a signal holds for all, one with a signal for that alone, and beats the other."""
    common = Settings.load({f"OTEL_EXPORTER_OTLP_{name}": text}).otlp
    assert [getattr(exporter, field) for exporter in common.exporters.values()] == [value] * 3
    own = Settings.load({f"OTEL_EXPORTER_OTLP_{signal}_{name}": text}).otlp
    unset = getattr(Settings().otlp.traces, field)
    expected = {each: value if each == signal else unset for each in own.exporters}
    assert {each: getattr(exporter, field) for each, exporter in own.exporters.items()} == expected


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("OTEL_KERNEL_EBPF", "Auto"),
        ("OTEL_KERNEL_OUTPUT", "otlp,console"),
        ("OTEL_KERNEL_OUTPUT", "terminal,terminal"),
        ("OTEL_KERNEL_OUTPUT", "file:"),
        ("OTEL_KERNEL_PROC_ROOT", "proc"),
        ("OTEL_KERNEL_PROC_ROOT", "/absent"),
        ("OTEL_KERNEL_CGROUP_ROOT", "/dev/null"),
        ("OTEL_KERNEL_RUNTIMES", "/usr/bin/youki"),
        ("OTEL_KERNEL_RUNTIMES", "a,,b"),
        ("OTEL_KERNEL_BIRTH_QUIET", "5s"),
        ("OTEL_KERNEL_BIRTH_QUIET", "0"),
        ("OTEL_KERNEL_BIRTH_QUIET", "-1"),
        ("OTEL_KERNEL_BIRTH_QUIET", "1e3"),
        ("OTEL_KERNEL_BIRTH_QUIET", "nan"),
        ("OTEL_KERNEL_BIRTH_QUIET", "٥"),  # noqa: RUF001  # a digit to str.isdigit, none to us
        ("OTEL_KERNEL_BIRTH_TIMEOUT", "86400.1"),
        ("OTEL_KERNEL_NODE_NAME", "node\n2"),
        ("OTEL_KERNEL_OPENAT_SPANS", "true"),
        ("OTEL_KERNEL_THROTTLE_THRESHOLD", "0"),
        ("OTEL_KERNEL_THROTTLE_THRESHOLD", "101"),
        ("OTEL_KERNEL_METRICS", "cpu,disk"),
        ("OTEL_KERNEL_SYSCALL_NAMES", "read;write"),
        ("OTEL_KERNEL_LABELS", "-app"),
        ("OTEL_KERNEL_BRIDGE_LISTEN", "4319"),
        ("OTEL_KERNEL_BRIDGE_LISTEN", "localhost:65536"),
        ("OTEL_KERNEL_BRIDGE_URL", "operator:8080/webhook"),
        ("OTEL_KERNEL_BRIDGE_TOKEN_FILE", "/absent"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "deflate"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "ftp://collector:4317"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/absent"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=%ff"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_SERVICE_NAME", "a\x1b[31m"),
    ],
)
def test_refused(variable: str, text: str) -> None:
    """A value that is not allowed is refused in one printable line with variable, value and what is allowed."""
    line = refusal({variable: text})
    assert line.startswith(f"{variable}='")
    assert "is not allowed; allowed: " in line
    assert line.isprintable()


@given(
    st.sampled_from(SETTINGS),
    st.one_of(st.text(), st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))),
)
def test_any_text_is_taken_or_refused(setting: Setting, text: str) -> None:
    """Whatever a variable holds, the settings load or one printable line says why not."""
    try:
        Settings.load({setting.variables[0]: text})
    except SettingsError as error:
        assert str(error).isprintable()  # noqa: PT017  # either outcome is right


def test_secrets_are_not_shown() -> None:
    """Headers may carry credentials: neither a refusal nor a repr shows them."""
    assert "hunter2" not in refusal({"OTEL_EXPORTER_OTLP_HEADERS": "hunter2"})
    assert "hunter2" not in repr(Settings.load({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2"}))


def test_unknown_variable() -> None:
    """An OTEL_KERNEL_ variable that does not exist is refused, with the nearest that does."""
    assert refusal({"OTEL_KERNEL_BIRTH_QUITE": "5\n"}) == (
        r"OTEL_KERNEL_BIRTH_QUITE='5\n' is not allowed: there is no such setting; did you mean OTEL_KERNEL_BIRTH_QUIET?"
    )


def test_variables_of_kubernetes_services() -> None:
    """What Kubernetes sets in every pod for Services called otel-kernel and otel-kernel-bridge is nobody's mistake."""
    links = {
        "OTEL_KERNEL_SERVICE_HOST": "10.96.0.7",
        "OTEL_KERNEL_SERVICE_PORT": "4317",
        "OTEL_KERNEL_PORT": "tcp://10.96.0.7:4317",
        "OTEL_KERNEL_PORT_4317_TCP": "tcp://10.96.0.7:4317",
        "OTEL_KERNEL_PORT_4317_TCP_PROTO": "tcp",
        "OTEL_KERNEL_BRIDGE_SERVICE_HOST": "10.96.0.8",
        "OTEL_KERNEL_BRIDGE_SERVICE_PORT_OTLP_HTTP": "4319",
        "OTEL_KERNEL_BRIDGE_PORT_4319_TCP_ADDR": "10.96.0.8",
    }
    assert Settings.load(links) == Settings()
    assert "no such setting" in refusal({"OTEL_KERNEL_BRIDGE_PORT": "4319"})


def test_empty_is_unset() -> None:
    """An empty variable counts as unset, also one that does not exist."""
    environ = {setting.variables[0]: "" for setting in SETTINGS} | {"OTEL_KERNEL_NONSENSE": ""}
    assert Settings.load(environ) == Settings()


def test_argument_wins() -> None:
    """An argument beats its variable, and its refusal names the option."""
    environ = {"OTEL_KERNEL_EBPF": "off"}
    assert Settings.load(environ, {"OTEL_KERNEL_EBPF": "require"}).observation.ebpf == "require"
    assert refusal(environ, {"OTEL_KERNEL_EBPF": "x"}).startswith("--ebpf (OTEL_KERNEL_EBPF)='x' is not allowed; ")


@pytest.mark.parametrize(
    ("environ", "url", "protocol"),
    [
        ({}, None, "http/protobuf"),
        ({"ENDPOINT": "http://c:4317"}, "http://c:4317", "grpc"),
        ({"ENDPOINT": "c:4317"}, "c:4317", "grpc"),
        ({"ENDPOINT": "https://c:4318/"}, "https://c:4318/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "https://c/otlp"}, "https://c/otlp/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "http://c:4317", "PROTOCOL": "http/protobuf"}, "http://c:4317/v1/traces", "http/protobuf"),
        ({"ENDPOINT": "http://c:4318", "PROTOCOL": "grpc"}, "http://c:4318", "grpc"),
        ({"ENDPOINT": "http://c:4317", "TRACES_ENDPOINT": "http://t:4318/x"}, "http://t:4318/x", "http/protobuf"),
        ({"ENDPOINT": "http://c:80", "PROTOCOL": "http/protobuf", "TRACES_PROTOCOL": "grpc"}, "http://c:80", "grpc"),
    ],
)
def test_where_traces_go(environ: dict[str, str], url: str | None, protocol: str) -> None:
    """The traces' own endpoint is used as it is, the general one by HTTP with /v1/traces; port 4317 means gRPC."""
    otlp = Settings.load({f"OTEL_EXPORTER_OTLP_{name}": text for name, text in environ.items()}).otlp
    assert (otlp.traces.url("/v1/traces"), otlp.traces.protocol) == (url, protocol)


def test_where_metrics_and_logs_go() -> None:
    """Each signal goes its own way: another receiver, another protocol, the general endpoint, or nowhere."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://prometheus:9090/api/v1/otlp/v1/metrics",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "jaeger:4317",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
    }
    otlp = Settings.load(environ).otlp
    assert (otlp.traces.url("/v1/traces"), otlp.traces.protocol) == ("jaeger:4317", "grpc")
    assert otlp.metrics.url("/v1/metrics") == "http://prometheus:9090/api/v1/otlp/v1/metrics"
    assert otlp.logs.url("/v1/logs") == "http://c:4318/v1/logs"
    off = Settings.load({**environ, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})
    assert off.otlp.metrics.url("/v1/metrics") is off.otlp.logs.url("/v1/logs") is None
    assert off.outputs == (Output("otlp"),)
    assert off.notices == ()


def test_a_signal_without_endpoint_is_announced() -> None:
    """When only some signals have an endpoint, one line tells of each that has none."""
    settings = Settings.load({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"})
    assert settings.outputs == (Output("otlp"),)
    assert settings.notices == (
        "no OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: traces are not sent by OTLP",
        "no OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: logs are not sent by OTLP",
    )


def test_outputs() -> None:
    """Births go to the endpoint if there is one and nothing else was said, else where was said."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}
    assert Settings.load(endpoint).outputs == (Output("otlp"),)
    several = Settings.load({**endpoint, "OTEL_KERNEL_OUTPUT": "otlp, file:/tmp/a:b.jsonl,terminal"})
    assert several.outputs == (Output("otlp"), Output("file", Path("/tmp/a:b.jsonl")), Output("terminal"))


def test_sdk_disabled() -> None:
    """OTEL_SDK_DISABLED sends nothing by OTLP, keeps the other outputs, and the agent says so."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317",
        "OTEL_SDK_DISABLED": "true",
        "OTEL_KERNEL_OUTPUT": "otlp,terminal",
    }
    settings = Settings.load(environ)
    assert settings.outputs == (Output("terminal"),)
    assert settings.notices == ("OTEL_SDK_DISABLED=true: nothing is sent by OTLP",)


@pytest.mark.parametrize(
    ("environ", "part"),
    [
        ({"OTEL_KERNEL_OUTPUT": "otlp"}, "without OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "http:// or https:// must precede it"),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "collector:4318"}, "http:// or https:// must precede it"),
        ({"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": __file__}, "one is not allowed without the other"),
        ({"OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY": __file__}, "one is not allowed without the other"),
    ],
)
def test_what_cannot_be_together(environ: dict[str, str], part: str) -> None:
    """Settings that are right alone and wrong together are refused in one line."""
    assert part in refusal(environ)


def test_what_is_measured() -> None:
    """Only what is exported somewhere: by OTLP or to a file, unless metrics are not wanted."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    chosen = {"OTEL_KERNEL_METRICS": "cpu,memory"}
    unwanted = {"OTEL_METRICS_EXPORTER": "none"}
    file = {"OTEL_KERNEL_OUTPUT": "file:/tmp/a.jsonl"}
    for environ in (endpoint, file, endpoint | file):
        assert Settings.load(environ | chosen).measured == {"cpu", "memory"}
        assert Settings.load(environ | chosen | unwanted).measured == set()
    assert Settings.load(chosen).measured == set()


def test_service_name() -> None:
    """OTEL_SERVICE_NAME beats service.name of the resource attributes, which beats our own name."""
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours"}
    assert Settings.load({}).resource.service == "otel-kernel"
    assert Settings.load(attributes).resource.service == "ours"
    assert Settings.load({**attributes, "OTEL_SERVICE_NAME": "mine"}).resource.service == "mine"


def test_reference_page_is_current() -> None:
    """docs/settings.md is what the settings make of it."""
    assert Path(__file__).parent.parent.joinpath("docs/settings.md").read_text() == page()
