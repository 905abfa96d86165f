# %% [markdown]
# # Why are the lists as good as they are, and what would make them better?
# Small rankers give every answer. They are trained and evaluated on sessions of the training log, later ones than those
# that make the candidates. The test log is for the final metrics in 04.

# %% tags=["parameters"]
from nextclick.project import section

run = section("run")
ingest = section("ingest")
retrieval = section("retrieval")
features = section("features")
ranker = section("ranker")
evaluation = section("evaluation")
diagnosis = section("diagnosis")

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.bundle.bundle import load_bundle
from nextclick.evaluation import metrics, slices
from nextclick.evaluation.diagnosis import Laboratory, misses
from nextclick.events.sessions import SessionLog
from nextclick.files import write_csv
from nextclick.params import Params
from nextclick.plots import use_style
from nextclick.project import project_root
from nextclick.ranking.calibration import click_probabilities
from nextclick.ranking.recommender import example_snapshot

use_style()
root = project_root()
params = Params(
    run=run,
    ingest=ingest,
    retrieval=retrieval,
    features=features,
    ranker=ranker,
    evaluation=evaluation,
    diagnosis=diagnosis,
)
types, seed, k, decisive = params.ingest.event_types, params.run.seed, params.evaluation.k, params.evaluation.metric
log = SessionLog.read(root / "data/split/train.parquet", types)
items = pd.read_parquet(root / "data/interim/items.parquet")
timed = json.loads((root / "reports/metrics/ingest.json").read_text())["clock"] == "real"
snapshot, prefixes = example_snapshot(
    log, params.retrieval, params.ranker, params.features, seed,
    event_types=types, items=items, timed=timed,
)  # fmt: skip
lab = Laboratory(snapshot, prefixes, params.ranker, params.diagnosis, decisive, params.run)
clicks = snapshot.knowledge.statistics.clicks
_, manifest = load_bundle(root / "models/bundle")
print(f"What follows explains bundle {manifest['version']}.")
print(
    f"{len(lab.training):,} predictions are learned from, {len(lab.evaluation):,} of later sessions judge, by {decisive}. "
    f"Each setting is trained with {len(lab.seeds)} seeds. An interval holds for other seeds and other sessions; where "
    "several answer one question, all of them hold at once in 95 % of such experiments."
)


# %% [markdown]
# ## How far is the best that anyone could do?

# %%
booster = lab.fit(lab.examples[0])
values = lab.values(booster)
oracle = slices.oracle_ranks(root / params.ingest.path, root / "data/split/train.parquet", lab.evaluation)
if oracle is None:
    print("Nobody knows: only the simulated shop has an oracle.")
else:
    best = metrics.per_prediction(oracle, k)[decisive].mean()
    print(
        f"The oracle, which knows what the simulated visitors want, reaches {decisive} {best:.4f} on these predictions; a "
        f"small ranker reaches {values.mean():.4f}, {values.mean() / best:.0%} of it. 04 has the distance of the whole one."
    )

# %% [markdown]
# ## Would more examples help?

# %%
curve = lab.learning_curve()
last, gap = curve.iloc[-1], (curve["train"] - curve["held out"]).iloc[-1]
print(
    f"{'Yes' if last['low'] > 0 else 'Not beyond chance'}: the last doubling of the examples moved held-out NDCG@20 by "
    f"{last['step']:+.4f} [{last['low']:+.4f}, {last['high']:+.4f}]; the gap between training and held out is {gap:.4f}"
    + (
        ", so a ranker that fits its examples less closely might gain."
        if gap > 0.05
        else ", so the ranker fits the examples hardly closer than what comes later; how much of the rest is noise that no "
        "ranker can know, this does not tell."
    )
)
ax = curve.plot(
    x="examples",
    y=["train", "held out"],
    marker="o",
    title="NDCG@20 within sampled candidates",
    xlabel="training examples",
    ylabel="NDCG@20",
)
ax.set_xticks(curve["examples"])
plt.show()

# %% [markdown]
# ## Would deeper trees help?

