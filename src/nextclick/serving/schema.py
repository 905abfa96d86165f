"""What clients send and get: the models behind the OpenAPI description, and the refusal of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field

from nextclick.events.prefixes import KEPT_EVENTS
from nextclick.events.schema import EARLIEST_MS, MAX_ID_CHARS, MAX_POSITION

MAX_ITEMS, MAX_SESSIONS, MAX_EXCLUDED = 100, 100, 1000
LATEST_MS = 10**14  # beyond every clock; a timestamp in the future is refused with a message of its own
RETRY_LATER = MappingProxyType({"retry-after": "1"})  # seconds

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
Count = Annotated[int, Field(ge=1, le=MAX_ITEMS)]
Position = Annotated[int, Field(ge=0, le=MAX_POSITION)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class GivenClick(Body):
    """A click that may not have reached the store yet."""

    item_id: Id
    event_type: Annotated[str | None, Field(max_length=MAX_ID_CHARS)] = None
    """One of the shop's event types; the first one, a view, by default."""
    timestamp: Annotated[int | None, Field(ge=EARLIEST_MS, le=LATEST_MS)] = None
    """Milliseconds since 1970 UTC; now by default."""
    position: Position | None = None
    """That of the event, if it has one; by default the click keeps its place in this list, behind what is stored."""
    event_id: Id | None = None
    """That of the event, if it is or will be posted too: it then counts once."""


class RecommendQuery(Body):
    session_id: Id
    k: Count | None = None
    clicks: Annotated[list[GivenClick], Field(max_length=KEPT_EVENTS)] = []
    """Oldest first."""
    exclude: Annotated[list[Id], Field(max_length=MAX_EXCLUDED)] = []
    category: Annotated[str | None, Field(max_length=MAX_ID_CHARS)] = None
    """A category, with those below it."""
    price_min: Price | None = None
    price_max: Price | None = None


class BatchQuery(Body):
    requests: Annotated[list[RecommendQuery], Field(min_length=1, max_length=MAX_SESSIONS)]


class Reply(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class ShownItem(Reply):
    item_id: str
    title: str | None
    category: str | None
    price: float | None


class Why(Reply):
    kind: Literal["seen", "clicked_next", "similar_sessions", "similar_item", "popular"]
    text: str
    item_id: str | None
    """The clicked item that led to this one."""


class RecommendedItem(ShownItem):
    score: float | None
    """Only orders; null for an item that fills the list up."""
    reason: Why


class Recommendations(Reply):
    request_id: str
    session_id: str
    model_version: str
    items: list[RecommendedItem]
    clicks: int
    """How many of the session's clicks were known."""
    state_age_ms: int | None
    """Since the newest of them; null where none is known."""
    statistics_age_ms: int | None
    """Since the moment of the item statistics; null where they have none."""
    stale: list[Literal["session_state", "item_statistics"]]
    """What is older than serving.max_staleness."""
    degraded: bool
    degraded_reason: Literal["store", "budget", "error"] | None
    milliseconds: dict[str, float]
    """By stage: store, retrieval, features, ranker, total."""


class BatchRecommendations(Reply):
    results: list[Recommendations]


class SimilarItem(ShownItem):
    score: float
    """Cosine of the two items' vectors."""


class SimilarItems(Reply):
    item_id: str
    model_version: str
    items: list[SimilarItem]


class ItemPage(Reply):
    model_version: str
    total: int
    items: list[ShownItem]
    categories: list[str]
    event_types: list[str]


class Event(Body):
    event_id: str | int
    session_id: str | int
    user_id: str | int | None = None
    item_id: str | int
    event_type: str
    timestamp: str | int | float
    """Milliseconds or seconds since 1970 UTC, or ISO text."""
    position: Position | None = None
    """The sender's sequence number within the session, by which events of one millisecond are ordered; by default they
    are in the order in which they arrive."""


class QuarantinedEvent(Reply):
    place: int
    field: str | None
    reason: str


class Receipt(Reply):
    accepted: int
    late: int
    """Of them, those too late to change a session."""
    quarantined: list[QuarantinedEvent]


class ErrorDetail(Reply):
    field: str
    reason: str


class Error(Reply):
    error: str
    details: list[ErrorDetail]
    request_id: str


class Detail(NamedTuple):
    field: str
    reason: str


class RequestRefusedError(Exception):
    """The answer to a request that is refused: status and headers of HTTP, what is wrong, and nothing of the inside."""

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
        """The JSON of `Error`."""
        details = [detail._asdict() for detail in self.details]
        return pydantic_core.to_json({"error": self.error, "details": details, "request_id": request_id})
