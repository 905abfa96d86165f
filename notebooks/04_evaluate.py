# %% [markdown]
# # How good are the lists, against what anyone else would have shown?

# %% tags=["parameters"]
from nextclick.project import section

run = section("run")
pipeline = section("pipeline")
ingest = section("ingest")
features = section("features")
evaluation = section("evaluation")

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.backends.backend import backend_of
from nextclick.bundle.bundle import load_bundle
from nextclick.evaluation import metrics, slices
from nextclick.evaluation.baselines import BASELINES
from nextclick.evaluation.statistics import bootstrap
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog
from nextclick.files import write_csv, write_json
from nextclick.monitoring.reference import REFERENCE, Reference
from nextclick.params import Params
from nextclick.plots import use_style
from nextclick.project import project_root
from nextclick.ranking.calibration import click_probabilities

use_style()
root = project_root()
params = Params(run=run, pipeline=pipeline, ingest=ingest, features=features, evaluation=evaluation)
types, seed, k, decisive = params.ingest.event_types, params.run.seed, params.evaluation.k, params.evaluation.metric
recommender, manifest = load_bundle(root / "models/bundle")
vocabulary = recommender.snapshot.vocabulary
train = SessionLog.read(root / "data/split/train.parquet", types, vocabulary)
test = SessionLog.read(root / "data/split/test.parquet", types, vocabulary)
prefixes = next_clicks(test)
# a service publishes item statistics as the clicks of the test come in, and each prediction reads the newest
events = {part: pd.read_parquet(root / f"data/split/{part}.parquet") for part in ("train", "test")}
recommender = recommender.as_published_during(prefixes, pd.concat(events.values()), types, params.features)
clicks = np.bincount(train.items[train.items >= 0], minlength=len(vocabulary))
evaluated = len(np.unique(prefixes.sessions))
print(
    f"{len(prefixes):,} predictions in {evaluated:,} sessions that training never saw; {test.n_sessions - evaluated:,} more have "
    "nothing to predict."
)

# %% [markdown]
# ## Ours and the baselines, on the same predictions

# %%
recommended = {"nextclick": backend_of(params.pipeline).recommend(recommender, prefixes, k)}
for name, baseline in BASELINES.items():
    recommended[name] = baseline().fit(train).recommend(prefixes, k)
values = {
    name: metrics.per_prediction(metrics.ranks_of(shown, prefixes.targets), k) for name, shown in recommended.items()
}
oracle = slices.oracle_ranks(root / params.ingest.path, root / "data/split/test.parquet", prefixes)
if oracle is not None:
    values["oracle"] = metrics.per_prediction(oracle, k)
board = pd.DataFrame({name: {metric: v.mean() for metric, v in of.items()} for name, of in values.items()}).T
ends = {name: bootstrap.bootstrap_interval(of[decisive], prefixes.sessions, seed) for name, of in values.items()}
board[["low", "high"]] = pd.DataFrame(ends).T
board = board.sort_values(decisive)
fig, ax = plt.subplots()
ax.barh(board.index, board[decisive], xerr=[board[decisive] - board["low"], board["high"] - board[decisive]], capsize=3)
ax.set(title=f"{decisive}, with 95 % intervals over sessions", xlabel=decisive)
plt.show()
print(board.round(4).to_string())

# %%
rival = max(BASELINES, key=lambda name: board.loc[name, decisive])
ratio = bootstrap.ratio_interval(values["nextclick"][decisive], values[rival][decisive], prefixes.sessions, seed)
print(
    f"The best baseline by {decisive} is {rival}; ours is {ratio[0]:.3f} to {ratio[1]:.3f} times as good (95 %). "
    + ("That is better beyond chance." if ratio[0] > 1 else "That is not better beyond chance.")
)
if oracle is not None:
    reached = board.loc["nextclick", decisive] / board.loc["oracle", decisive]
    print(f"Ours reaches {reached:.0%} of what the oracle does, which nobody can beat in expectation.")

