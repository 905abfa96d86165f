# %% [markdown]
# # What does the ranker get to see, and does it see only the past?

# %% tags=["parameters"]
from nextclick.project import section

run = section("run")
pipeline = section("pipeline")
ingest = section("ingest")
retrieval = section("retrieval")
features = section("features")
ranker = section("ranker")

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.backends.backend import backend_of
from nextclick.evaluation.parity import parity
from nextclick.events.arrival_order import arrivals
from nextclick.features.candidate_features import GROUPS
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates
from nextclick.files import write_json
from nextclick.params import Params
from nextclick.plots import use_style
from nextclick.project import project_root
from nextclick.ranking.recommender import example_snapshot
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.candidates import COLUMNS

use_style()
root = project_root()
out = root / "data/features"
features |= {"online_store": "sqlite"}  # what the notebook shows does not depend on which, and this is always there
params = Params(run=run, pipeline=pipeline, ingest=ingest, retrieval=retrieval, features=features, ranker=ranker)
types, seed = params.ingest.event_types, params.run.seed
backend = backend_of(params.pipeline)
log = backend.read(root / "data/split/train.parquet", types)
items = pd.read_parquet(root / "data/interim/items.parquet")
timed = json.loads((root / "reports/metrics/ingest.json").read_text())["clock"] == "real"
about = {"event_types": types, "items": items, "timed": timed}

# %% [markdown]
# ## Who teaches the ranker?
# The newest sessions do, with the index of what was known before the first of them ended: the two never overlap.

# %%
snapshot, prefixes = example_snapshot(log, params.retrieval, params.ranker, params.features, seed, **about)
indexed = len(snapshot.retriever.index.offsets) - 1
print(
    f"{indexed:,} sessions make the candidates, {len(np.unique(prefixes.sessions)):,} later ones make "
    f"{len(prefixes):,} predictions over {len(log.vocabulary):,} items."
)
assert log.ends[indexed - 1] <= prefixes.log.ends[prefixes.sessions[0]]

# %% [markdown]
# ## Which source finds the next item?

