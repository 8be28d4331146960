"""Real receivers of OTLP on loopback, whose answers a test decides."""

import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc

SERVICES = ("trace.v1.TraceService", "metrics.v1.MetricsService", "logs.v1.LogsService")


@dataclass
class Answer:
    """What a receiver answers: a status of HTTP or gRPC, after a while."""

    status: int | grpc.StatusCode = 200
    body: bytes = b""
    headers: tuple[tuple[str, str | bytes], ...] = ()
    delay_s: float = 0.0


@dataclass
class Received:
    """What a receiver got. It answers by `script`, item by item, and then says yes."""

    script: list[Answer] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)  # those that were taken
    paths: list[str] = field(default_factory=list)  # where they came in: path of HTTP, method of gRPC
    attempts: int = 0
    times_s: list[float] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)  # of the last attempt

    def answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Note an attempt and return the answer to it."""
        self.attempts += 1
        self.times_s.append(time.monotonic())
        self.headers = headers
        answer = self.script.pop(0) if self.script else Answer()
        if answer.status in (200, grpc.StatusCode.OK):
            self.requests.append(body)
            self.paths.append(headers["path"])
        time.sleep(answer.delay_s)
        return answer


@contextmanager
def http_collector(received: Received, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a receiver of OTLP/HTTP; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            answer = received.answer(body, {"path": self.path, **dict(self.headers.items())})
            assert isinstance(answer.status, int)
            self.send_response(answer.status)
            for name, value in (*answer.headers, ("Content-Length", str(len(answer.body)))):
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
            pass

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True
        connections: list[socket.socket] = []  # noqa: RUF012 (one class for each server)

        def finish_request(self, request: object, client_address: object) -> None:
            assert isinstance(request, socket.socket)
            self.connections.append(request)
            super().finish_request(request, client_address)

        def handle_error(self, request: object, client_address: object) -> None:
            """Keep quiet: clients that go away are part of the tests."""

    server = Server(("127.0.0.1", port), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in Server.connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def grpc_collector(received: Received, port: int = 0, tls: grpc.ServerCredentials | None = None) -> Iterator[int]:
    """Run a receiver of OTLP/gRPC; gives its port."""

    def export(request: bytes, context: grpc.ServicerContext, path: str) -> bytes:
        metadata = {"path": path, **{str(key): str(value) for key, value in context.invocation_metadata()}}
        answer = received.answer(request, metadata)
        if isinstance(answer.status, grpc.StatusCode):
            context.set_trailing_metadata(answer.headers)
            context.abort(answer.status, answer.body.decode())
        return answer.body

    handlers = [_exporting(f"opentelemetry.proto.collector.{service}", export) for service in SERVICES]
    options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 1 << 20))
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers, options=options)
        address = f"127.0.0.1:{port}"
        bound = server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)
        server.start()
        try:
            yield bound
        finally:
            server.stop(None).wait()


def _exporting(service: str, export: Callable[..., bytes]) -> grpc.GenericRpcHandler:
    exporting = partial(export, path=f"/{service}/Export")
    return grpc.method_handlers_generic_handler(service, {"Export": grpc.unary_unary_rpc_method_handler(exporting)})


def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Wait for something that happens in another thread."""
    ends_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen"
        time.sleep(0.005)


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, for 127.0.0.1; returns it and its key."""
    made, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key
