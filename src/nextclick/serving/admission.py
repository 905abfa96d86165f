"""What every request passes before it is computed: its id, the API key, the limits of rate and size, a line in the log,
and the queue in which requests wait for the event loop."""

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

from nextclick.serving.observability import REQUESTS, SHED
from nextclick.serving.schema import RETRY_LATER, RequestRefusedError

MAX_BODY_BYTES = 2**20
BODY_TIMEOUT = 3.0  # seconds until a body must have arrived; BentoML gives up at 5, with an answer that is not ours
MAX_CLIENTS = 10_000  # whose rates are remembered
CLIENT_CLOSED = 499  # the status that proxies log for a request whose client went away
HEALTH_ROUTES = frozenset({"/livez", "/healthz", "/readyz"})
QUEUED_ROUTES = frozenset({"/recommend", "/recommend_batch"})
OPEN_ROUTES = ("/page/", "/openapi.json")  # which need no key, as the page at / does not
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
REQUEST_ID_KEY = "nextclick.request_id"  # in the ASGI scope, where BentoML has a request_id of its own
BEGAN_KEY = "nextclick.began"  # in the ASGI scope: when the request came, by `time.perf_counter`
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
SMOOTHING = 0.05  # weight of the newest in the usual length of a slot
log = logging.getLogger("nextclick.requests")


class Traffic:
    """ASGI middleware that leaves BentoML's application only the health routes; the API answers all others.

    state: holds the `Runtime`, whose `api_key` is None if the service asks for no key.
    """

    def __init__(self, app: ASGIApp, api: ASGIApp, state: State) -> None:
        self._health = app
        self._api = api
        self._state = state
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH_ROUTES:
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
                added = (b"x-request-id", request_id.encode()), *SECURITY_HEADERS
                message["headers"] = [*message.get("headers", ()), *added]
                if self._state.runtime.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._admit(scope, headers)
            await self._api(scope, _limited(receive), answer)
        except RequestRefusedError as refusal:
            await _send(refusal, request_id, answer)
        except asyncio.CancelledError:  # BentoML gave it up, or the client went away
            status = CLIENT_CLOSED
            raise
        except Exception:
            log.exception("request failed", extra={"request_id": request_id})
            if not started:  # it failed before the routes, which answer with the same
                await _send(RequestRefusedError(500, "internal error"), request_id, answer)
        finally:
            _report(scope, status)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raises RequestRefusedError."""
        key, expected = headers.get(b"x-api-key", b""), self._state.runtime.api_key
        authorised = bool(expected) and hmac.compare_digest(key, expected)
        address = scope.get("client") or ("",)
        if not self._has_token(key if authorised else address[0].encode(), time.monotonic()):
            SHED.labels("rate").inc()
            raise RequestRefusedError(429, "too many requests of this client: slow down", headers=RETRY_LATER)
        path = scope["path"]
        if expected and not authorised and path != "/" and not path.startswith(OPEN_ROUTES):
            SHED.labels("key").inc()
            raise RequestRefusedError(401, "expected the API key in the header X-API-Key")
        # before the body is read and parsed, which costs as much as the queue's answer to it
        if path in QUEUED_ROUTES:
            self._state.runtime.queue.require_room()
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
            raise RequestRefusedError(413, f"expected at most {MAX_BODY_BYTES} bytes")

    def _has_token(self, client: bytes, now: float) -> bool:
        """Take a token from the client's bucket, which holds a second's requests and fills at the allowed rate."""
        rate = self._state.runtime.params.serving.requests_per_second
        tokens, since = self._buckets.pop(client, (rate, now))
        tokens = min(rate, tokens + (now - since) * rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens), now
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


def _limited(receive: Receive) -> Receive:
    """Raises RequestRefusedError when a body of undeclared length grows too large, or takes too long to come."""
    received, complete = 0, False
    deadline = asyncio.get_running_loop().time() + BODY_TIMEOUT

    async def counted() -> Message:
        nonlocal received, complete
        if complete:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise RequestRefusedError(408, f"expected the whole body within {BODY_TIMEOUT:.0f} s") from error
        received += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if received > MAX_BODY_BYTES:
            raise RequestRefusedError(413, f"expected at most {MAX_BODY_BYTES} bytes")
        return message

    return counted


def _report(scope: Scope, status: int) -> None:
    """Count the request and log it."""
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
    body = refusal.body(request_id)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refusal.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


class AdmissionQueue:
    """Computes one request at a time, in the order of arrival; refuses new ones while the wait would be too long.

    `async with queue:` holds the slot. The event loop itself computes: a request that took another thread would wait
    for the interpreter.
    """

    def __init__(self, max_wait_ms: float) -> None:
        self._lock = asyncio.Lock()
        self._max_wait = max_wait_ms / 1e3
        self._waiting = 0
        self._usual = 0.002  # seconds from one slot to the next while others wait, HTTP among them
        self._began = 0.0

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def acquire(self) -> None:
        """Wait for the slot.

        Raises RequestRefusedError (429) if those before will take too long. It looks ahead, not at how long the last
        one waited: after a stall the queue is soon empty, and a refusal would only cost recommendations.
        """
        self.require_room()
        waits = self._lock.locked()
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
        try:
            await asyncio.sleep(0)  # requests that have arrived enter the queue, so that they are counted
        except asyncio.CancelledError:
            self._lock.release()
            raise
        now = time.perf_counter()
        if waits:
            self._usual += SMOOTHING * (now - self._began - self._usual)
        self._began = now

    def require_room(self) -> None:
        """Raises RequestRefusedError (429), see `acquire`."""
        if self._waiting * self._usual > self._max_wait:
            SHED.labels("busy").inc()
            raise RequestRefusedError(429, "too busy: try again", headers=RETRY_LATER)

    def release(self) -> None:
        self._lock.release()