# %%
sample = prefixes.take(slice(None, None, max(1, len(prefixes) // 5000)))  # the oldest alone are the easiest to find
candidates = snapshot.retriever.retrieve(sample)
hits = candidates.items == sample.targets[:, None]
recall = pd.DataFrame(
    {
        k: [((candidates.ranks[:, :, column] < k) & hits).any(axis=1).mean() for column in range(len(COLUMNS))]
        for k in (20, 100)
    },
    index=list(COLUMNS),
)
recall.plot.barh(title="Share of next items in a source's first k", xlabel="share")
plt.show()
best = recall[20].idxmax()
print(
    f"All sources together find {hits.any(axis=1).mean():.1%} of the next items among {params.retrieval.width} candidates; "
    f"the best alone, {best}, has {recall.loc[best, 20]:.1%} in its first 20."
)

# %% [markdown]
# **Decision.** `retrieval.width` bounds what the ranker can reach: an item that is no candidate is lost.

# %% [markdown]
# ## What does the feature store hold?
# It holds item statistics in versions, and the newest clicks of each session and user. A prediction reads the version
# that had been published when it was made, never a later one: a point-in-time join. Here Feast does it for one session.

# %%
apply_definitions(root, params)
store = connect(root, params)
for view in sorted(store.list_feature_views(), key=lambda view: view.name):
    table = pd.read_parquet(root / f"data/features/store/{view.name}.parquet")
    times = table["event_timestamp"]
    print(
        f"{view.name}: {len(table):,} rows of {len(view.features)} features, {times.min():%d %b %H:%M} to {times.max():%d %b %H:%M}"
    )
one = prefixes.take(slice(len(prefixes) // 2, len(prefixes) // 2 + 1))
events = slice(one.starts[0], one.ends[0] + 1)
requested = pd.DataFrame(
    {
        "item_id": log.vocabulary.ids[one.log.items[events]],
        "event_timestamp": pd.to_datetime(one.log.times[events], unit="ms", utc=True),
    }
)
joined = store.get_historical_features(requested, ["item_statistics:clicks", "item_statistics:view_events"]).to_df()
joined = joined.sort_values("event_timestamp", ignore_index=True)
joined["clicks in the end"] = np.bincount(log.items[log.items >= 0])[log.vocabulary.indices(joined["item_id"])]
print(f"Session {one.log.session_ids[one.sessions[0]]}")
print(joined.to_string(index=False))
items_seen = joined.drop_duplicates("item_id")
published, final = items_seen["clicks"].fillna(0).sum(), items_seen["clicks in the end"].sum()
print(
    f"When each was first looked at, {published:.0f} clicks on these {len(items_seen)} items had been published; "
    f"a join that looked ahead would see {final:.0f}."
)

# %% [markdown]
# ## Is a feature the same online?
# Events are played one by one through the online store, some late, some twice and some after the state was lost, and
# every feature is compared with what the log gives at the same event.

# %%
arriving = arrivals(pd.read_parquet(root / "data/split/train.parquet").tail(500), seed, shuffle=0.1, duplicate=0.1)
compared = parity(snapshot, arriving, OnlineStates(store), types, expire=0.05, seed=seed)
print(
    f"{compared.differing} of {compared.cells:,} cells differ, over {compared.moments:,} moments; {compared.rebuilt} states were built again."
)
assert compared.differing == 0, compared.first

# %% [markdown]
# ## The training examples

# %%
examples = backend.examples(snapshot, prefixes, params.ranker.negatives, seed)
examples.save(out / "examples")
print(
    f"{len(examples.groups):,} groups of one click among {examples.groups.mean() - 1:.0f} items that were not clicked: "
    f"{examples.labels.mean():.1%} are positive, so the ranker learns from pairs within a group, not from labels alone."
)

# %%
names = list(snapshot.feature_names)
table = pd.DataFrame(examples.features, columns=names)
difference = (table[examples.labels == 1].mean() - table[examples.labels == 0].mean()) / (table.std() + 1e-9)
difference.reindex(difference.abs().sort_values().index[-20:]).plot.barh(
    title="Clicked minus not clicked, in standard deviations", xlabel="standard deviations", figsize=(7, 5)
)
plt.show()
constant = [name for name in names if table[name].std() == 0]
print(f"{len(names)} features; constant here: {', '.join(constant) or 'none'}.")
for group, members in snapshot.features_by_group.items():
    print(f"{group}: {len(members)}, among them {members[0]} and {members[-1]}")
absent = [group.name for group in GROUPS if group.name not in snapshot.features_by_group]
print(f"Left out, as the source lacks what they need: {', '.join(absent) or 'none'}.")

# %% [markdown]
# ## One prediction, followed through

# %%
one = prefixes.take(slice(0, 1))
seen = one.log.vocabulary.ids[one.log.items[one.starts[0] : one.ends[0]]]
candidates, values = snapshot.features(one)
shown = pd.DataFrame(values[0, :8], columns=names, index=log.vocabulary.ids[candidates.items[0, :8]])
print(f"Known: {', '.join(seen)}; clicked next: {log.vocabulary.ids[one.targets[0]]}")
print(shown[["neighbours_score", "after_last_score", "encoder_score", "item_clicks", "fusion"]].round(3).to_string())

# %% [markdown]
# ## What the bundle will know
# The snapshot of the whole training log.

# %%
Snapshot.of(log, params.retrieval, seed, **about).save(out / "snapshot")
summary = {"examples": len(examples.groups), "candidate_recall": examples.recall, "features": len(names)}
write_json(root / "reports/metrics/features.json", summary)
print(summary)

# %% [markdown]
# **Next.** A ranker learns from these examples: [03_train](03_train.ipynb).
