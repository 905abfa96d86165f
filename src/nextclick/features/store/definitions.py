"""The contents of the feature store, in Feast's terms: newest clicks of sessions and users, statistics of items."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from feast import Entity, FeatureView, Field, FileSource, PushSource, ValueType
from feast.types import Array, Float32, Int64, String

from nextclick.events.prefixes import IDLE_HOURS
from nextclick.features.store.offline import OFFLINE_STORE, statistic_names
from nextclick.params import Params

# the newest clicks, oldest first, as `nextclick.events.session_state.advance` retains them
CLICKS = [
    Field(name="event_ids", dtype=Array(String)),
    Field(name="item_ids", dtype=Array(String)),
    Field(name="event_types", dtype=Array(Int64), description="positions in ingest.event_types"),
    Field(name="times", dtype=Array(Int64), description="ms since 1970 UTC"),
    Field(name="positions", dtype=Array(Int64), description="the order of clicks of one ms; rows of old have none"),
]
NO_TTL = timedelta(0)


class Definitions(NamedTuple):
    session: Entity
    user: Entity
    item: Entity
    session_state: FeatureView
    user_history: FeatureView
    item_statistics: FeatureView


def definitions(root: Path, params: Params) -> Definitions:
    """The entities and views of the project at `root`, whose offline files lie in its data folder."""
    session = Entity(name="session", join_keys=["session_id"], value_type=ValueType.STRING)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
    return Definitions(
        session,
        user,
        item,
        _newest_clicks(
            root,
            "session_state",
            session,
            timedelta(hours=IDLE_HOURS),
            "the newest events of a session; gone when it is idle",
        ),
        _newest_clicks(root, "user_history", user, NO_TTL, "the newest events of a user over all sessions; offline"),
        FeatureView(
            name="item_statistics",
            entities=[item],
            ttl=NO_TTL,
            schema=[
                Field(name="item_id", dtype=String),
                *(Field(name=name, dtype=Float32) for name in statistic_names(params.ingest.event_types)),
                Field(name="first_click", dtype=Int64, description="ms since 1970 UTC"),
                Field(name="last_click", dtype=Int64, description="ms since 1970 UTC"),
                Field(name="price", dtype=Float32, description="as the catalogue has it; NaN where it has none"),
            ],
            source=_file(root, "item_statistics"),
            description="published every features.item_stats_every hours; each version holds until the next",
        ),
    )


def _newest_clicks(root: Path, name: str, entity: Entity, ttl: timedelta, description: str) -> FeatureView:
    """A view of the newest clicks of each of its entities, pushed live and stored offline in a file."""
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=ttl,
        schema=[Field(name=entity.join_key, dtype=String), *CLICKS],
        source=PushSource(name=f"{name}_push", batch_source=_file(root, name)),
        description=description,
    )


def _file(root: Path, name: str) -> FileSource:
    path = root / OFFLINE_STORE / f"{name}.parquet"
    return FileSource(name=f"{name}_file", path=str(path), timestamp_field="event_timestamp")
