"""`otel-kernel bridge`: an HTTP service that takes OTLP and answers only once the operator has been told, or not."""

import asyncio
import hmac
import logging
import math
import signal
import sys
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web
from yarl import URL

from otel_kernel.bridge import body, credentials, messages
from otel_kernel.bridge.answers import Outcome
from otel_kernel.bridge.body import RefusedError
from otel_kernel.bridge.counts import CONTENT_TYPE, Counts
from otel_kernel.bridge.credentials import Identity, TokenError
from otel_kernel.bridge.delivery import Delivery
from otel_kernel.bridge.ledger import Ledger, LedgerError
from otel_kernel.bridge.messages import Message, Unpostable
from otel_kernel.bridge.operator import ANSWER_LIMIT_S, Operator
from otel_kernel.bridge.told import Birth, Told
from otel_kernel.declaration import SettingsError
from otel_kernel.settings import Bridge

AT_ONCE = 8  # requests; further ones are asked to come again
COME_AGAIN_S = 1.0
IDLE_LIMIT_S = 75.0
LINGER_LIMIT_S = 2.0
LOOK_AT_FILES_S = 30.0
SHUTDOWN_LIMIT_S = ANSWER_LIMIT_S - 1.0  # what the operator has then is ambiguous

log = logging.getLogger(__name__)


def bridge(settings: Bridge) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status. Raises SettingsError for what cannot be."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="otel-kernel: %(message)s")
    refuse_what_cannot_be(settings)
    try:
        with Ledger(settings.state or _required("STATE")) as ledger:
            asyncio.run(serve(settings, ledger))
    except LedgerError as error:
        raise SettingsError(f"OTEL_KERNEL_BRIDGE_STATE={settings.state} is not allowed: {error}") from None
    except OSError as error:
        raise SettingsError(f"OTEL_KERNEL_BRIDGE_LISTEN: {error.strerror or error}") from None
    return 0


def refuse_what_cannot_be(settings: Bridge) -> None:
    """Raise SettingsError for settings that are required, or that need each other."""
    if settings.url is None:
        _required("URL")
    pairs = {
        "CERT": (settings.cert_file, settings.key_file),
        "LISTEN_CERT": (settings.listen_cert_file, settings.listen_key_file),
    }
    for name, (certificate, key) in pairs.items():
        if key is not None and certificate is None:
            key_name = name.replace("CERT", "KEY")
            raise SettingsError(f"OTEL_KERNEL_BRIDGE_{key_name}_FILE is not allowed without ..._{name}_FILE")
    for path in (settings.token_file, settings.listen_token_file):
        try:
            _ = path and credentials.token(path)
        except TokenError as error:
            raise SettingsError(str(error)) from None


def _required(name: str) -> NoReturn:
    raise SettingsError(f"OTEL_KERNEL_BRIDGE_{name} is not set, and bridge needs it")


