"""Both ways to a collector, against real servers on loopback."""

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Literal

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_kernel.births.trace import Trace
from otel_kernel.telemetry.encode import Host, encode
from otel_kernel.telemetry.endpoint import (
    Delivered,
    EndpointError,
    OtlpEndpoint,
    Outcome,
    Refused,
    Retry,
    open_transport,
)
from otel_kernel.telemetry.signals import LOGS, METRICS, TRACES, Signal
from tests.telemetry.collectors import Answer, Received, certificate, grpc_collector, http_collector

PROTOBUF = (("Content-Type", "application/x-protobuf"),)
PARTIAL = ExportTraceServiceResponse(partial_success={"rejected_spans": 3, "error_message": "too\nold"})  # type: ignore[arg-type]
PARTIAL_METRICS = ExportMetricsServiceResponse(
    partial_success={"rejected_data_points": 3, "error_message": "too\nold"}  # type: ignore[arg-type]
)
PARTIAL_LOGS = ExportLogsServiceResponse(
    partial_success={"rejected_log_records": 3, "error_message": "too\nold"}  # type: ignore[arg-type]
)

Protocol = Literal["grpc", "http/protobuf"]


def url(protocol: Protocol, port: int, scheme: str = "http") -> str:
    """Return the endpoint of a receiver on this port."""
    return f"{scheme}://127.0.0.1:{port}" + ("/v1/traces" if protocol == "http/protobuf" else "")


def outcome(endpoint: OtlpEndpoint, request: bytes = b"", timeout_s: float = 5) -> Outcome:
    """Send one request and return what came of it."""
    transport = open_transport(endpoint)
    try:
        return transport.send(request, timeout_s)
    finally:
        transport.close()


def answered(protocol: Protocol, answer: Answer) -> Outcome:
    """Return what comes of a request that gets this answer."""
    collector = grpc_collector if protocol == "grpc" else http_collector
    with collector(Received([answer])) as port:
        return outcome(OtlpEndpoint(url(protocol, port), protocol), timeout_s=1)


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_request_arrives_byte_for_byte(
    birth: Trace, protocol: Protocol, compression: Literal["none", "gzip"]
) -> None:
    """The receiver gets the encoded bytes and the headers that were asked for, compressed or not."""
    (request,) = encode(birth, Host("node"))
    received = Received()
    collector = grpc_collector if protocol == "grpc" else http_collector
    with collector(received) as port:
        endpoint = OtlpEndpoint(url(protocol, port), protocol, {"X-Token": "s e c"}, compression=compression)
        assert outcome(endpoint, request) == Delivered()
    assert received.requests == [request]
    headers = {name.lower(): value for name, value in received.headers.items()}
    assert headers["x-token"] == "s e c"
    assert headers["user-agent"].startswith("otel-kernel/")
    if protocol == "http/protobuf":
        assert headers["path"] == "/v1/traces"
        assert headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("insecure", [True, False])
def test_grpc_takes_a_bare_host_and_port(insecure: bool) -> None:
    """Without a scheme `insecure` decides whether TLS is spoken."""
    with grpc_collector(Received()) as port:
        found = outcome(OtlpEndpoint(f"127.0.0.1:{port}", insecure=insecure), timeout_s=1)
    assert isinstance(found, Delivered if insecure else Retry)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_http_statuses_that_may_be_repeated(status: int) -> None:
    """The four statuses of the protocol are retried, with the server's own words as the reason."""
    found = answered("http/protobuf", Answer(status, b"busy \x1b[31m now"))
    assert isinstance(found, Retry)
    assert str(status) in found.reason
    assert "busy" in found.reason
    assert found.reason.isprintable()


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 413, 500, 501])
def test_http_statuses_that_are_final(status: int) -> None:
    """Every other status is a refusal; a redirect too, since the headers must not go where an answer says."""
    found = answered("http/protobuf", Answer(status, headers=(("Location", "http://127.0.0.1:1/"),)))
    assert isinstance(found, Refused)
    assert str(status) in found.reason


def test_a_status_message_in_protobuf_is_read() -> None:
    """The reason of a refusal is the message of google.rpc.Status when the answer is one."""
    found = answered("http/protobuf", Answer(400, Status(message="no such tenant").SerializeToString(), PROTOBUF))
    assert isinstance(found, Refused)
    assert "no such tenant" in found.reason


