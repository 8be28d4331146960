"""OTLP over HTTP, protobuf bodies."""

import gzip
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import requests
import urllib3
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from requests.utils import get_environ_proxies

from otel_kernel import __version__
from otel_kernel.telemetry.endpoint import Delivered, OtlpEndpoint, Outcome, Refused, Retry, delivered, one_line
from otel_kernel.telemetry.signals import Signal

PROTOBUF = "application/x-protobuf"
ANSWER_LIMIT_BYTES = 64 << 10
GZIP_LEVEL = 1  # level 9 takes four times as long for a tenth fewer bytes
# opentelemetry.io/docs/specs/otlp/#retryable-response-codes; a 500 is never repeated.
RETRYABLE = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class HttpTransport:
    """A connection to one endpoint, kept open between requests."""

    def __init__(self, endpoint: OtlpEndpoint) -> None:
        self._url = endpoint.url
        self._signal = endpoint.signal
        self._gzip = endpoint.compression == "gzip"
        self._session = requests.Session()
        # Not the whole environment: a ~/.netrc would replace the Authorization header that was asked for.
        self._session.trust_env = False
        self._session.proxies = get_environ_proxies(endpoint.url)
        self._session.verify = str(endpoint.certificate) if endpoint.certificate else True
        self._session.cert = _client_certificate(endpoint)
        self._session.headers.update(_headers(endpoint))

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        """Send one serialised request and wait for the answer."""
        body = gzip.compress(request, GZIP_LEVEL) if self._gzip else request
        try:
            # A redirect would carry the headers, a token among them, to wherever the answer says.
            answer = self._session.post(self._url, body, timeout=timeout_s, stream=True, allow_redirects=False)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return Retry(_innermost(error))
        with answer:
            return _outcome(answer, self._signal)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _headers(endpoint: OtlpEndpoint) -> dict[str, str]:
    encoding = {"Content-Encoding": "gzip"} if endpoint.compression == "gzip" else {}
    agent = {"User-Agent": f"otel-kernel/{__version__}"}
    return {**agent, **endpoint.headers, "Content-Type": PROTOBUF, **encoding}


def _client_certificate(endpoint: OtlpEndpoint) -> str | tuple[str, str] | None:
    if endpoint.client_certificate and endpoint.client_key:
        return str(endpoint.client_certificate), str(endpoint.client_key)
    return str(endpoint.client_certificate) if endpoint.client_certificate else None


def _outcome(answer: requests.Response, signal: Signal) -> Outcome:
    body = _body(answer)
    if answer.ok and answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
        return _delivered(body, signal) if answer.headers.get("Content-Type", "").startswith(PROTOBUF) else Delivered()
    reason = one_line(f"HTTP {answer.status_code} {answer.reason or ''}: {_message(answer, body)}")
    if answer.status_code in RETRYABLE:
        return Retry(reason, _retry_after_s(answer.headers.get("Retry-After")))
    return Refused(reason)


def _body(answer: requests.Response) -> bytes:
    # The status line has decided already; an answer that breaks off after it says no more.
    try:
        return answer.raw.read(ANSWER_LIMIT_BYTES, decode_content=True) or b""
    except (OSError, urllib3.exceptions.HTTPError):
        return b""


def _delivered(body: bytes, signal: Signal) -> Delivered:
    try:
        return delivered(signal.read_answer(body), signal)
    except DecodeError:
        return Delivered()


def _message(answer: requests.Response, body: bytes) -> str:
    if answer.headers.get("Content-Type", "").startswith(PROTOBUF):
        try:
            return str(Status.FromString(body).message)
        except DecodeError:
            return ""
    return body.decode(errors="replace")


def _retry_after_s(header: str | None) -> float | None:
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _innermost(error: BaseException) -> str:
    # requests wraps what happened in three exceptions and half a page; the first cause is the line to show.
    while error.__context__:
        error = error.__context__
    return one_line(str(error) or type(error).__name__)