# %% [markdown]
# **Decision.** `evaluation.decide_on` names the metric that decides between experiments. A shop shows a handful of
# items, and the first are seen most: a miss costs the sale that the click would have led to, a wrong item only its
# rank. So the rank matters, and not only presence: MRR. If all ranks are seen alike, choose `hr`.

# %% [markdown]
# ## What else do the lists do?

# %%
behaviour = pd.DataFrame(
    {
        name: {
            "coverage": metrics.catalogue_coverage(shown, len(vocabulary)),
            "to the top tenth": metrics.popularity_bias(shown, clicks),
        }
        for name, shown in recommended.items()
    }
).T
print(behaviour.round(3).to_string())

# %% [markdown]
# ## For whom is it better or worse?

# %%
labels = slices.labels(prefixes, clicks, types)
by_slice = slices.by_slice(values["nextclick"][decisive], labels, prefixes.sessions, seed)
print(by_slice.round(4).to_string(index=False))
worst = by_slice[by_slice["predictions"] >= 100].sort_values("value").head(1)
for row in worst.itertuples():
    print(f"The weakest slice of 100 predictions or more is {row.slice} = {row.label}: {row.value:.4f}.")

# %% [markdown]
# ## Does a score say how likely the click is?
# On one half of the sessions the mapping from score to probability is fitted, on the other it is evaluated.

# %%
clicked, probabilities = click_probabilities(recommender, prefixes, seed)
chance = metrics.click_probability(clicked, probabilities)
order = np.array_split(np.argsort(probabilities, kind="stable"), 20)
fig, ax = plt.subplots()
ax.plot([probabilities[part].mean() for part in order], [clicked[part].mean() for part in order], marker="o")
ax.axline((1e-4, 1e-4), (1e-1, 1e-1), linestyle=":")
ax.set(title="Calibration of the click probability, by twentieths", xlabel="predicted", ylabel="observed")
ax.set(xscale="log", yscale="log")  # most candidates are hardly ever clicked
plt.show()
top = order[-1]
print(
    f"Of the twentieth with the highest scores {probabilities[top].sum():,.0f} clicks were expected, and "
    f"{clicked[top].sum():,.0f} of {clicked.sum():,.0f} came."
)
print(
    f"ROC-AUC {chance['roc_auc']:.4f}, PR-AUC {chance['pr_auc']:.4f} where {clicked.mean():.2%} of the candidates are "
    f"clicked, expected calibration error {chance['calibration_error']:.5f}."
)

# %% [markdown]
# ## One session, followed through

# %%
first = np.flatnonzero(prefixes.lengths == 3)[:1]
for i in first:
    clicked_before = test.items[prefixes.starts[i] : prefixes.ends[i]]
    names = [vocabulary.ids[item] if item >= 0 else "unknown" for item in clicked_before]
    shown = [str(vocabulary.ids[item]) for item in recommended["nextclick"][i, :10] if item >= 0]
    rank = metrics.ranks_of(recommended["nextclick"][i : i + 1], prefixes.targets[i : i + 1])[0]
    print(f"Known: {', '.join(map(str, names))}. First ten: {', '.join(shown)}.")
    print(f"The next item stood in place {rank}." if rank else f"The next item was not among the first {k}.")

# %%
headline = {metric: float(v.mean()) for metric, v in values["nextclick"].items() if not metric.startswith("precision")}
headline |= {
    "low": ends["nextclick"][0],
    "high": ends["nextclick"][1],
    "ratio_low": ratio[0],
    "coverage": float(behaviour.loc["nextclick", "coverage"]),
    "calibration_error": chance["calibration_error"],
}
write_json(root / "reports/metrics/evaluate.json", headline)
write_csv(root / "reports/plots/slices.csv", by_slice)
write_csv(root / "reports/plots/baselines.csv", board.rename_axis("method").reset_index())
Reference.of(recommender, manifest, events["test"], events["train"], headline[decisive], params).save(root / REFERENCE)
print(json.dumps(headline, indent=1))

# %% [markdown]
# **Next.** Why it is as good as it is, and no better: [05_diagnose](05_diagnose.ipynb).