async def serve(settings: Bridge, ledger: Ledger) -> None:
    """Serve until a signal comes. Raises SettingsError, LedgerError, OSError when the address is taken."""
    counts = Counts()
    for kind, count in ledger.settle_intents().items():
        counts.settled(kind, Outcome.AMBIGUOUS, "the bridge ended between intent and answer", count)
    ledger.prune()
    identity = credentials.for_listening(settings)
    stopped = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(Operator(settings))
        service = Service(settings, ledger, Delivery(ledger, operator, counts), counts)
        runner = web.AppRunner(
            service.application(),
            auto_decompress=False,  # the bound on what is unpacked is ours
            keepalive_timeout=IDLE_LIMIT_S,
            lingering_time=LINGER_LIMIT_S,
            shutdown_timeout=SHUTDOWN_LIMIT_S,
            access_log=None,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, port = settings.listen
        await web.TCPSite(runner, host, port, ssl_context=identity.context if identity else None).start()
        at = URL.build(scheme="https" if identity else "http", host=host, port=port)
        shown = URL(settings.url or "").with_user(None)
        sys.stderr.write(f"ready: OTLP/HTTP at {at}, the operator at {shown}, {ledger.count()} ids kept\n")
        sys.stderr.flush()
        await _until(stopped, identity)


async def _until(stopped: asyncio.Event, identity: Identity | None) -> None:
    """Wait for the end, and look now and then whether the certificate was replaced."""
    while not stopped.is_set():
        try:
            await asyncio.wait_for(stopped.wait(), LOOK_AT_FILES_S)
        except TimeoutError:
            try:
                if identity:
                    identity.refresh()
            except OSError as error:
                log.warning("the certificate for listening cannot be read, the old one is used: %s", error)


class Service:
    """The handlers of the HTTP service."""

    def __init__(self, settings: Bridge, ledger: Ledger, delivery: Delivery, counts: Counts) -> None:
        self._token_file = settings.listen_token_file
        self._ledger = ledger
        self._delivery = delivery
        self._counts = counts
        self._under_way = 0
        self._reading = asyncio.Lock()

    def application(self) -> web.Application:
        """Return the routes."""
        application = web.Application()
        application.add_routes(
            [
                web.post("/v1/{signal:traces|metrics|logs}", self.take),
                web.get("/health", self.health),
                web.get("/metrics", self.metrics),
            ]
        )
        return application

    async def health(self, _: web.Request) -> web.Response:
        """Answer 200 unless what is to be posted could not be written down."""
        if self._delivery.is_writable:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "the state directory cannot be written"}, status=503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer with the bridge's own metrics."""
        text = self._counts.exposition(self._ledger.count(), is_waiting=self._delivery.pause.left_s() > 0)
        return web.Response(text=text, headers={"Content-Type": CONTENT_TYPE})

    async def take(self, request: web.Request) -> web.Response:
        """Take one OTLP request: 2xx when all in it is done with, 503 when something is to be brought again."""
        response = await self._answer(request)
        self._counts.requests[request.match_info["signal"], response.status] += 1
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if not self._is_known(request):
            return _refusal(HTTPStatus.UNAUTHORIZED, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
        if self._under_way >= AT_ONCE:
            return _later(COME_AGAIN_S)
        self._under_way += 1
        try:
            written = body.form(request.content_type, request.headers.get("Content-Encoding", "").lower())
            sent = await body.received(request.content.iter_any(), request.content_length)
            async with self._reading:  # one at a time: a body takes many times its size while it is read
                told = await asyncio.to_thread(body.understood, sent, written, request.match_info["signal"])
            later_s = await self._deliver(told)
        except RefusedError as error:
            self._counts.complain("refused", f"a sender's request is refused with {error.status}: {error}")
            return _refusal(error.status, str(error))
        finally:
            self._under_way -= 1
        if later_s is not None:
            return _later(later_s)
        return web.Response(body=body.TAKEN[written.content_type], headers={"Content-Type": written.content_type})

    def _is_known(self, request: web.Request) -> bool:
        if self._token_file is None:
            return True
        try:
            wanted = f"Bearer {credentials.token(self._token_file)}"
        except TokenError as error:
            self._counts.complain("token", f"nobody is let in: {error}")
            return False
        return hmac.compare_digest(request.headers.get("Authorization", "").encode("utf-8", "replace"), wanted.encode())

    async def _deliver(self, told: list[Told]) -> float | None:
        """Deliver all. Returns the seconds after which the sender should bring them again, None when it need not."""
        later_s = None
        for each in told:
            if isinstance(each, Birth):
                self._counts.steps_cut += max(0, len(each.steps) - messages.STEPS_MAX)
            message = messages.of_birth(each) if isinstance(each, Birth) else messages.of_event(each)
            if isinstance(message, Unpostable):
                self._counts.settled(message.kind, message.reason)
            elif isinstance(message, Message):
                wait_s = await self._delivery.deliver(message)
                later_s = wait_s if later_s is None else max(later_s, wait_s or 0.0)
        return later_s


def _later(after_s: float) -> web.Response:
    headers = {"Retry-After": str(math.ceil(after_s)), "Content-Type": "application/json"}
    return web.Response(body=b"{}", status=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)


def _refusal(status: HTTPStatus, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=f"{reason}\n", status=status, headers=headers)
