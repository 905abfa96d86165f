# %% [markdown]
# # Has the shop moved away from what the bundle knows?
# Written by `nextclick drift`: a window as served is compared with the held-out sessions on which the promise rests.

# %% tags=["parameters"]
run = {"seed": 7, "threads": 2}

# %%
import json
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nextclick.monitoring.reference import FOLDER, Reference
from nextclick.plots import use_style
from nextclick.project import project_root

use_style()
root = project_root()
folder = root / json.loads((root / "data/drift/window.json").read_text())["folder"]
found, decision = (json.loads((folder / f"{name}.json").read_text()) for name in ("drift", "decision"))
reference = Reference.load(root / FOLDER)
served = pd.read_parquet(root / "data/drift/served.parquet")
facts, before = found["facts"], found["facts_before"]
print(f"Window {folder.name}, bundle {decision['inputs']['bundle']}.")
print(f"{decision['outcome'].upper()} ({decision['rule']}): {decision['words']}")

# %% [markdown]
# ## Is the data sound?
# First of all, since a fault of the tracker looks like drift, and a model must not learn it.

# %%
shown = [name for name in ("events", "sessions", "per_day", "lost", "twice", "new_items", "robots") if name in facts]
print(pd.DataFrame({"window": facts, "reference": before}).loc[shown].astype(float).round(4).to_string())
mix = pd.DataFrame({"window": facts.get("mix", {}), "reference": before["mix"]}, dtype=float).fillna(0)
days = pd.DataFrame(found["days"]).T
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
mix.plot.bar(ax=left, rot=0)
left.set(title="Mix of events", ylabel="share")
if len(days):
    right.bar(days.index, days["events"].astype(float))
right.set(title="Events a day")
right.tick_params(axis="x", rotation=45)
plt.show()

# %% [markdown]
# ## Which features moved, and does the ranker lean on them?
# Jensen-Shannon distance, 0 to 1: it does not grow with the sample. A column moved where it passes `monitoring.effect`
# and what chance alone gives, once in `monitoring.windows_to_false_alarm` windows, in whole sessions drawn again.

# %%
columns = pd.DataFrame(found["columns"])
columns["importance"] = columns["column"].map(reference.about["importance"]).fillna(0)
columns["importance"] /= max(columns["importance"].sum(), 1e-12)
most = columns.head(15).iloc[::-1]
fig, ax = plt.subplots(figsize=(8, 5))
ax.barh(most["column"], most["distance"].astype(float), color=np.where(most["drifted"], "#D55E00", "#0072B2"))
ax.plot(most["limit"], most["column"], "|", color="black", markersize=12)
ax.set(title="The 15 that moved most; bars beyond their mark moved", xlabel="distance")
plt.show()
print(columns.head(15).round(3).to_string(index=False))
score = columns[columns["column"] == "score"]["distance"].astype(float).sum()
print(f"The scores, the model's own output, moved by {score:.3f}.")
if found["drift"] is not None:
    print(
        f"{int(columns['drifted'].sum())} of {len(columns)} columns moved, with {found['drift']:.0%} of the importance."
    )
for what, names in {**found["said"], "served other than trained": found["skewed"]}.items():
    if names:
        print(f"{what}: {', '.join(names)}")

# %% [markdown]
# ## Since when?

# %%
chart = pd.DataFrame(found["map"]).T
if chart.size:
    chart = chart.loc[[name for name in columns["column"].head(30) if name in chart.index]].sort_index(axis=1)
    fig, ax = plt.subplots(figsize=(8, 7))
    picture = ax.imshow(chart.astype(float), aspect="auto", vmin=0, vmax=max(0.3, float(chart.max().max())))
    ax.set_yticks(range(len(chart)), chart.index, fontsize=7)
    ax.set_xticks(range(chart.shape[1]), chart.columns, rotation=45)
    ax.grid(False)
    ax.set(title="Distance from the reference, by feature and day")
    fig.colorbar(picture)
    plt.show()
else:
    print("Nothing was served: there is no map.")

# %% [markdown]
# ## Did it do harm?

# %%
performance = found["performance"]
if not performance["complete"]:
    print("The clicks on the last lists are not all in: hits are not judged yet.")
elif performance["interval"] is None:
    print("Nothing tells of hits.")
else:
    low, high = performance["interval"]
    print(f"{reference.about['figure']}: {low:.4f} to {high:.4f} (95 %), promised {performance['promised']:.4f}.")
print(f"The model is {found['age_days']:.1f} days old at the window's first event.")

# %% [markdown]
# ## Evidently's report
# With the same effect size and the same limits, so that its verdicts do not depend on the size of the sample: at most
# 5,000 rows of each side, evenly spaced.

# %%
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

names = [name for name in columns["column"] if name in served and served[name].notna().any()]
names = [name for name in names if reference.served[name].notna().any()]
if len(served) > 1 and names:
    definition = DataDefinition(numerical_columns=names)
    limits = columns.set_index("column")["limit"]
    preset = DataDriftPreset(
        columns=names, num_method="jensenshannon", per_column_threshold=limits[names].to_dict(), include_tests=False
    )
    with warnings.catch_warnings(action="ignore"):
        data = [
            Dataset.from_pandas(table[names].iloc[:: -(-len(table) // 5_000)].astype(np.float64), definition)
            for table in (served, reference.served)
        ]
        report = Report([preset], include_tests=False).run(*data)
    report.save_html(str(folder / "report.html"))
else:
    text = f"<!doctype html><title>Drift</title><h1>{decision['outcome']}</h1><p>{decision['words']}</p>"
    (folder / "report.html").write_text(text)
print(f"{folder.relative_to(root)}/report.html")

# %% [markdown]
# **Decision.** `retrain` calls for `nextclick retrain`; `alert` says what to mend first, since a model that learns a
# fault keeps it; `hold` leaves things as they are. The thresholds are those of `monitoring` in params.yaml.