@pytest.mark.parametrize(("header", "after_s"), [("7", 7), ("soon", None), ("-1", None)])
def test_http_retry_after(header: str, after_s: float | None) -> None:
    """Retry-After in seconds is heeded, and anything that is neither that nor a date ignored."""
    found = answered("http/protobuf", Answer(503, headers=(("Retry-After", header),)))
    assert isinstance(found, Retry)
    assert found.after_s == after_s


def test_http_retry_after_a_date() -> None:
    """Retry-After may be a date; what counts is how far off that is."""
    in_an_hour = formatdate(time.time() + 3600, usegmt=True)  # of this moment: the tests before may have taken minutes
    found = answered("http/protobuf", Answer(503, headers=(("Retry-After", in_an_hour),)))
    assert isinstance(found, Retry)
    assert found.after_s is not None
    assert 3500 <= found.after_s <= 3601


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    ],
)
def test_grpc_codes_that_may_be_repeated(code: grpc.StatusCode) -> None:
    """The retryable codes of the protocol are retried."""
    assert answered("grpc", Answer(code, b"busy")) == Retry(f"{code.name}: busy")


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ],
)
def test_grpc_codes_that_are_final(code: grpc.StatusCode) -> None:
    """The other codes are refusals; RESOURCE_EXHAUSTED too when nothing says that it will pass."""
    assert answered("grpc", Answer(code, b"no")) == Refused(f"{code.name}: no")


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE])
def test_grpc_retry_info(code: grpc.StatusCode) -> None:
    """RetryInfo in the status details says when to come again, and makes RESOURCE_EXHAUSTED retryable."""
    status = Status(code=code.value[0])
    status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)))
    details = (("grpc-status-details-bin", status.SerializeToString()),)
    found = answered("grpc", Answer(code, b"later", details))
    assert found == Retry(f"{code.name}: later", 2.5)


def test_grpc_details_that_cannot_be_read() -> None:
    """Status details that are no protobuf do not matter."""
    found = answered("grpc", Answer(grpc.StatusCode.UNAVAILABLE, b"x", (("grpc-status-details-bin", b"\xff\xff"),)))
    assert found == Retry("UNAVAILABLE: x")


def test_a_message_too_large_for_the_server_is_final() -> None:
    """A request over the server's limit is refused, not repeated for ever."""
    with grpc_collector(Received()) as port:
        assert isinstance(outcome(OtlpEndpoint(url("grpc", port)), bytes(2 << 20)), Refused)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_partial_success_is_told(protocol: Protocol) -> None:
    """The number of rejected spans and the reason come back, in one line."""
    found = answered(protocol, Answer(200, PARTIAL.SerializeToString(), PROTOBUF))
    assert found == Delivered(3, "too old")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    ("signal", "method", "path", "partial"),
    [
        (TRACES, "trace.v1.TraceService", "/v1/traces", PARTIAL),
        (METRICS, "metrics.v1.MetricsService", "/v1/metrics", PARTIAL_METRICS),
        (LOGS, "logs.v1.LogsService", "/v1/logs", PARTIAL_LOGS),
    ],
)
def test_every_signal_has_its_own_way(
    protocol: Protocol, signal: Signal, method: str, path: str, partial: Message
) -> None:
    """Each signal arrives at its own method or path, and what its own answer says comes back."""
    received = Received([Answer(200, partial.SerializeToString(), PROTOBUF)])
    collector = grpc_collector if protocol == "grpc" else http_collector
    with collector(received) as port:
        address = f"http://127.0.0.1:{port}" + ("" if protocol == "grpc" else signal.http_path)
        found = outcome(OtlpEndpoint(address, protocol, signal=signal), b"\xa2\x06\x01x")
    assert found == Delivered(3, "too old")
    assert received.requests == [b"\xa2\x06\x01x"]
    assert received.paths == [f"/opentelemetry.proto.collector.{method}/Export" if protocol == "grpc" else path]


@pytest.mark.parametrize("answer", [Answer(200, b"\xff\xff", PROTOBUF), Answer(204), Answer(200, b"{}"), Answer(202)])
def test_any_2xx_is_success(answer: Answer) -> None:
    """A body that cannot be read does not undo the status."""
    assert answered("http/protobuf", answer) == Delivered()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nobody_there(protocol: Protocol) -> None:
    """A closed port is worth another attempt, and the reason fits in a line."""
    with http_collector(Received()) as port:
        pass
    found = outcome(OtlpEndpoint(url(protocol, port), protocol), timeout_s=1)
    assert isinstance(found, Retry)
    assert "refused" in found.reason.lower()
    assert len(found.reason) <= 220


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_slow_server_is_given_up_in_time(protocol: Protocol) -> None:
    """An answer that does not come within the timeout is worth another attempt."""
    collector = grpc_collector if protocol == "grpc" else http_collector
    with collector(Received([Answer(delay_s=1.2)])) as port:
        before_s = time.monotonic()
        found = outcome(OtlpEndpoint(url(protocol, port), protocol), timeout_s=0.2)
        assert time.monotonic() - before_s < 1.0
    assert isinstance(found, Retry)


