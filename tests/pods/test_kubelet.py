"""What the kubelet says, and what it may not say. A real one is asked in tests/cluster."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from otel_kernel.pods import kubelet
from otel_kernel.pods.kubelet import Access, KubeletError


class Server(ThreadingHTTPServer):
    """Stands in for a kubelet that is broken in a way in which a real one cannot be made to be."""

    status = 200
    content = b"{}"
    token = ""


@pytest.fixture
def server() -> Iterator[Server]:
    """Return one that serves."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.token = self.headers["Authorization"]
            self.send_response(served.status)
            self.end_headers()
            self.wfile.write(served.content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with Server(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


def access(server: Server, token_file: Path | None = None) -> Access:
    """Return how it is asked."""
    return Access(f"http://127.0.0.1:{server.server_port}/", token_file, None, "node-1")


def test_the_token_is_read_each_time(server: Server, tmp_path: Path) -> None:
    """The kubelet's own manager renews it in place."""
    server.content = json.dumps({"items": []}).encode()
    token = tmp_path / "token"
    for text in ("first", "second\n"):
        token.write_text(text)
        assert kubelet.ask(access(server, token)) == {"items": []}
        assert server.token == f"Bearer {text.strip()}"


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (401, b"Unauthorized", "unauthorized"),
        (403, b"Forbidden", "forbidden"),
        (500, b"", "refused"),
        (200, b"<html>", "malformed"),
        (200, b"[" * 100_000, "malformed"),
        (200, b"\xff", "malformed"),
    ],
)
def test_what_cannot_be_used_is_one_line(server: Server, status: int, content: bytes, kind: str) -> None:
    """With the kind by which it is counted."""
    server.status, server.content = status, content
    with pytest.raises(KubeletError) as refused:
        kubelet.ask(access(server))
    assert refused.value.kind == kind
    assert len(str(refused.value).splitlines()) == 1


def test_a_token_that_is_not_there_and_a_server_that_is_not_there(tmp_path: Path) -> None:
    """Both are told as they are."""
    for token_file in (tmp_path / "absent", None):
        with pytest.raises(KubeletError) as refused:
            kubelet.ask(Access("http://127.0.0.1:1", token_file, None, None))
        assert refused.value.kind == "unreachable"
