# %% [markdown]
# # May the challenger take over?
# `nextclick gate` runs this notebook: both bundles were evaluated on the newest sessions, which neither of them knows.

# %% tags=["parameters"]
from nextclick.project import section

run = section("run")
evaluation = section("evaluation")
gate = section("gate")

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.evaluation import metrics, slices
from nextclick.evaluation.statistics import paired
from nextclick.plots import use_style
from nextclick.project import project_root

use_style()
root = project_root()
seed, k = run["seed"], evaluation["k"]
record = json.loads((root / "data/gate/record.json").read_text())
seen = pd.read_parquet(root / "data/gate/predictions.parquet")
decisive, sessions = record["metric"]["name"], seen["session"].to_numpy()
values = {side: metrics.per_prediction(seen[side].to_numpy(), k) for side in ("challenger", "champion")}
print(
    f"{record['recommender']}: {record['challenger']} against {record['champion'] or record['rival']}, on "
    f"{record['window']['predictions']:,} predictions in {record['window']['sessions']:,} sessions from "
    f"{record['window']['from']} to {record['window']['until']}."
)

# %% [markdown]
# ## The verdict

# %%
print(f"{record['verdict'].upper()}: {record['reason']}")
guards = pd.DataFrame(record["guards"])
print(guards.round(4).to_string(index=False))

# %% [markdown]
# **Decision.** `gate.margin` says how much worse a bundle with newer data may be, `gate.alpha` how often chance may
# decide: two trainings that are equally good are promoted so often at most. Each challenger has its own `gate.alpha`.

# %% [markdown]
# ## How far apart are they?
# The bounds that decide, of each metric: by sessions, the same ones for both, and each one-sided.

# %%
names = [name for name in values["champion"] if not name.startswith("precision")]
level = record["metric"]["level"]
compared = pd.DataFrame(
    [paired.compare(values["challenger"][name], values["champion"][name], sessions, level) for name in names],
    index=names,
)
fig, ax = plt.subplots(figsize=(8, 2.5))
middle = compared["difference"]
ax.errorbar(middle, np.arange(len(names)), xerr=[middle - compared["low"], compared["high"] - middle], fmt="o")
ax.axvline(0, linestyle=":")
ax.axvline(-gate["margin"], linestyle="--")
ax.set_yticks(np.arange(len(names)), names)
ax.set(title=f"Bounds at {level:.3g} each; dashed: the margin", xlabel="challenger over champion, less 1")
plt.show()
print(
    f"{decisive}: {record['metric']['champion']:.4f} and {record['metric']['challenger']:.4f}, "
    f"{record['metric']['difference']:+.2%}, one-sided bounds {record['metric']['low']:+.2%} and "
    f"{record['metric']['high']:+.2%} at {record['metric']['level']:.3g} each; they differ on "
    f"{record['metric']['differing']:,} sessions."
)

# %% [markdown]
# ## For whom?

# %%
labelled = seen[[column for column in seen if column not in ("session", "challenger", "champion")]]
by_slice = slices.by_slice(
    values["challenger"][decisive] - values["champion"][decisive], labelled, sessions, seed
).rename(columns={"value": "gain"})  # fmt: skip
fig, ax = plt.subplots(figsize=(7, 6))
middle = by_slice["gain"]
ax.errorbar(middle, np.arange(len(by_slice)), xerr=[middle - by_slice["low"], by_slice["high"] - middle], fmt="o")
ax.axvline(0, linestyle=":")
ax.set_yticks(np.arange(len(by_slice)), by_slice["slice"] + " = " + by_slice["label"])
ax.set(title=f"Gain in {decisive}, with 95 % intervals", xlabel="challenger minus champion")
plt.show()
print(by_slice.round(4).to_string(index=False))

# %% [markdown]
# ## One session, followed through
# The prediction on which they differ most: what a visitor would see of the change.

# %%
gain = values["challenger"][decisive] - values["champion"][decisive]
for i in (int(np.argmax(gain)), int(np.argmin(gain))):
    at = {side: int(seen[side].iloc[i]) for side in ("challenger", "champion")}
    said = {side: f"in place {rank}" if rank else f"not among the first {k}" for side, rank in at.items()}
    print(
        f"Session {sessions[i]}: the next item stood {said['challenger']} of the challenger, {said['champion']} of the champion."
    )
