"""The train stage of the small pipeline that the tests of retraining run: the library's own functions, no notebook."""

from pathlib import Path

import pandas as pd

from nextclick.bundle.bundle import save_bundle
from nextclick.events.sessions import SessionLog
from nextclick.params import Params
from nextclick.ranking.recommender import train_recommender

params = Params.read(Path("params.yaml"))
events = pd.read_parquet("data/split/train.parquet")
log = SessionLog.from_events(events, params.ingest.event_types)
recommender, _ = train_recommender(log, params, event_types=params.ingest.event_types)
until = events["timestamp"].max().isoformat()
save_bundle(recommender, Path("models/bundle"), params=params, trained_until=until, metrics={})
