"""What the operator's answer means. Its codes alone do not tell: see the table in docs/operating.md."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus


class Outcome(StrEnum):
    """What became of a message that was posted."""

    POSTED = "posted"
    SKIPPED = "skipped"  # the operator's own choice: the pod is not monitored
    NOT_FOUND = "not_found"  # it skipped the message because it found no such pod, or could not ask for it
    REFUSED = "refused"  # it will never take this one
    AMBIGUOUS = "ambiguous"  # it may have taken it, so it is not told again


class Again(StrEnum):
    """Why a message that certainly was not taken is worth another attempt."""

    UNREACHABLE = "unreachable"
    CONFLICT = "conflict"  # somebody else changed the object at the same time
    API_DOWN = "api_down"  # the operator cannot reach the API server
    BUSY = "busy"
    MISCONFIGURED = "misconfigured"  # a path, a token: somebody can mend it, and until then nothing is lost


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict, and the operator's words for people."""

    verdict: Outcome | Again
    words: str = ""
    retry_after_s: float | None = None


LONGEST_WORDS = 200
LONGEST_RETRY_AFTER_S = 300.0
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407, 415, 421})
_REFUSED = frozenset({400, 413, 414, 422, 431})
_CONFLICT = re.compile(r"Conflict|AlreadyExists|already exists|the object has been modified")
_API_DOWN = re.compile(r"\(Connect\)|Connection refused|tcp connect error|dns error|ServiceUnavailable|TooManyRequests")
_UNSURE = re.compile(r"[Tt]imed? ?out|HyperError|connection closed|reset by peer")


def judge(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Return what an answer with this status and body means."""
    said, message = _said(body)
    words = _one_line(message or body.decode("utf-8", "replace"))
    if 200 <= status < 300:  # noqa: PLR2004 - success
        skipped = Outcome.NOT_FOUND if "not found" in message else Outcome.SKIPPED
        told = {"accepted": Outcome.POSTED, "skipped": skipped, "error": Outcome.REFUSED}
        return Answer(told.get(said, Outcome.AMBIGUOUS), words)
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.SERVICE_UNAVAILABLE and not _was_cut(words)):
        return Answer(Again.BUSY, words, _retry_after_s(headers))
    if 300 <= status < 400 or status in _MISCONFIGURED:  # noqa: PLR2004 - redirections
        return Answer(Again.MISCONFIGURED, f"{status} {words}")
    if status in _REFUSED:
        return Answer(_of_error(message), words)
    return Answer(Outcome.AMBIGUOUS, f"{status} {words}")


def _of_error(message: str) -> Outcome | Again:
    """Return what the operator's own error, a 400, means: it passes on what the API server or the way there said."""
    if _CONFLICT.search(message):
        return Again.CONFLICT
    if _API_DOWN.search(message):
        return Again.API_DOWN
    return Outcome.AMBIGUOUS if _UNSURE.search(message) else Outcome.REFUSED


def _was_cut(words: str) -> bool:
    """Return whether a mesh's proxy says that the connection broke after the request had gone on (Envoy's words)."""
    return "reset reason" in words and "connection failure" not in words


def _said(body: bytes) -> tuple[str, str]:
    """Return the status and the message of the operator's own answers; empty where they are not its own."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(parsed, dict):
        return "", ""
    return str(parsed.get("status", "")), str(parsed.get("message", ""))


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    said = headers.get("Retry-After", "")
    return min(float(said), LONGEST_RETRY_AFTER_S) if re.fullmatch(r"[0-9]{1,6}", said) else None


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:LONGEST_WORDS]).strip()
