"""A registry that takes its time: images to be pulled while a pod is born (OCI distribution specification, pull)."""

import json
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.images import OCI, Image, write_layout


class SlowRegistry:
    """A context: serves one image on the loopback device, its layer after a while. containerd asks there by HTTP."""

    def __init__(self, image: Image, directory: Path, delay_s: float) -> None:
        layout = directory / "layout.tar"
        write_layout(image, layout)
        with tarfile.open(layout) as archive:
            files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]
        manifest = json.loads(files["index.json"])["manifests"][0]["digest"]
        self._blobs = {name.removeprefix("blobs/").replace("/", ":"): content for name, content in files.items()}
        self._slow = {layer["digest"] for layer in json.loads(self._blobs[manifest])["layers"]}
        self._manifest = manifest
        self._delay_s = delay_s
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def reference(self) -> str:
        """What a pod's spec calls the image."""
        return f"127.0.0.1:{self._server.server_port}/pulled:1"

    def _answer(self, path: str) -> tuple[str, bytes, str] | None:
        wanted = path.rpartition("/")[2]
        digest = self._manifest if "/manifests/" in path and not wanted.startswith("sha256:") else wanted
        if path.rstrip("/") == "/v2":
            return "application/json", b"{}", ""
        if digest not in self._blobs:
            return None
        if digest in self._slow:
            time.sleep(self._delay_s)
        kind = f"{OCI}.manifest.v1+json" if digest == self._manifest else "application/octet-stream"
        return kind, self._blobs[digest], digest

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
