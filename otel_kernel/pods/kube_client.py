"""The API server through Kubernetes' official client: what this agent asks of it, and how it fails.

The client is imported here and only when an API server is asked: it takes a second and some 20 MB. Its models would
take as much again, and more for each pod than everything else that is kept of it: configuration, credentials and
requests are the client's, answers are taken as JSON.
"""

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from otel_kernel.pods import asking

CONNECT_LIMIT_S = 5.0
ANSWER_LIMIT_S = 60.0  # an API server under load may be slow; nobody waits for it here
LOOK_UP_LIMIT_S = 10.0
LONGEST_BYTES = 64 << 20  # of an answer
LONGEST_POD_BYTES = 8 << 20  # etcd takes objects of 1.5 MiB
PAGE = 250

OK, UNAUTHORIZED, FORBIDDEN, GONE = 200, 401, 403, 410
_KINDS = {UNAUTHORIZED: "unauthorized", FORBIDDEN: "forbidden", 404: "not_found", GONE: "gone", 429: "busy"}

PODS = "/api/v1/pods"
# Owners that are controlled themselves: what is asked for the one above.
CONTROLLED = {
    "ReplicaSet": "/apis/apps/v1/namespaces/{namespace}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
}


class KubeError(Exception):
    """The API server did not do what was asked. `kind` is one of a few words, the message one line."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(" ".join(words.split()))
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Page:
    """Objects of a list, and from which version on changes of them can be watched."""

    items: tuple[object, ...]
    version: str


def is_configured(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether it is known which API server to ask: by KUBECONFIG, or as a pod's service account."""
    return bool(environ.get("KUBECONFIG") or environ.get("KUBERNETES_SERVICE_HOST"))