def test_the_proxy_of_the_environment_is_used_as_the_library_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY counts unless NO_PROXY, by address range too, says that the endpoint is near."""
    received = Received()
    with http_collector(received) as port:
        for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        endpoint = OtlpEndpoint(url("http/protobuf", port), "http/protobuf")
        assert isinstance(outcome(endpoint), Retry)
        monkeypatch.setenv("no_proxy", "127.0.0.0/8")
        assert outcome(endpoint) == Delivered()


def test_a_netrc_does_not_replace_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Authorization header that was asked for is the one that is sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    received = Received()
    with http_collector(received) as port:
        headers = {"Authorization": "Bearer right"}
        outcome(OtlpEndpoint(url("http/protobuf", port), "http/protobuf", headers))
    assert received.headers["Authorization"] == "Bearer right"


@pytest.fixture(scope="module")
def tls(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]
) -> dict[str, tuple[Path, Path]]:
    """Return certificates of a server, of a client that it knows, and of a stranger."""
    require(shutil.which("openssl"), "openssl is not installed")
    directory = tmp_path_factory.mktemp("tls")
    return {name: certificate(directory, name) for name in ("server", "client", "stranger")}


def secure(protocol: Protocol, tls: dict[str, tuple[Path, Path]], client: str | None, trusted: str) -> Outcome:
    """Send a request to a server that asks for the client's certificate."""
    (server, server_key), (known, _) = tls["server"], tls["client"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server, server_key)
    context.load_verify_locations(known)
    context.verify_mode = ssl.CERT_REQUIRED
    pair = [(server_key.read_bytes(), server.read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, known.read_bytes(), require_client_auth=True)
    running = (
        grpc_collector(Received(), tls=credentials) if protocol == "grpc" else http_collector(Received(), tls=context)
    )
    with running as port:
        endpoint = OtlpEndpoint(url(protocol, port, "https"), protocol, certificate=tls[trusted][0])
        if client:
            endpoint = replace(endpoint, client_certificate=tls[client][0], client_key=tls[client][1])
        return outcome(endpoint, timeout_s=2)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_mutual_tls(protocol: Protocol, tls: dict[str, tuple[Path, Path]]) -> None:
    """With the right certificates on both sides the request arrives; with a missing or wrong one it does not."""
    assert secure(protocol, tls, "client", "server") == Delivered()
    assert isinstance(secure(protocol, tls, None, "server"), Retry)
    assert isinstance(secure(protocol, tls, "stranger", "server"), Retry)
    assert isinstance(secure(protocol, tls, "client", "stranger"), Retry)


@pytest.mark.parametrize(
    "endpoint",
    [
        OtlpEndpoint("http://", "http/protobuf"),
        OtlpEndpoint("localhost:4318/v1/traces", "http/protobuf"),
        OtlpEndpoint("ftp://collector:4317"),
        OtlpEndpoint("http://collector:port"),
        OtlpEndpoint("http://collector:99999"),
        OtlpEndpoint(" "),
        OtlpEndpoint("http://c:1", headers={"a b": "c"}),
        OtlpEndpoint("http://c:1", headers={"a": "secret\r\nb: c"}),
        OtlpEndpoint("https://c:1", certificate=Path("/nowhere/ca.pem")),
        OtlpEndpoint("https://c:1", client_certificate=Path(__file__), client_key=Path(__file__)),
        OtlpEndpoint("https://c:1", client_key=Path(__file__)),
    ],
)
def test_what_cannot_work_is_refused_at_start(endpoint: OtlpEndpoint) -> None:
    """A wrong URL, header or TLS file is one line at start, which does not tell a header's value."""
    with pytest.raises(EndpointError) as refused:
        open_transport(endpoint)
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)


def test_a_key_with_a_password_is_refused_without_asking(tls: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    """An encrypted client key ends in one line instead of a question at the terminal."""
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "ec", "-in", tls["client"][1], "-aes256", "-passout", "pass:word", "-out", locked],
        check=True,
        capture_output=True,
    )
    with pytest.raises(EndpointError, match=r"locked\.key"):
        open_transport(OtlpEndpoint("https://c:1", client_certificate=tls["client"][0], client_key=locked))