# %%
capacity = lab.capacity_curve()
helps, harms = capacity[capacity["low"] > 0], capacity[capacity["high"] < 0]
best = capacity.loc[capacity["held out"].idxmax()]
print(
    f"Held out, depth {best['max_depth']:.0f} has the highest mean ({best['held out']:.4f}). Beyond chance, the step from "
    f"the depth before helps at: {', '.join(helps['max_depth'].astype(str)) or 'none'}; harms at: {', '.join(harms['max_depth'].astype(str)) or 'none'}. The gap to training is "
    f"{(capacity['train'] - capacity['held out']).iloc[0]:.4f} at depth {capacity['max_depth'].iloc[0]} and "
    f"{(capacity['train'] - capacity['held out']).iloc[-1]:.4f} at depth {capacity['max_depth'].iloc[-1]}."
)
print(capacity.round(4).to_string(index=False))
capacity.plot(
    x="max_depth",
    y=["train", "held out"],
    marker="o",
    title="NDCG@20 within sampled candidates",
    xlabel="depth of the trees",
    ylabel="NDCG@20",
)
plt.show()

# %% [markdown]
# **Decision.** These rankers are too small to choose `ranker.max_examples` by: the whole one gains longer, as
# [the road](../docs/road.md) shows. `ranker.max_depth` was chosen on two real logs and not on this shop: [decision 2](../docs/decisions/02-retrieval-and-trees.md).

# %% [markdown]
# ## What does each candidate source and each feature group earn, and what does it cost?
# `python benchmarks/costs.py` measures costs, since times would differ at every run of this notebook.

# %%
ablation = lab.ablation()
costs = pd.read_csv(root / "reports/costs.csv")
ablation = ablation.merge(costs, on=["kind", "without"], how="left")
proven, harmful = ablation[ablation["low"] > 0], ablation[ablation["high"] < 0]
first, half = ablation.iloc[0], ((ablation["high"] - ablation["low"]) / 2).median()
print(
    f"Without {first['without']} ({first['kind']}) {decisive} falls most, by {first['lost']:.4f} [{first['low']:.4f}, "
    f"{first['high']:.4f}]. The interval lies above zero for {len(proven)} of {len(ablation)} parts: "
    f"{', '.join(proven['without']) or 'none'}; below zero, so better without: {', '.join(harmful['without']) or 'none'}. "
    f"So few seeds and predictions cannot tell a part that is worth less than some {half:.3f} from one that is worth nothing. "
    f"These are small rankers of {params.diagnosis.groups:,} examples and {params.diagnosis.rounds} trees."
)
print(ablation.round(4).to_string(index=False))
shown = ablation.iloc[::-1]
fig, ax = plt.subplots(figsize=(7, 0.35 * len(shown) + 1))
ax.errorbar(shown["lost"], shown["kind"] + ": " + shown["without"], fmt="o", capsize=3,
            xerr=[shown["lost"] - shown["low"], shown["high"] - shown["lost"]])  # fmt: skip
ax.axvline(0, linestyle=":")
ax.set(title="What is lost without it, with intervals that hold at once in 95 %", xlabel=f"loss of {decisive}")
plt.show()

# %% [markdown]
# **Decision.** A part goes when larger rankers do not miss it either, on real logs too: [ablation](../docs/ablation.md)
# trains on more examples and three logs, and what decides is a whole ranker:
# [decision 2](../docs/decisions/02-retrieval-and-trees.md).

# %% [markdown]
# ## What does the ranker look at?

# %%
shap = lab.contributions(booster)
by_group = pd.Series(
    {group: shap[list(names)].sum() / shap.sum() for group, names in snapshot.features_by_group.items()}
).sort_values()
print(
    f"{by_group.index[-1]} makes {by_group.iloc[-1]:.0%} of the score's movement (mean absolute SHAP value); the single "
    f"feature that moves it most is {shap.index[0]} ({shap.iloc[0] / shap.sum():.0%})."
)
(shap.iloc[:20].iloc[::-1] / shap.sum()).plot.barh(title="Share of the mean absolute SHAP value", figsize=(7, 5))
plt.show()

# %% [markdown]
# ## Where are the errors?

# %%
ranks = lab.predictions.ranks(booster.inplace_predict)
targets = lab.evaluation.targets
shares = misses(ranks, lab.predictions.hits, clicks[np.maximum(targets, 0)] * (targets >= 0) > 0, k)
worst = shares.drop(f"in the first {k}", errors="ignore").idxmax()
print(
    f"Most of what is missed is {worst} ({shares[worst]:.1%} of all predictions). The candidates hold "
    f"{lab.predictions.hits.any(axis=1).mean():.1%} of the next items. 02 has the share over all these sessions; "
    "here it is that of the newest quarter, which is farthest from the index."
)
print(shares.round(4).to_string())
labels = slices.labels(lab.evaluation, clicks, types)
print(slices.by_slice(values, labels, lab.evaluation.sessions, seed).round(4).to_string(index=False))