class KubeClient:
    """One connection, with the credentials that were there when it was made. Not for several threads at once."""

    def __init__(self) -> None:
        """Read configuration and credentials. Raises KubeError."""
        from kubernetes import client, config  # noqa: PLC0415 - see above
        from urllib3.exceptions import HTTPError  # noqa: PLC0415
        from yaml import YAMLError  # noqa: PLC0415

        configuration = client.Configuration()
        try:
            kubeconfig = os.environ.get("KUBECONFIG")
            if kubeconfig:
                config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (config.ConfigException, YAMLError, OSError, ValueError, TypeError, KeyError) as error:
            raise KubeError("configuration", f"no way to the API server: {error}") from None
        configuration.retries = False  # when to try again is decided by who asks
        self._client = client.ApiClient(configuration)
        self._client.user_agent = "otel-kernel"
        self._api_error = client.ApiException
        self._failures: tuple[type[Exception], ...] = (
            client.ApiException,
            HTTPError,
            OSError,
            ValueError,
            RecursionError,
        )

    def close(self) -> None:
        """Close its connections."""
        self._client.rest_client.pool_manager.clear()

    def pods(self, node: str, version: str | None) -> Page:
        """Return the pods of the node; version `0`: as the server remembers them. Raises KubeError."""
        items: list[object] = []
        more: str | None = None
        while True:
            # A page that goes on where another ended has that one's version.
            position = {"continue": more} if more else {"resourceVersion": version} if version else {}
            query = {"fieldSelector": _on(node), "limit": PAGE, **position}
            answer = self._ask(PODS, ANSWER_LIMIT_S, query)
            items += _list(answer.get("items"))
            metadata = _dict(answer.get("metadata"))
            more = metadata.get("continue") or None
            if more is None:
                return Page(tuple(items), str(metadata.get("resourceVersion") or ""))

    def watch(self, node: str, version: str, limit_s: int, silence_s: float) -> Iterator[tuple[str, object]]:
        """Return, once the server has agreed, what changes from a version on: ADDED, MODIFIED, DELETED, BOOKMARK.

        Each with the object; it ends after some `limit_s`. Both raise KubeError: of kind `gone` when that version is
        too old, `timeout` when nothing came for `silence_s`: bookmarks come about once a minute.
        """
        query = {
            "fieldSelector": _on(node),
            "resourceVersion": version,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": limit_s,
        }
        return self._changes(self._open(PODS, silence_s, query))

    def _changes(self, answer: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401 - no types
        try:
            with closing(answer):
                for line in asking.lines(answer.stream(), LONGEST_POD_BYTES):
                    told = _dict(json.loads(line))
                    if told.get("type") == "ERROR":
                        raise _status_error(_dict(told.get("object")))
                    yield str(told.get("type")), told.get("object")
        except self._failures as error:
            raise self._explained(error) from None

    def node(self, name: str) -> Mapping[str, Any]:
        """Return a node's object. Raises KubeError."""
        return self._ask("/api/v1/nodes/{name}", LOOK_UP_LIMIT_S, name=name)

    def owner(self, kind: str, namespace: str, name: str) -> Mapping[str, Any]:
        """Return an object that controls a pod and may be controlled itself. Raises KubeError."""
        collection = CONTROLLED[kind]
        return self._ask(f"{collection}/{{name}}", LOOK_UP_LIMIT_S, namespace=namespace, name=name)

    def events(self, namespace: str, pod_uid: str) -> Mapping[str, Any]:
        """Return the list of the events of a pod. Raises KubeError."""
        query = {"fieldSelector": f"involvedObject.uid={pod_uid}", "limit": PAGE}
        return self._ask("/api/v1/namespaces/{namespace}/events", LOOK_UP_LIMIT_S, query, namespace=namespace)

    def _ask(
        self, path: str, limit_s: float, query: Mapping[str, object] | None = None, **names: str
    ) -> dict[str, Any]:
        try:
            with closing(self._open(path, limit_s, query, **names)) as answer:
                content = answer.read(LONGEST_BYTES + 1)
            if len(content) > LONGEST_BYTES:
                raise KubeError("too_large", f"an answer of more than {LONGEST_BYTES} bytes")
            return _dict(json.loads(content))
        except self._failures as error:
            raise self._explained(error) from None

    def _open(self, path: str, silence_s: float, query: Mapping[str, object] | None = None, **names: str) -> Any:  # noqa: ANN401 - urllib3's answer
        """Return the answer to a GET, of which nothing is read yet. Raises KubeError unless its status is 200."""
        try:
            request = self._client.param_serialize(
                "GET", path, path_params=names, query_params=list((query or {}).items()), auth_settings=["BearerToken"]
            )
            answer = self._client.call_api(*request, _request_timeout=(CONNECT_LIMIT_S, silence_s)).response
        except self._failures as error:
            raise self._explained(error) from None
        if answer.status != OK:
            answer.close()
            raise KubeError(_kind(answer.status), f"the API server says {answer.status} {answer.reason}")
        return answer

    def _explained(self, error: Exception) -> KubeError:
        if isinstance(error, self._api_error):  # the client's word for a failure of TLS
            return KubeError("tls", f"the API server is not trusted: {getattr(error, 'reason', '')}")
        if isinstance(error, ValueError | RecursionError) and not isinstance(error, OSError):
            return KubeError("malformed", f"the API server answers what is no JSON: {error}"[:200])
        words = f"{type(error).__name__}: {error}"
        if isinstance(error, TimeoutError) or "timed out" in str(error):
            return KubeError("timeout", f"the API server does not answer in time: {words}")
        if isinstance(error, ssl.SSLError) or "SSL" in str(error):
            return KubeError("tls", f"the API server is not trusted: {words}")
        return KubeError("unreachable", f"the API server cannot be reached: {words}")


def _status_error(status: Mapping[str, Any]) -> KubeError:
    code = status.get("code")
    return KubeError(_kind(code if isinstance(code, int) else 0), f"the API server ends the watch: {code}")


def _kind(status: int) -> str:
    return _KINDS.get(status, "refused" if status else "malformed")


def _on(node: str) -> str:
    return f"spec.nodeName={node}"


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
