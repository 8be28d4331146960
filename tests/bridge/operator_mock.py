"""A mock of the operator, which cannot be had here: a cluster's own service with its own custom resources.

It answers as the real one was seen to answer (a debug build against a real API server): the same codes, the same
`status` and `message`, certificates that add up when they are posted twice. It is stricter in one point: a field that
the real one would ignore is refused too, so that nothing is sent in vain.
"""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCEPTED = {"status": "accepted", "message": "Webhook payload processed"}
FIELDS: dict[str, dict[str, type]] = {
    "pod_creation": {
        "pod_name": str,
        "namespace": str,
        "total_syscalls": int,
        "namespace_ops": int,
        "cgroup_writes": int,
        "duration_ns": int,
        "timeline": list,
        "ebpf_detection": bool,
        "timestamp": str,
    },
    "cpu_throttle": {
        "pod_name": str,
        "namespace": str,
        "container_name": str,
        "throttle_percentage": float,
        "actual_cpu_usage": float,
        "reported_cpu_usage": float,
        "period_seconds": int,
        "ebpf_detection": bool,
        "throttle_ns": int,
        "timestamp": str,
    },
}
STEP_FIELDS = {"timestamp_ms": int, "action": str}
LARGEST_BODY = 2_000_000


def failed(message: str) -> dict[str, str]:
    """Return the operator's answer to what it could not do."""
    return {"status": "error", "message": f"Failed to create CRD: {message}"}


CONFLICT = failed('ApiError: Operation cannot be fulfilled on podbirthcertificates "x": Conflict (ErrorResponse)')
API_DOWN = failed("HyperError: client error (Connect): tcp connect error: Connection refused (os error 111)")
NO_NAMESPACE = failed('ApiError: namespaces "x" not found: NotFound')


@dataclass
class Behaviour:
    """What the next POST meets. `takes`: it is done before the answer, or the lack of one."""

    status: int = 200
    body: bytes | dict[str, str] = field(default_factory=lambda: dict(ACCEPTED))
    takes: bool = False
    hangs_s: float = 0.0  # before the answer
    cuts: bool = False  # the connection instead of an answer
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Operator:
    """What the operator got. It behaves by `script`, POST by POST, then by `always`, then as it should."""

    script: list[Behaviour] = field(default_factory=list)
    always: Behaviour | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)  # every message that came, whatever was answered
    taken: list[dict[str, Any]] = field(default_factory=list)  # those that had an effect
    headers: dict[str, str] = field(default_factory=dict)
    not_monitored: set[str] = field(default_factory=set)  # pods without the annotation
    arrived: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        """The webhook."""
        return f"http://127.0.0.1:{self.port}/webhook/ebpf"

    def pods(self) -> list[str]:
        """Return whose births were taken, in order, once for each time."""
        return [each["pod_creation"]["pod_name"] for each in self.taken if "pod_creation" in each]

    def answer(self, content_type: str, body: bytes) -> Behaviour:
        """Return the answer to a POST that nothing was scripted for."""
        if not content_type:
            return Behaviour(415, b"Expected request with `Content-Type: application/json`")
        if not content_type.startswith("application/json"):
            return Behaviour(415, b"Invalid content-type")
        if len(body) > LARGEST_BODY:
            return Behaviour(413, b"length limit exceeded")
        try:
            said = json.loads(body, parse_constant=_refuse)
        except ValueError as error:
            return Behaviour(400, f"Failed to parse the request body as JSON: {error}".encode())
        if (wrong := _wrong(said)) is not None:
            text = f"Failed to deserialize the JSON body into the target type: {wrong}"
            return Behaviour(422, text.encode())
        return self._done(said)

    def _done(self, said: dict[str, Any]) -> Behaviour:
        ((kind, message),) = said.items()
        name, namespace = message["pod_name"], message["namespace"]
        if name in self.not_monitored:
            words = f"Pod {name} not configured for monitoring"
            return Behaviour(body={"status": "skipped", "message": words})
        if kind == "pod_creation" and namespace.startswith("kube-"):
            return Behaviour(body={"status": "skipped", "message": f"System namespace pod {name}"})
        self.taken.append(said)
        return Behaviour()


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _wrong(said: object) -> str | None:
    """Return what serde would say of a message, or of a field it would not know."""
    if not isinstance(said, dict) or len(said) != 1:
        return "expected an externally tagged object"
    ((kind, message),) = said.items()
    if kind not in FIELDS:
        return f"unknown variant `{kind}`"
    if (wrong := _wrong_fields(message, FIELDS[kind])) is not None:
        return f"{kind}: {wrong}"
    steps = (_wrong_fields(step, STEP_FIELDS) for step in message.get("timeline", ()))
    return next((f"{kind}.timeline: {wrong}" for wrong in steps if wrong), None)


def _wrong_fields(message: object, fields: dict[str, type]) -> str | None:
    if not isinstance(message, dict):
        return "expected an object"
    for name in fields.keys() ^ message.keys():
        return f"missing field `{name}`" if name in fields else f"unknown field `{name}`"
    for name, kind in fields.items():
        value = message[name]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits or (kind is int and not 0 <= value < 2**64):
            return f"invalid type for `{name}`"
    return None


@contextmanager
def operating(operator: Operator, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Operator]:
    """Run the mock; the port is kept, so that it can be stopped and started again."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            operator.headers = dict(self.headers.items())
            with suppress(ValueError):
                operator.attempts.append(json.loads(body))
            operator.arrived.set()
            if self.path != "/webhook/ebpf":
                self._say(Behaviour(404, b""))
                return
            scripted = operator.script.pop(0) if operator.script else operator.always
            if scripted is None or scripted.takes:
                usual = operator.answer(self.headers.get("Content-Type", ""), body)
            behaviour = scripted or usual
            time.sleep(behaviour.hangs_s)
            if behaviour.cuts:
                self.close_connection = True
                return
            with suppress(OSError):  # whoever asked has gone
                self._say(behaviour)

        def _say(self, behaviour: Behaviour) -> None:
            said = behaviour.body if isinstance(behaviour.body, bytes) else json.dumps(behaviour.body).encode()
            self.send_response(behaviour.status)
            for name, value in {**behaviour.headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
            pass

    class Server(ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """Keep quiet: bridges that are killed are part of the tests."""

    server = Server(("127.0.0.1", port or operator.port), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    operator.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield operator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
