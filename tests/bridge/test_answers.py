"""What the operator's answers mean, each as it was seen, or as a proxy before it would say."""

import json

import pytest

from otel_kernel.bridge.answers import Again, Outcome, judge
from tests.bridge.operator_mock import ACCEPTED, API_DOWN, CONFLICT, NO_NAMESPACE, failed


def said(status: str, message: str) -> bytes:
    """Return the operator's own answer."""
    return json.dumps({"status": status, "message": message}).encode()


ENVOY = b"upstream connect error or disconnect/reset before headers. reset reason: "


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, json.dumps(ACCEPTED).encode(), Outcome.POSTED),
        (200, said("skipped", "Pod web not configured for monitoring"), Outcome.SKIPPED),
        (200, said("skipped", "System namespace pod web"), Outcome.SKIPPED),
        (200, said("skipped", "Pod web not found or is system process"), Outcome.NOT_FOUND),
        (200, said("error", "?"), Outcome.REFUSED),
        (200, b"", Outcome.AMBIGUOUS),
        (200, b"<html>Please log in</html>", Outcome.AMBIGUOUS),
        (200, b"[1]", Outcome.AMBIGUOUS),
        (200, b"[" * 60_000, Outcome.AMBIGUOUS),
        (204, b"", Outcome.AMBIGUOUS),
        (400, json.dumps(CONFLICT).encode(), Again.CONFLICT),
        (400, json.dumps(failed('ApiError: podbirthcertificates "x" already exists')).encode(), Again.CONFLICT),
        (400, json.dumps(API_DOWN).encode(), Again.API_DOWN),
        (400, json.dumps(NO_NAMESPACE).encode(), Outcome.REFUSED),
        (400, json.dumps(failed("ApiError: etcdserver: request is too large")).encode(), Outcome.REFUSED),
        (400, json.dumps(failed("ApiError: etcdserver: request timed out")).encode(), Outcome.AMBIGUOUS),
        (400, json.dumps(failed("HyperError: connection closed before message completed")).encode(), Outcome.AMBIGUOUS),
        (400, b"Failed to parse the request body as JSON: ...", Outcome.REFUSED),
        (413, b"length limit exceeded", Outcome.REFUSED),
        (422, b"Failed to deserialize the JSON body into the target type", Outcome.REFUSED),
        (301, b"", Again.MISCONFIGURED),
        (401, b"", Again.MISCONFIGURED),
        (403, b"", Again.MISCONFIGURED),
        (404, b"", Again.MISCONFIGURED),
        (405, b"", Again.MISCONFIGURED),
        (415, b"", Again.MISCONFIGURED),
        (429, b"", Again.BUSY),
        (503, b"", Again.BUSY),
        (503, ENVOY + b"connection failure", Again.BUSY),
        (503, ENVOY + b"connection termination", Outcome.AMBIGUOUS),
        (500, b"", Outcome.AMBIGUOUS),
        (502, b"", Outcome.AMBIGUOUS),
        (504, b"", Outcome.AMBIGUOUS),
    ],
)
def test_verdicts(status: int, body: bytes, verdict: Outcome | Again) -> None:
    """Only what certainly was not taken is worth another attempt."""
    assert judge(status, body, {}).verdict is verdict


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("999999", 300.0), ("soon", None), ("-1", None)])
def test_retry_after(said: str, seconds: float | None) -> None:
    """The operator's wish is heard within bounds."""
    assert judge(503, b"", {"Retry-After": said}).retry_after_s == seconds


def test_words_are_one_line() -> None:
    """What is logged of an answer is short and has no control characters."""
    words = judge(500, b"\x1b[31m" + b"a\nb" * 1000, {}).words
    assert words.isprintable()
    assert len(words) < 250
