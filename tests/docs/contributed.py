"""Run by test_contributing.py in a copy of the code with the examples applied: uses each, then prints its name."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

import nextclick
from nextclick.events.ingest import ingest
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.params import Ingest, Retrieval
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.candidates import COLUMNS
from nextclick.serving.observability import SHORT
from nextclick.serving.query import Answer, Query
from nextclick.serving.recommend import NO_RANKING
from nextclick.serving.runtime import RecommendationEngine

TYPES = ["view", "cart", "purchase"]
assert Path(nextclick.__path__[0]).is_relative_to(Path.cwd())

with TemporaryDirectory() as scratch:
    root = Path(scratch)
    (root / "plays.tsv").write_text(
        "user_1\t2009-05-04T23:08:57Z\ta\tDeep Dish\tt\tone\n"
        "user_1\t2009-05-04T23:10:57Z\ta\tBlur\tt\ttwo\n"
        "user_1\tnever\ta\tBlur\tt\tthree\n"
        "user_1\t2009-05-05T13:10:57Z\ta\tBlur\tt\tfour\n"
    )
    counts = ingest(Ingest(path="plays.tsv", format="plays"), root, root)
    assert (counts["accepted"], counts["quarantined"], counts["sessions"]) == (3, 1, 2), counts
print("source")

# a, b, c, a, b, c, … : after two clicks the item before them is the third
items = ["a", "b", "c"] * 4
start = pd.Timestamp("2026-01-06", tz="UTC")
rows = [
    (f"e{s}-{n}", f"s{s:02d}", None, items[(s + n) % 3], "view", start + pd.Timedelta(minutes=s, seconds=n))
    for s in range(30)
    for n in range(6)
]
events = pd.DataFrame(rows, columns=["event_id", "session_id", "user_id", "item_id", "event_type", "timestamp"])
log = SessionLog.from_events(events, TYPES)
snapshot = Snapshot.of(
    log, Retrieval(dimensions=4, encoder_epochs=1, encoder_min_steps=100, width=3, nearest=3), 1, event_types=TYPES
)
prefixes = next_clicks(log)
candidates, features = snapshot.features(prefixes)
column = dict(zip(snapshot.feature_names, np.moveaxis(features, 2, 0), strict=True))
last = log.items[prefixes.ends - 1]
assert (column["is_last"] == (candidates.items == last[:, None])).all()
print("feature")

before = candidates.scores[..., COLUMNS.index("before")]
assert (before > 0).any()
assert (column["before_score"] == before).all()
print("generator")


class Asked:
    version = "a bundle"


query = Query("r", "s", 5, Asked())  # type: ignore[arg-type]
answer = Answer(
    query=query,
    at_ms=0,
    state=(),
    ranking=NO_RANKING,
    items=[1, 2],
    scores=[0.5, 0.4],
    reasons=[],
    state_age_ms=None,
    statistics_age_ms=None,
    stale=[],
    degraded=None,
    milliseconds={},
)
RecommendationEngine._measure([answer], 0, 0)
assert SHORT._value.get() == 1
assert "nextclick_short_lists" in Path("docs/operations.md").read_text()
print("alarm")
