"""The operator, asked over HTTP: one POST, one verdict."""

from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from otel_kernel.bridge import credentials
from otel_kernel.bridge.answers import Again, Answer, Outcome, judge
from otel_kernel.bridge.credentials import TokenError, token
from otel_kernel.settings import Bridge

CONNECT_LIMIT_S = 3.0
ANSWER_LIMIT_S = 10.0  # it was seen to hang for as long as its API server did
LONGEST_ANSWER = 65_536


class Operator:
    """A context: the operator's webhook."""

    def __init__(self, settings: Bridge, answer_limit_s: float = ANSWER_LIMIT_S) -> None:
        """Make it. Raises SettingsError for certificates and tokens that are none."""
        self._url = URL(settings.url or "")
        self._token_file: Path | None = settings.token_file
        self._tls, self._identity = credentials.for_operator(settings)
        self._limit = aiohttp.ClientTimeout(total=answer_limit_s, sock_connect=CONNECT_LIMIT_S)

    async def __aenter__(self) -> Self:
        # A new connection for each POST: what breaks on an old one may have been taken or not.
        connector = aiohttp.TCPConnector(ssl=self._tls, force_close=True, limit=1)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=self._limit, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, body: bytes) -> Answer:
        """Post one message and return what came of it. Never raises, but for cancellation."""
        try:
            headers = self._headers()
        except (TokenError, OSError) as error:
            return Answer(Again.MISCONFIGURED, str(error))
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                said = await _first_bytes(response.content)
                return judge(response.status, said, response.headers)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Answer(Again.UNREACHABLE, str(error))  # no connection was made, so nothing was sent
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(Outcome.AMBIGUOUS, str(error) or type(error).__name__)

    def _headers(self) -> dict[str, str]:
        if self._identity is not None:
            self._identity.refresh()
        headers = {"Content-Type": "application/json", "User-Agent": "otel-kernel-bridge"}
        return headers | ({"Authorization": f"Bearer {token(self._token_file)}"} if self._token_file else {})


async def _first_bytes(content: aiohttp.StreamReader) -> bytes:
    said = b""
    while len(said) < LONGEST_ANSWER and (chunk := await content.read(LONGEST_ANSWER - len(said))):
        said += chunk
    return said
