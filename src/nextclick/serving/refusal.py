"""What a client is told when a request is not answered: a status, what is wrong, and nothing of the inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pydantic_core

AGAIN = MappingProxyType({"retry-after": "1"})  # seconds: where trying again may help


class Detail(NamedTuple):
    field: str
    reason: str


class RequestRefusedError(Exception):
    """status and headers: of HTTP."""

    def __init__(
        self,
        status: int,
        error: str,
        details: Sequence[Detail] = (),
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.details = details
        self.headers = headers

    def body(self, request_id: str) -> bytes:
        details = [detail._asdict() for detail in self.details]
        return pydantic_core.to_json({"error": self.error, "details": details, "request_id": request_id})
