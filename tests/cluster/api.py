"""The API server as the tests speak to it: JSON over HTTPS with an administrator's token."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ANSWER_LIMIT_S = 20
CONFLICT = 409
NOT_FOUND = 404

Object = dict[str, Any]  # as the API tells and takes it


class Api:
    """One API server and who asks it. Every path begins with /api or /apis."""

    def __init__(self, url: str, certificate: Path, token: str) -> None:
        self.url = url
        self.certificate = certificate
        self._token = token

    def ready(self) -> bool:
        """Whether it serves."""
        if not self.certificate.exists():
            return False
        try:
            return self._ask("GET", "/readyz") == b"ok"
        except OSError:
            return False

    def get(self, path: str) -> Object:
        """Return an object or list. Raises urllib.error.HTTPError."""
        return self._json("GET", path)

    def create(self, path: str, body: Mapping[str, object]) -> Object:
        """Create an object in the collection; return what is there when it exists already."""
        try:
            return self._json("POST", path, body)
        except urllib.error.HTTPError as error:
            if error.code != CONFLICT:
                raise RuntimeError(f"POST {path}: {error.code} {error.read()[:500].decode()}") from None
            metadata = body["metadata"]
            if not isinstance(metadata, dict):
                raise
            return self.get(f"{path}/{metadata['name']}")

    def patch(self, path: str, body: object, kind: str = "strategic-merge-patch") -> Object:
        """Change an object."""
        return self._json("PATCH", path, body, f"application/{kind}+json")

    def delete(self, path: str, grace_s: int = 0) -> None:
        """Delete an object; one that is not there is fine."""
        try:
            self._json("DELETE", path, {"gracePeriodSeconds": grace_s})
        except urllib.error.HTTPError as error:
            if error.code != NOT_FOUND:
                raise

    def wait(self, path: str, holds: Callable[[Object], bool], limit_s: float = 60) -> Object:
        """Return the object once something holds of it. Raises TimeoutError."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                found = self.get(path)
            except OSError as error:
                found = {"error": str(error)}
            if "error" not in found and holds(found):
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} within {limit_s} s: {json.dumps(found.get('status', found))[:1500]}")
            time.sleep(0.1)

    def _json(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Object:
        answer: Object = json.loads(self._ask(method, path, body, kind))
        return answer

    def _ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - https
        trusting = ssl.create_default_context(cafile=str(self.certificate))
        with urllib.request.urlopen(request, timeout=ANSWER_LIMIT_S, context=trusting) as answer:  # noqa: S310
            content: bytes = answer.read()
        return content
