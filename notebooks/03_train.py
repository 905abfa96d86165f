# %% [markdown]
# # How does the ranker learn, and when does it stop learning anything new?

# %% tags=["parameters"]
from nextclick.project import section

run = section("run")
pipeline = section("pipeline")
ingest = section("ingest")
retrieval = section("retrieval")
ranker = section("ranker")

# %%
import matplotlib.pyplot as plt
import pandas as pd

from nextclick.backends.backend import backend_of
from nextclick.bundle.bundle import save_bundle
from nextclick.files import write_csv, write_json
from nextclick.params import Params
from nextclick.plots import use_style
from nextclick.project import project_root
from nextclick.ranking.ranker import Examples, hold_out
from nextclick.ranking.recommender import Recommender
from nextclick.ranking.snapshot import Snapshot

use_style()
root = project_root()
params = Params(run=run, pipeline=pipeline, ingest=ingest, retrieval=retrieval, ranker=ranker)
examples = Examples.load(root / "data/features/examples")

# %% [markdown]
# ## Training and held-out groups
# The newest groups are held out, to see what training on the others gives on sessions that came later.

# %%
learned, held_out = hold_out(examples, params.ranker.held_out_share)
booster, curves = backend_of(params.pipeline).train(
    learned,
    params.ranker,
    params.run.seed,
    params.run.threads,
    held_out=held_out,
    checkpoints=root / ".checkpoints",
)
curve = pd.DataFrame(curves).rename_axis("round")
curve.plot(title="NDCG@20 within the candidates, by round", xlabel="trees", ylabel="NDCG@20")
plt.show()
best = curve["held_out"].idxmax()
print(
    f"{len(learned.groups):,} groups train, {len(held_out.groups):,} are held out. After {len(curve)} trees: "
    f"{curve['train'].iloc[-1]:.4f} in training, {curve['held_out'].iloc[-1]:.4f} held out, a gap of "
    f"{curve['train'].iloc[-1] - curve['held_out'].iloc[-1]:.4f}; the best round is {best + 1}, "
    f"{curve['held_out'].max() - curve['held_out'].iloc[-1]:.4f} above the last."
)

# %% [markdown]
# **Decision.** `ranker.rounds` is where the held-out curve is flat. What depth buys and costs is in [05](05_diagnose.ipynb).

# %% [markdown]
# ## What does it look at?

# %%
gain = pd.Series(booster.get_score(importance_type="total_gain")).sort_values()
(gain / gain.sum()).iloc[-20:].plot.barh(title="Share of the total gain", xlabel="share")
plt.show()
print(
    f"{gain.index[-1]} earns {gain.iloc[-1] / gain.sum():.0%} of the gain, the first five {gain.iloc[-5:].sum() / gain.sum():.0%}."
)

# %% [markdown]
# ## The bundle

# %%
last = pd.read_parquet(root / "data/split/train.parquet", columns=["timestamp"])["timestamp"].max()
metrics = {"train_ndcg@20": curve["train"].iloc[-1], "held_out_ndcg@20": curve["held_out"].iloc[-1]}
manifest = save_bundle(
    Recommender.of(Snapshot.load(root / "data/features/snapshot", params.retrieval), booster),
    root / "models/bundle",
    params=params,
    trained_until=last.isoformat(),
    metrics=metrics,
    items=pd.read_parquet(root / "data/interim/items.parquet"),
)
write_json(root / "reports/metrics/train.json", metrics)
write_csv(root / "reports/plots/learning_curve.csv", curve.reset_index())
print(f"Version {manifest['version']}, trained until {manifest['trained_until']}.")

# %% [markdown]
# **Next.** How good its recommendations are on days that it does not know: [04_evaluate](04_evaluate.ipynb).
