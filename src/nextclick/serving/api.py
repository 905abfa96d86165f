"""The routes: each request becomes a query of the engine, and the answer becomes JSON."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic_core
from fastapi import FastAPI, Request
from fastapi import Query as QueryParameter
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from nextclick.errors import BrokerUnavailableError, LogUnavailableError, StoreUnavailableError, UnavailableError
from nextclick.events.schema import MAX_POSITION
from nextclick.events.session_state import Click
from nextclick.serving import schema
from nextclick.serving.admission import BEGAN_KEY, REQUEST_ID_KEY
from nextclick.serving.item_catalogue import Filters
from nextclick.serving.loaded_bundle import LoadedBundle
from nextclick.serving.observability import EVENTS
from nextclick.serving.query import Answer, Query
from nextclick.serving.runtime import Runtime
from nextclick.serving.schema import RETRY_LATER, Detail, RequestRefusedError
from nextclick.stream.validation import TooManyDatesError
from nextclick.units import MS_PER_MINUTE

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
MAX_EVENTS = 1000
SLOT_SESSIONS = 8  # sessions of a batch that are computed in one slot of the queue
MAX_AHEAD_MS = MS_PER_MINUTE  # how far a client's clock may be ahead
UNAVAILABLE: dict[type[UnavailableError], str] = {  # clients learn no more than that; the log has the details
    StoreUnavailableError: "the store does not answer",
    LogUnavailableError: "the log of events cannot be written",
    BrokerUnavailableError: "the broker does not answer",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Error, "description": text}
    for status, text in {
        400: "Not JSON",
        401: "No or a wrong API key",
        408: "The body did not come",
        413: "Too large",
        422: "Does not fit; the details name the fields",
        429: "Too many requests; see Retry-After",
        503: "The store, the log or the broker does not answer: try again",
    }.items()
}
EVENT = schema.Event.model_json_schema()  # inline: OpenAPI refers only to the models that routes declare
EVENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [EVENT, {"type": "array", "maxItems": MAX_EVENTS, "items": EVENT}]},
            },
        },
    }
}


class Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The description of any service: only its environment says whether it asks for the key."""
        described = super().openapi()
        key = {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "Where the service has one set."}
        described["components"]["securitySchemes"] = {"key": key}
        described["security"] = [{}, {"key": []}]
        return described


app = Api(
    title="nextclick",
    description="Recommendations that change with every click.",
    version="1",
    docs_url=None,  # their pages load scripts from elsewhere
    redoc_url=None,
    responses=ERRORS,
)


def _runtime(request: Request) -> Runtime:
    return request.app.state.runtime


@app.post("/recommend", response_model=schema.Recommendations)
async def recommend(body: schema.RecommendQuery, request: Request) -> Response:
    """What this session's visitor is likely to click next, best first."""
    (answer,) = await _answers([body], request)
    return _json(_recommendations(answer))


@app.post("/recommend_batch", response_model=schema.BatchRecommendations)
async def recommend_batch(body: schema.BatchQuery, request: Request) -> Response:
    """The same for several sessions at once."""
    answers = await _answers(body.requests, request)
    return _json({"results": [_recommendations(answer) for answer in answers]})


@app.post("/events", response_model=schema.Receipt, openapi_extra=EVENT_BODY)
async def events(request: Request) -> Response:
    """One event or a list of them. What is accepted is durable when this answers; an event sent twice counts once."""
    messages = _messages(await request.body())
    try:
        receipt = await _runtime(request).events.accept(messages, request.scope[BEGAN_KEY])
    except TooManyDatesError as error:
        raise RequestRefusedError(422, "does not fit", [Detail("body", str(error))]) from error
    EVENTS.labels("accepted").inc(receipt.accepted)
    EVENTS.labels("quarantined").inc(len(receipt.invalid))
    invalid = [{"place": one.place, "field": one.field, "reason": one.reason} for one in receipt.invalid]
    return _json({"accepted": receipt.accepted, "late": receipt.late, "quarantined": invalid})


@app.get("/items/{item_id:path}/similar", response_model=schema.SimilarItems, responses={404: ERRORS[422]})
async def similar(item_id: str, request: Request, k: schema.Count = 10) -> Response:
    """The items whose vectors lie nearest to this one's."""
    queue, bundle = _runtime(request).queue, _runtime(request).engine.deployment.champion
    item = int(bundle.recommender.snapshot.vocabulary.indices(np.array([item_id]))[0])
    if item < 0:
        raise RequestRefusedError(404, "no such item", [Detail("item_id", "not known to this model")])
    async with queue:
        items, cosines = bundle.similar(item, k)
    near = [
        {**_item(bundle, other), "score": score} for other, score in zip(items.tolist(), cosines.tolist(), strict=True)
    ]
    return _json({"item_id": item_id, "model_version": bundle.version, "items": near})


@app.get("/items", response_model=schema.ItemPage)
async def items(
    request: Request,
    limit: Annotated[int, QueryParameter(ge=1, le=schema.MAX_ITEMS)] = 24,
    offset: Annotated[int, QueryParameter(ge=0, le=10**9)] = 0,
    category: Annotated[str | None, QueryParameter(max_length=256)] = None,
) -> Response:
    """The shop, most popular first."""
    bundle = _runtime(request).engine.deployment.champion
    catalogue = bundle.catalogue
    popular = catalogue.popular[catalogue.allowed(Filters(category=category))[catalogue.popular]]
    page = [_item(bundle, item) for item in popular[offset : offset + limit].tolist()]
    categories = list(catalogue.codes_by_category)
    about = {"model_version": bundle.version, "event_types": bundle.event_types, "categories": categories}
    return _json({**about, "total": len(popular), "items": page})


@app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def index() -> Response:
    return FileResponse(PAGE / "index.html")


app.mount("/page", StaticFiles(directory=PAGE), name="page")


async def _answers(bodies: list[schema.RecommendQuery], request: Request) -> list[Answer]:
    runtime, at_ms = _runtime(request), time.time_ns() // 1_000_000
    served, request_id, k = runtime.engine.deployment.now, request.scope[REQUEST_ID_KEY], runtime.params.serving.k
    queries = [_query(body, served.bundle_for(body.session_id), request_id, k, at_ms) for body in bodies]
    answers: list[Answer] = []
    for first in range(0, len(queries), SLOT_SESSIONS):  # others are answered between the parts of a batch
        async with runtime.queue:
            began = request.scope[BEGAN_KEY] if len(queries) == 1 else time.perf_counter()
            answers += runtime.engine.recommend(queries[first : first + SLOT_SESSIONS], at_ms, began)
    return answers


def _query(body: schema.RecommendQuery, bundle: LoadedBundle, request_id: str, k: int, at_ms: int) -> Query:
    """Raises RequestRefusedError, naming the field."""
    if body.price_min is not None and body.price_max is not None and body.price_min > body.price_max:
        raise RequestRefusedError(422, "does not fit", [Detail("price_max", "below price_min")])
    exclude: tuple[int, ...] = ()
    if body.exclude:
        indices = bundle.recommender.snapshot.vocabulary.indices(np.array(body.exclude, np.str_))
        exclude = tuple(indices[indices >= 0])
    return Query(
        request_id=request_id,
        session_id=body.session_id,
        k=body.k or k,
        bundle=bundle,
        clicks=tuple(_click(click, place, bundle, at_ms) for place, click in enumerate(body.clicks)),
        filters=Filters(exclude, body.category, body.price_min, body.price_max),
    )


def _click(given: schema.GivenClick, place: int, bundle: LoadedBundle, at_ms: int) -> Click:
    """Raises RequestRefusedError, naming the field."""
    kind = given.event_type or bundle.event_types[0]
    if kind not in bundle.event_types:
        reason = f"not one of {', '.join(bundle.event_types)}"
        raise RequestRefusedError(422, "does not fit", [Detail(f"clicks.{place}.event_type", reason)])
    timestamp = given.timestamp or at_ms
    if timestamp > at_ms + MAX_AHEAD_MS:
        raise RequestRefusedError(422, "does not fit", [Detail(f"clicks.{place}.timestamp", "in the future")])
    return Click(
        timestamp=timestamp,
        # behind the clicks of the same ms that have reached the store
        position=MAX_POSITION + 1 + place if given.position is None else given.position,
        event_id=given.event_id or f"given-{place:02d}",
        item_id=given.item_id,
        event_type=bundle.event_types.index(kind),
    )


def _messages(body: bytes) -> list[bytes]:
    """The JSON of each event. Raises RequestRefusedError if it is not JSON or holds more than MAX_EVENTS."""
    try:
        decoded = json.loads(body)
        if not isinstance(decoded, list):
            return [body]
        messages = [json.dumps(event).encode() for event in decoded]
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(400, "expected JSON: an event or a list of events") from error
    if len(messages) > MAX_EVENTS:
        raise RequestRefusedError(422, "does not fit", [Detail("body", f"at most {MAX_EVENTS} events at once")])
    return messages


def _item(bundle: LoadedBundle, item: int) -> dict[str, Any]:
    catalogue = bundle.catalogue
    return {
        "item_id": catalogue.ids[item],
        "title": catalogue.titles[item],
        "category": catalogue.categories[item],
        "price": catalogue.price(item),
    }


def _recommendations(answer: Answer) -> dict[str, Any]:
    bundle = answer.query.bundle
    items = []
    for item, score, why in zip(answer.items, answer.scores, answer.reasons, strict=True):
        cause = None if why.item is None else bundle.catalogue.ids[why.item]
        reason = {"kind": why.kind, "text": why.text(bundle.catalogue), "item_id": cause}
        items.append({**_item(bundle, item), "score": None if score != score else score, "reason": reason})
    return {
        "request_id": answer.query.request_id,
        "session_id": answer.query.session_id,
        "model_version": bundle.version,
        "items": items,
        "clicks": len(answer.state),
        "state_age_ms": answer.state_age_ms,
        "statistics_age_ms": answer.statistics_age_ms,
        "stale": answer.stale,
        "degraded": answer.degraded is not None,
        "degraded_reason": answer.degraded,
        "milliseconds": {stage: round(value, 3) for stage, value in answer.milliseconds.items()},
    }


def _json(content: Any) -> Response:
    return Response(pydantic_core.to_json(content), media_type="application/json")


@app.exception_handler(RequestRefusedError)
async def _refused(request: Request, refusal: RequestRefusedError) -> Response:
    body = refusal.body(request.scope[REQUEST_ID_KEY])
    return Response(body, refusal.status, refusal.headers, media_type="application/json")


@app.exception_handler(RequestValidationError)
async def _invalid(request: Request, error: RequestValidationError) -> Response:
    details = [Detail(".".join(map(str, e["loc"][1:])) or str(e["loc"][0]), e["msg"]) for e in error.errors()]
    broken = any(e["type"] == "json_invalid" for e in error.errors())
    refusal = RequestRefusedError(400, "expected JSON") if broken else RequestRefusedError(422, "does not fit", details)
    return await _refused(request, refusal)


@app.exception_handler(HTTPException)
async def _http_error(request: Request, error: HTTPException) -> Response:
    if isinstance(error.__cause__, RequestRefusedError):  # raised while the body was read
        return await _refused(request, error.__cause__)
    return await _refused(
        request, RequestRefusedError(error.status_code, str(error.detail), headers=error.headers or {})
    )


@app.exception_handler(UnavailableError)
async def _unavailable(request: Request, error: UnavailableError) -> Response:
    log.warning("unavailable", extra={"reason": str(error), "request_id": request.scope[REQUEST_ID_KEY]})
    return await _refused(request, RequestRefusedError(503, UNAVAILABLE[type(error)], headers=RETRY_LATER))


@app.exception_handler(Exception)
async def _failed(request: Request, error: Exception) -> Response:
    return await _refused(request, RequestRefusedError(500, "internal error"))  # the middleware logs it
