# %% [markdown]
# # What does the ranker get to see, and does it see only the past?

# %% tags=["parameters"]
run = {"seed": 7, "threads": 2}
ingest = {
    "path": "data/raw/simulated",
    "format": "generic",
    "columns": {},
    "event_types": ["view", "cart", "purchase"],
    "session_gap_minutes": 30,
}
retrieval = {
    "width": 200,
    "nearest": 150,
    "sample": 1000,
    "neighbours": 500,
    "dimensions": 64,
    "encoder_epochs": 4,
}
ranker = {
    "examples_share": 0.35,
    "max_examples": 100000,
    "negatives": 20,
    "rounds": 300,
    "max_depth": 5,
    "eta": 0.1,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "checkpoint_rounds": 50,
    "held_out_share": 0.1,
    "device": "cpu",
}

# %%
import json
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.events.sessions import SessionLog
from nextclick.features.candidate_features import GROUPS
from nextclick.params import Ranker, Retrieval
from nextclick.plots import use_style
from nextclick.project import project_root
from nextclick.ranking.recommender import example_prefixes, training_examples
from nextclick.ranking.snapshot import Snapshot
from nextclick.retrieval.candidates import COLUMNS

use_style()
root = project_root()
out = root / "data/features"
retrieval_params, ranker_params = Retrieval(**retrieval), Ranker(**ranker)
log = SessionLog.read(root / "data/split/train.parquet", ingest["event_types"])
items = pd.read_parquet(root / "data/interim/items.parquet")
timed = json.loads((root / "reports/metrics/ingest.json").read_text())["clock"] == "real"
snapshot_of = partial(
    Snapshot.of, params=retrieval_params, seed=run["seed"], event_types=ingest["event_types"], items=items, timed=timed
)

# %% [markdown]
# ## Who teaches the ranker?
# The newest sessions, seen from what was known before the first of them ended: index and examples never overlap.

# %%
earlier, prefixes = example_prefixes(log, ranker_params)
snapshot = snapshot_of(earlier)
print(
    f"{earlier.n_sessions:,} sessions make the candidates, {len(np.unique(prefixes.sessions)):,} later ones make "
    f"{len(prefixes):,} predictions over {len(log.vocabulary):,} items."
)
assert earlier.ends.max() <= prefixes.log.ends.min()

# %% [markdown]
# ## Which source finds the next item?

# %%
some = prefixes.take(slice(0, 5000))
candidates = snapshot.retriever.retrieve(some)
hits = candidates.items == some.targets[:, None]
found = pd.DataFrame(
    {
        k: [((candidates.ranks[:, :, column] < k) & hits).any(axis=1).mean() for column in range(len(COLUMNS))]
        for k in (20, 100)
    },
    index=list(COLUMNS),
)
found.plot.barh(title="Share of next items in a source's first k", xlabel="share")
plt.show()
best = found[20].idxmax()
print(
    f"All sources together find {hits.any(axis=1).mean():.1%} of the next items among {retrieval['width']} candidates; "
    f"the best alone, {best}, has {found.loc[best, 20]:.1%} in its first 20."
)

# %% [markdown]
# **Decision.** `retrieval.width` bounds what the ranker can reach: what is not a candidate is lost.

# %% [markdown]
# ## The training examples

# %%
examples = training_examples(snapshot, prefixes, ranker_params.negatives, run["seed"])
examples.save(out / "examples")
print(
    f"{len(examples.groups):,} groups of one click among {examples.groups.mean() - 1:.0f} items that were not clicked: "
    f"{examples.labels.mean():.1%} are positive, so the ranker learns from pairs within a group, not from labels alone."
)

# %%
names = list(snapshot.feature_names)
table = pd.DataFrame(examples.features, columns=names)
apart = (table[examples.labels == 1].mean() - table[examples.labels == 0].mean()) / (table.std() + 1e-9)
apart.reindex(apart.abs().sort_values().index[-20:]).plot.barh(
    title="Clicked minus not clicked, in standard deviations", xlabel="standard deviations"
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
candidates, features = snapshot.features(one)
shown = pd.DataFrame(features[0, :8], columns=names, index=log.vocabulary.ids[candidates.items[0, :8]])
print(f"Known: {', '.join(seen)}; clicked next: {log.vocabulary.ids[one.targets[0]]}")
print(shown[["neighbours_score", "after_last_score", "encoder_score", "item_clicks", "fusion"]].round(3).to_string())

# %% [markdown]
# ## What the bundle will know
# The same, of the whole training log.

# %%
snapshot_of(log).save(out / "snapshot")
facts = {"examples": len(examples.groups), "candidate_recall": examples.recall, "features": len(names)}
(root / "reports/metrics").mkdir(parents=True, exist_ok=True)
(root / "reports/metrics/features.json").write_text(json.dumps(facts, indent=1) + "\n")
print(facts)
