"""What every request passes first: its id, the API key, the rate limit, the size limit; and a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict

from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nextclick.serving.metrics import REQUESTS, SHED
from nextclick.serving.refusal import AGAIN, RequestRefusedError

API_KEY = "NEXTCLICK_API_KEY"
LARGEST_BODY = 2**20  # bytes
BODY_SECONDS = 3.0  # that a body may take; BentoML gives up at 5, with an answer that is not ours
CLIENTS = 10_000  # whose rate is remembered
GIVEN_UP = 499  # as proxies log a request that nobody waits for any more
HEALTH = frozenset({"/livez", "/healthz", "/readyz"})
OPEN = ("/page/", "/openapi.json")  # what needs no key, and the page itself
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
REQUEST_ID_KEY = "nextclick.request_id"  # of the ASGI scope; BentoML has another request_id there
BEGAN_KEY = "nextclick.began"  # likewise: when it came, by `time.perf_counter`
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
log = logging.getLogger("nextclick.requests")


class Traffic:
    """ASGI middleware of BentoML's application, of which it leaves only the health routes: all else is the API's.

    state: where the service keeps what it runs with; `api_key` there is None for an open one.
    """

    def __init__(self, app: ASGIApp, api: ASGIApp, state: State) -> None:
        self._health = app
        self._api = api
        self._state = state
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH:
            await self._health(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        scope[REQUEST_ID_KEY], scope[BEGAN_KEY] = request_id, began
        status, started = 500, False

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *SAFE]
                if self._state.runtime.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._admit(scope, headers)
            await self._api(scope, _limited(receive), answer)
        except RequestRefusedError as refusal:
            await _send(refusal, request_id, answer)
        except asyncio.CancelledError:  # BentoML gave it up, or the client went away
            status = GIVEN_UP
            raise
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            if not started:  # it failed before the routes, which answer with the same
                await _send(RequestRefusedError(500, "internal error"), request_id, answer)
        finally:
            _tell(scope, status)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raises RequestRefusedError."""
        key, expected = headers.get(b"x-api-key", b""), self._state.runtime.api_key
        known = bool(expected) and hmac.compare_digest(key, expected)
        address = scope.get("client") or ("",)
        if not self._has_token(key if known else address[0].encode(), time.monotonic()):
            SHED.labels("rate").inc()
            raise RequestRefusedError(429, "too many requests of this client: slow down", headers=AGAIN)
        path = scope["path"]
        if expected and not known and path != "/" and not path.startswith(OPEN):
            SHED.labels("key").inc()
            raise RequestRefusedError(401, "expected the API key in the header X-API-Key")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > LARGEST_BODY:
            raise RequestRefusedError(413, f"expected at most {LARGEST_BODY} bytes")

    def _has_token(self, client: bytes, now: float) -> bool:
        """A bucket of a second's requests, which fills up at the allowed rate."""
        rate = self._state.runtime.params.serving.requests_per_second
        tokens, since = self._buckets.pop(client, (rate, now))
        tokens = min(rate, tokens + (now - since) * rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens), now
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


def _limited(receive: Receive) -> Receive:
    """Raises RequestRefusedError when a body of undeclared length grows too large, or takes too long to come."""
    received, whole = 0, False
    latest = asyncio.get_running_loop().time() + BODY_SECONDS

    async def counted() -> Message:
        nonlocal received, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(latest):
                message = await receive()
        except TimeoutError as error:
            raise RequestRefusedError(408, f"expected the whole body within {BODY_SECONDS:.0f} s") from error
        received += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if received > LARGEST_BODY:
            raise RequestRefusedError(413, f"expected at most {LARGEST_BODY} bytes")
        return message

    return counted


def _tell(scope: Scope, status: int) -> None:
    """To the metrics and the log."""
    route = getattr(scope.get("route"), "path", "") or "other"
    REQUESTS.labels(route, status).inc()
    log.info(
        "request",
        extra={
            "request_id": scope[REQUEST_ID_KEY],
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round((time.perf_counter() - scope[BEGAN_KEY]) * 1e3, 3),
        },
    )


async def _send(refusal: RequestRefusedError, request_id: str, send: Send) -> None:
    headers = {"content-type": "application/json", **refusal.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": refusal.body(request_id)})