# %% [markdown]
# ## One positive among many: what does the imbalance do?

# %%
negatives = lab.imbalance()
fewest, most = negatives.iloc[0], negatives.iloc[-1]
print(
    f"From {fewest['negatives']:.0f} to {most['negatives']:.0f} negatives a positive {decisive} goes from "
    f"{fewest[decisive]:.4f} to {most[decisive]:.4f}, by {most['step']:+.4f} [{most['low']:+.4f}, {most['high']:+.4f}], at "
    f"{most['negatives'] / fewest['negatives']:.0f} times the rows. The objective compares pairs within one list, so the "
    "share of positives does not enter it as it would a classifier's: more negatives only show more of what is not clicked."
)
print(negatives.round(4).to_string(index=False))
ax = negatives.plot(
    x="negatives",
    y=decisive,
    marker="o",
    legend=False,
    title=f"{decisive} by negatives per positive",
    ylabel=decisive,
)
ax.set_xticks(negatives["negatives"])
plt.show()

# %% [markdown]
# **Decision.** `ranker.negatives` is as large as the time for training allows; nothing is weighted or resampled.

# %% [markdown]
# ## Is a score a probability?

# %%
clicked, probabilities = click_probabilities(lab.recommender(booster), lab.evaluation, seed)
chance = metrics.click_probability(clicked, probabilities)
print(
    f"Not by itself, as it only orders; an isotonic regression makes it one, with an expected calibration error of "
    f"{chance['calibration_error']:.5f} where {clicked.mean():.3%} of the candidates are clicked (Brier {chance['brier']:.5f})."
)

# %% [markdown]
# ## What does the deciding metric trade away?

# %%
trade = {}
for depth in (2, 4, 7):
    deeper = lab.fit(lab.examples[0], max_depth=depth)
    recommended = lab.recommender(deeper).recommend(lab.evaluation, k)
    by_metric = metrics.per_prediction(metrics.ranks_of(recommended, targets), k)
    trade[depth] = {name: value.mean() for name, value in by_metric.items()} | {
        "coverage": metrics.catalogue_coverage(recommended, len(snapshot.vocabulary)),
        "to the top tenth": metrics.popularity_bias(recommended, clicks),
    }
trade = pd.DataFrame(trade).T.rename_axis("max_depth")
chosen = {name: trade[name].idxmax() for name in (f"hr@{k}", f"mrr@{k}", f"ndcg@{k}", "coverage")}
print(
    (
        f"All agree on depth {chosen[decisive]}, of those that were tried"
        if len(set(chosen.values())) == 1
        else "They would choose differently: " + ", ".join(f"{name} depth {depth}" for name, depth in chosen.items())
    )
    + ", by one training of each, which does not tell a small difference from chance."
)
print(trade.round(4).to_string())

# %% [markdown]
# **Decision.** None of this sets `ranker.max_depth`: these rankers have few trees, and a whole one gains nothing from
# depth 8 on the simulated shop ([the road](../docs/road.md)).

# %% [markdown]
# ## What if the training data does not represent what comes?

# %%
learned = slices.labels(lab.training, clicks, types)
table, better = lab.transfer(*(part["known events"].isin(["1", "2"]).map({True: "short", False: "long"}).to_numpy() for part in (learned, labels)))  # fmt: skip
print(
    "Learning from prefixes of another length (one or two known events against more) costs "
    f"{better.mean:+.4f} [{better.low:+.4f}, {better.high:+.4f}] of {decisive}, with as many examples."
)
print(table.round(4).to_string())

# %%
write_csv(root / "reports/plots/ablation.csv", ablation.drop(columns="microseconds"))
write_csv(root / "reports/plots/examples_curve.csv", curve)
write_csv(root / "reports/plots/capacity_curve.csv", capacity)

# %% [markdown]
# **Next.** Whether what comes later still looks like what it learned from: [06_drift](06_drift.ipynb).
