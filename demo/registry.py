"""A registry on the loopback device, for whoever pulls (OCI distribution specification, pull). It may take its time."""

import json
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.images import OCI, Image, write_layout


class Registry:
    """A context: serves images by HTTP, each layer after a while."""

    def __init__(self, directory: Path, delay_s: float = 0.0) -> None:
        self._directory = directory
        self._delay_s = delay_s
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[str, str] = {}  # digest by `name:tag`
        self._slow: set[str] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self._server.server_port}"

    def add(self, image: Image) -> str:
        """Serve one more image, by its name without the host; return what a pod's spec calls it here."""
        layout = self._directory / "layout.tar"
        write_layout(image, layout)
        with tarfile.open(layout) as archive:
            files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]
        layout.unlink()
        blobs = {name.removeprefix("blobs/").replace("/", ":"): content for name, content in files.items()}
        manifest = json.loads(files["index.json"])["manifests"][0]["digest"]
        name = image.reference.rpartition("/")[2]
        self._slow |= {layer["digest"] for layer in json.loads(blobs[manifest])["layers"]}
        self._blobs |= blobs
        self._manifests[name] = manifest
        return f"{self.address}/{name}"

    def _answer(self, path: str) -> tuple[str, bytes, str] | None:
        if path.rstrip("/") == "/v2":
            return "application/json", b"{}", ""
        name, kind, wanted = path.removeprefix("/v2/").rsplit("/", 2)
        digest = self._manifests.get(f"{name}:{wanted}", wanted)
        if digest not in self._blobs:
            return None
        if digest in self._slow:
            time.sleep(self._delay_s)
        media_type = f"{OCI}.manifest.v1+json" if kind == "manifests" else "application/octet-stream"
        return media_type, self._blobs[digest], digest

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = registry._answer(self.path)
                if answer is None:
                    self.send_error(404)
                    return
                kind, content, digest = answer
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Docker-Content-Digest", digest)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET  # noqa: N815 - the name that is called

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler
