"""The routes: what comes in becomes a query of the engine, and its answer JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic_core
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from nextclick.errors import BrokerUnavailableError, LogUnavailableError, StoreUnavailableError, UnavailableError
from nextclick.events.session_state import Click
from nextclick.serving import schema
from nextclick.serving.loaded_bundle import Model
from nextclick.serving.metrics import EVENTS
from nextclick.serving.recommend import NO_FILTERS, Answer
from nextclick.serving.recommend import Query as EngineQuery
from nextclick.serving.refusal import AGAIN, Detail, RequestRefusedError
from nextclick.serving.runtime import Runtime
from nextclick.serving.shop import Filters
from nextclick.serving.traffic import BEGAN_KEY, REQUEST_ID_KEY

log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
MOST_EVENTS = 1000
AT_ONCE = 8  # sessions of a batch that are computed in one turn
AHEAD_MS = 60_000  # how far a client's clock may be ahead
UNAVAILABLE: dict[type[UnavailableError], str] = {  # no more than that is for clients; the log has the rest
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
EVENT = schema.Event.model_json_schema()  # whole: the description holds only what routes declare as their own
EVENT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        EVENT,
                        {"type": "array", "maxItems": MOST_EVENTS, "items": EVENT},
                    ]
                }
            }
        },
    }
}


class Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Whether the key is asked for is known where the service runs: the environment says it."""
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
    receipt = await asyncio.to_thread(_runtime(request).intake.accept, messages)
    EVENTS.labels("accepted").inc(receipt.accepted)
    EVENTS.labels("quarantined").inc(len(receipt.broken))
    broken = [{"place": bad.place, "field": bad.field, "reason": bad.reason} for bad in receipt.broken]
    return _json({"accepted": receipt.accepted, "late": receipt.late, "quarantined": broken})


@app.get("/items/{item_id:path}/similar", response_model=schema.SimilarItems, responses={404: ERRORS[422]})
async def similar(item_id: str, request: Request, k: schema.Count = 10) -> Response:
    """The items whose vectors lie nearest to this one's."""
    turns, model = _runtime(request).turns, _runtime(request).engine.deployment.model
    item = int(model.recommender.snapshot.vocabulary.numbers(np.array([item_id]))[0])
    if item < 0:
        raise RequestRefusedError(404, "no such item", [Detail("item_id", "not known to this model")])
    await turns.take()
    try:
        items, cosines = model.similar(item, k)
    finally:
        turns.give_back()
    near = [
        {**_shown(model, other), "score": score} for other, score in zip(items.tolist(), cosines.tolist(), strict=True)
    ]
    return _json({"item_id": item_id, "model_version": model.version, "items": near})


@app.get("/items", response_model=schema.ItemPage)
async def items(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=schema.MOST_ITEMS)] = 24,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    category: Annotated[str | None, Query(max_length=256)] = None,
) -> Response:
    """The shop, most popular first."""
    model = _runtime(request).engine.deployment.model
    popular = model.shop.popular[model.shop.allowed(Filters(category=category))[model.shop.popular]]
    page = [_shown(model, item) for item in popular[offset : offset + limit].tolist()]
    categories = list(model.shop.category_codes)
    about = {"model_version": model.version, "event_types": model.event_types, "categories": categories}
    return _json({**about, "total": len(popular), "items": page})


@app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
async def index() -> Response:
    return FileResponse(PAGE / "index.html")


app.mount("/page", StaticFiles(directory=PAGE), name="page")


async def _answers(bodies: list[schema.RecommendQuery], request: Request) -> list[Answer]:
    runtime, now = _runtime(request), time.time_ns() // 1_000_000
    deployed, asked = runtime.engine.deployment.now, request.scope[REQUEST_ID_KEY]
    queries = [
        _query(body, deployed.model_for(body.session_id), asked, runtime.params.serving.k, now) for body in bodies
    ]
    answers: list[Answer] = []
    for first in range(0, len(queries), AT_ONCE):  # between the parts of a batch, others have their turn
        await runtime.turns.take()
        began = request.scope[BEGAN_KEY] if len(queries) == 1 else time.perf_counter()
        try:
            answers += runtime.engine.recommend(queries[first : first + AT_ONCE], now, began)
        finally:
            runtime.turns.give_back()
    return answers


def _query(body: schema.RecommendQuery, model: Model, request_id: str, k: int, now: int) -> EngineQuery:
    """Raises RequestRefusedError, naming the field."""
    filters = NO_FILTERS
    if body.price_min is not None and body.price_max is not None and body.price_min > body.price_max:
        raise RequestRefusedError(422, "does not fit", [Detail("price_max", "below price_min")])
    if body.exclude or not (body.category is None and body.price_min is None and body.price_max is None):
        excluded = model.recommender.snapshot.vocabulary.numbers(np.array(body.exclude, np.str_))
        filters = Filters(tuple(excluded[excluded >= 0]), body.category, body.price_min, body.price_max)
    clicks = tuple(_click(click, place, model, now) for place, click in enumerate(body.clicks))
    return EngineQuery(request_id, body.session_id, body.k or k, model, clicks, filters)


def _click(given: schema.GivenClick, place: int, model: Model, now: int) -> Click:
    kind = given.event_type or model.event_types[0]
    if kind not in model.event_types:
        reason = f"not one of {', '.join(model.event_types)}"
        raise RequestRefusedError(422, "does not fit", [Detail(f"clicks.{place}.event_type", reason)])
    moment = given.timestamp or now
    if moment > now + AHEAD_MS:
        raise RequestRefusedError(422, "does not fit", [Detail(f"clicks.{place}.timestamp", "in the future")])
    return Click(moment, given.event_id or f"given-{place:02d}", given.item_id, model.event_types.index(kind))


def _messages(body: bytes) -> list[bytes]:
    """Each event's own JSON. Raises RequestRefusedError where the whole is not JSON, or more than MOST_EVENTS."""
    try:
        whole = json.loads(body)
        if not isinstance(whole, list):
            return [body]
        messages = [json.dumps(event).encode() for event in whole]
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(400, "expected JSON: an event or a list of events") from error
    if len(messages) > MOST_EVENTS:
        raise RequestRefusedError(422, "does not fit", [Detail("body", f"at most {MOST_EVENTS} events at once")])
    return messages


def _shown(model: Model, item: int) -> dict[str, Any]:
    shop = model.shop
    return {
        "item_id": shop.ids[item],
        "title": shop.titles[item],
        "category": shop.categories[item],
        "price": shop.price(item),
    }


def _recommendations(answer: Answer) -> dict[str, Any]:
    model = answer.query.model
    items = []
    for item, score, why in zip(answer.items, answer.scores, answer.reasons, strict=True):
        led = None if why.item is None else model.shop.ids[why.item]
        reason = {"kind": why.kind, "text": why.text(model.shop), "item_id": led}
        items.append({**_shown(model, item), "score": None if score != score else score, "reason": reason})
    return {
        "request_id": answer.query.request_id,
        "session_id": answer.query.session_id,
        "model_version": model.version,
        "items": items,
        "clicks": answer.clicks,
        "state_age_ms": answer.state_age,
        "statistics_age_ms": answer.statistics_age,
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
    return await _refused(request, RequestRefusedError(503, UNAVAILABLE[type(error)], headers=AGAIN))


@app.exception_handler(Exception)
async def _failed(request: Request, error: Exception) -> Response:
    return await _refused(request, RequestRefusedError(500, "internal error"))  # the middleware logs it
