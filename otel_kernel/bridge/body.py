"""A request's body, within bounds: read, unpacked, and understood as OTLP or refused with a clear status."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple

from otel_kernel.bridge import otlp_json, otlp_protobuf
from otel_kernel.bridge.told import MalformedError, Told

SENT_LIMIT_BYTES = 4 << 20  # a collector's batch is bounded to a part of it (collector-config/)
UNPACKED_LIMIT_BYTES = 8 << 20
READ_LIMIT_S = 10.0
JSON = "application/json"
PROTOBUF = "application/x-protobuf"

Read = Callable[[bytes], Iterable[Told]]
READERS: dict[tuple[str, str], Read] = {
    ("traces", JSON): otlp_json.births,
    ("traces", PROTOBUF): otlp_protobuf.births,
    ("logs", JSON): otlp_json.events,
    ("logs", PROTOBUF): otlp_protobuf.events,
    ("metrics", JSON): otlp_json.nothing,
    ("metrics", PROTOBUF): otlp_protobuf.nothing,
}
# What an exporter reads from a 2xx: an answer of another content type than the request's counts as failed.
TAKEN = {JSON: b"{}", PROTOBUF: b""}


class RefusedError(Exception):
    """A request that cannot be taken."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Form(NamedTuple):
    """How a request's body is written."""

    content_type: str
    is_packed: bool


def form(content_type: str, encoding: str) -> Form:
    """Return how the body is written. Raises RefusedError for what we cannot read."""
    if content_type not in TAKEN:
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be {JSON} or {PROTOBUF}")
    if encoding not in ("", "identity", "gzip"):
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding must be gzip, or there must be none")
    return Form(content_type, encoding == "gzip")


async def received(chunks: AsyncIterator[bytes], length: int | None) -> bytes:
    """Return what was sent. Raises RefusedError when it is too large or too slow."""
    if length is not None and length > SENT_LIMIT_BYTES:
        raise _too_large("sent", SENT_LIMIT_BYTES)
    body = bytearray()
    try:
        async with asyncio.timeout(READ_LIMIT_S):
            async for chunk in chunks:
                body += chunk
                if len(body) > SENT_LIMIT_BYTES:
                    raise _too_large("sent", SENT_LIMIT_BYTES)
    except TimeoutError:
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {READ_LIMIT_S:.0f} s") from None
    return bytes(body)


def understood(body: bytes, written: Form, signal: str) -> list[Told]:
    """Return what a body tells. Raises RefusedError."""
    plain = _unpacked(body) if written.is_packed else body
    try:
        return list(READERS[signal, written.content_type](plain))
    except MalformedError as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from None


def _unpacked(body: bytes) -> bytes:
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip only
    try:
        plain = unpacking.decompress(body, UNPACKED_LIMIT_BYTES + 1)
    except zlib.error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not gzip") from None
    if len(plain) > UNPACKED_LIMIT_BYTES:
        raise _too_large("unpacked", UNPACKED_LIMIT_BYTES)
    if not unpacking.eof or unpacking.unused_data:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the body is not one whole gzip stream")
    return plain


def _too_large(when: str, limit_bytes: int) -> RefusedError:
    reason = f"the body is larger than {limit_bytes} bytes as {when}"
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
