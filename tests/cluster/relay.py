"""The API server with faults: what stands between the agent and the real one, and does what a test says."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.cluster.api import Api
from tests.cluster.control_plane import PORT
from tests.cluster.network import NODE_ADDRESS


@dataclass(slots=True)
class Faults:
    """What goes wrong now; a test may change it at any time."""

    delay_s: float = 0  # before each answer
    cut_s: float | None = None  # after which a connection is cut in the middle of what it says
    refused: bool = False  # connections are closed at once
    rewrite: Callable[[bytes], bytes] = field(default=lambda line: line)  # each line that the API server says

    def cease(self) -> None:
        """Let nothing go wrong any more."""
        self.refused, self.delay_s, self.cut_s, self.rewrite = False, 0, None, lambda line: line

    @property
    def lets_lists_pass(self) -> bool:
        """Whether pods can be listed at all."""
        return not self.refused and not self.delay_s


class Relay:
    """A context: takes requests by HTTP and hands them on to the real API server, with the sender's own token."""

    def __init__(self, api: Api, faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.requests: list[str] = []
        self._trusting = ssl.create_default_context(cafile=str(api.certificate))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def lists(self) -> int:
        """Return how often pods were listed."""
        return len([path for path in self.requests if path.startswith("/api/v1/pods") and "watch=" not in path])

    def watches(self) -> int:
        """Return how often pods were watched."""
        return len([path for path in self.requests if path.startswith("/api/v1/pods") and "watch=" in path])

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # a watch comes in chunks

            def do_GET(self) -> None:
                self.close_connection = True
                if relay.faults.refused:
                    return
                relay.requests.append(self.path)
                time.sleep(relay.faults.delay_s)
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._hand_on()

            def _hand_on(self) -> None:
                upstream = http.client.HTTPSConnection(NODE_ADDRESS, PORT, timeout=300, context=relay._trusting)
                with contextlib.closing(upstream):
                    upstream.request("GET", self.path, headers={"Authorization": self.headers["Authorization"] or ""})
                    answer = upstream.getresponse()
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    if relay.faults.cut_s is not None and "watch=" in self.path:
                        threading.Timer(relay.faults.cut_s, self._cut).start()
                    while line := answer.readline():
                        if relay.faults.refused:
                            return
                        told = relay.faults.rewrite(line)
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(told), told))
                    self.wfile.write(b"0\r\n\r\n")

            def _cut(self) -> None:
                with contextlib.suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
