"""What a client is told when a request is not answered: a status, what is wrong, and nothing of the inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pydantic_core


class Detail(NamedTuple):
    field: str
    reason: str


class RequestRefusedError(Exception):
    """status: of HTTP. retry_after: seconds, where trying again may help."""

    def __init__(
        self, status: int, error: str, details: Sequence[Detail] = (), *, retry_after: int | None = None
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details
        self.retry_after = retry_after

    def body(self, request_id: str) -> bytes:
        details = [detail._asdict() for detail in self.details]
        return pydantic_core.to_json({"error": self.error, "details": details, "request_id": request_id})

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
