"""What one connection may ask of a worker before a request of it is read: bytes, headers and time.

httptools joins a header's pieces without a limit, each time copying all of them, so one client whose header never ends
would keep the event loop from everybody else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from nextclick.serving.admission import SECURITY_HEADERS
from nextclick.serving.observability import REQUESTS
from nextclick.serving.schema import RequestRefusedError

MAX_URL_BYTES = 8 * 2**10
MAX_HEAD_BYTES = 32 * 2**10  # of the request line and all headers together
MAX_HEADERS = 100
REQUEST_SECONDS = 10.0  # from a request's first byte, or from the connection, to its last byte
LINGER_SECONDS = 1.0  # a refused client may read why for so long; a close at once would reset what it has not read
log = logging.getLogger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's connection, which refuses a head that is too large (414, 431), and a request that does not come (408)
    or is no HTTP (400), in the form of all other refusals, and then closes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes: int | None = 0  # of the request that is read; None once its head is complete
        self._header_count = 0
        self._too_late: asyncio.TimerHandle | None = None
        self._refusal: RequestRefusedError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        while data and not self._refusal and not self.transport.is_closing():
            # a head takes no more than it may; a body, which others bound, all that has come
            part = data if self._head_bytes is None else data[: MAX_HEAD_BYTES - self._head_bytes]
            if not part:
                self._refuse(RequestRefusedError(431, f"expected a head of at most {MAX_HEAD_BYTES} bytes"))
                return
            if self._head_bytes is not None:
                self._head_bytes += len(part)
            super().data_received(part)
            data = data[len(part) :]

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_count = 0
        self._await_request()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            raise RequestRefusedError(414, f"expected a URL of at most {MAX_URL_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._header_count += 1
        if self._header_count > MAX_HEADERS:
            raise RequestRefusedError(431, f"expected at most {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls it for whatever the parser or one of its callbacks raises."""
        raised = self._raised_by_callback()
        self._refuse(raised or RequestRefusedError(400, "expected a request of HTTP/1.1"))

    @staticmethod
    def _raised_by_callback() -> RequestRefusedError | None:
        """The refusal for which the parser gave up, from the exception that is being handled."""
        error = sys.exception()
        while error is not None and not isinstance(error, RequestRefusedError):
            error = error.__cause__ or error.__context__
        return error

    def _await_request(self) -> None:
        self._stop_waiting()
        self._too_late = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None

    def _give_up(self) -> None:
        if self._head_bytes is None:  # the head came, and so the application has answered or will
            self.transport.close()
        else:
            self._refuse(RequestRefusedError(408, f"expected the whole request within {REQUEST_SECONDS:.0f} s"))

    def _refuse(self, refusal: RequestRefusedError) -> None:
        self._refusal = refusal
        self._stop_waiting()
        REQUESTS.labels("other", refusal.status).inc()
        log.info("connection refused", extra={"status": refusal.status, "reason": refusal.error})
        if self.cycle is not None and not self.cycle.response_complete:  # an answer to an earlier request is under way
            self.transport.close()
            return
        request_id = secrets.token_hex(16)
        body = refusal.body(request_id)
        headers = (
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
            *SECURITY_HEADERS,
        )
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[refusal.status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        else:
            self.transport.close()
