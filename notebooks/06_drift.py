# %% [markdown]
# # Has the shop moved away from what the bundle knows?
# `nextclick drift` runs this notebook: a window as served is compared with the held-out sessions on which the promise
# rests.

# %% tags=["parameters"]
from nextclick.project import section

monitoring = section("monitoring")

# %%
import html
import json
import re
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from nextclick.monitoring.reference import Reference
from nextclick.plots import use_style
from nextclick.project import project_root

use_style()
root = project_root()
folder = root / json.loads((root / "data/drift/window.json").read_text())["folder"]
evidence, decision = (json.loads((folder / f"{name}.json").read_text()) for name in ("drift", "decision"))
reference = Reference.load(root / "data/drift/reference")
served = pd.read_parquet(root / "data/drift/served.parquet")
profile, before = evidence["facts"], evidence["facts_before"]
print(f"Window {folder.name}, bundle {decision['inputs']['bundle']}.")
print(f"{decision['outcome'].upper()} ({decision['rule']}): {decision['words']}")

# %% [markdown]
# ## Is the data sound?
# First of all, since a fault of the tracker looks like drift, and a model must not learn it.

# %%
counts = ("events", "sessions", "per_day", "least_a_day", "per_session")
shown = [name for name in (*counts, "lost", "twice", "new_items", "top_share", "robots") if name in profile]
print(pd.DataFrame({"window": profile, "reference": before}).loc[shown].astype(float).round(4).to_string())
meanings = {"lost": "lack a value", "twice": "came twice", "new_items": "fall on items that the model does not know"}
shares = [f"{profile[name]:.1%} {what}" for name, what in meanings.items() if name in profile]
print("Of the events " + ", ".join(shares) + "." if shares else "There are no events.")
mix = pd.DataFrame({"window": profile.get("mix", {}), "reference": before["mix"]}, dtype=float).fillna(0)
days = pd.DataFrame(evidence["days"]).T
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
mix.plot.bar(ax=left, rot=0)
left.set(title="Mix of events", xlabel="type", ylabel="share of the events")
if len(days):
    right.bar(days.index, days["events"].astype(float))
right.set(title="Events a day", ylabel="events")
right.tick_params(axis="x", rotation=45)
plt.show()

# %% [markdown]
# ## Is the service well?
# Degraded lists, and lists that lack clicks of their visitor, say nothing of the model. A replay has neither.

# %%
service = evidence["service"]
if service:
    of = ", ".join(f"{lists:,} of bundle {version}" for version, lists in service["versions"].items())
    print(f"{service['lists']:,} lists: {of or 'none'}. Judged are those of {decision['inputs']['bundle']}.")
    if service["milliseconds"]:
        print("milliseconds to compute one:", ", ".join(f"{k} {v:.1f}" for k, v in service["milliseconds"].items()))
    for what in ("degraded", "stale"):
        parts = [f"{share:.1%} {reason}" for reason, share in service[what].items()]
        print(f"{what}: {', '.join(parts) or 'none'}")
    unknown = service["unknown_clicks"]
    print("lists that lack a click of a minute before:", "nothing to tell by" if unknown is None else f"{unknown:.1%}")
else:
    print("These events were replayed: no service had a part in it.")

# %% [markdown]
# ## Which features moved, and does the ranker lean on them?
# Jensen-Shannon distance, 0 to 1, does not grow with the sample. A column moved if it passes `monitoring.effect` and what
# chance alone gives once in `monitoring.windows_to_false_alarm` windows, on average over references; whole sessions are
# resampled, the reference's too.

# %%
columns = pd.DataFrame(evidence["columns"])
columns["importance"] = columns["column"].map(reference.about.importance).fillna(0)
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
if evidence["drift"] is not None:
    print(
        f"{int(columns['drifted'].sum())} of {len(columns)} columns moved, with {evidence['drift']:.0%} of the importance."
    )
for what, names in {**evidence["said"], "served other than trained": evidence["skewed"]}.items():
    if names:
        print(f"{what}: {', '.join(names)}")

# %% [markdown]
# ## Since when?
# Days of fewer than 50 sessions are left out, and so are the weekday and the age of items, which have to differ by day.

# %%
chart = pd.DataFrame(evidence["map"]).T
if chart.size:
    chart = chart.loc[[name for name in columns["column"].head(30) if name in chart.index]].sort_index(axis=1)
    fig, ax = plt.subplots(figsize=(8, 7))
    picture = ax.imshow(chart.astype(float), aspect="auto", vmin=0, vmax=max(0.3, float(chart.max().max())))
    ax.set_yticks(range(len(chart)), chart.index, fontsize=7)
    ax.set_xticks(range(chart.shape[1]), chart.columns, rotation=45)
    ax.grid(False)
    ax.set(title="Distance from the reference, by feature and day")
    fig.colorbar(picture, label="Jensen-Shannon distance")
    plt.show()
    feature, day = chart.astype(float).stack().idxmax()
    print(f"Farthest from the reference: {feature} on {day}, by {chart.loc[feature, day]:.2f}.")
else:
    print("No day has 50 sessions with a list: there is no map.")

# %% [markdown]
# ## Did it do harm?

# %%
performance = evidence["performance"]
if not performance["complete"]:
    print("The clicks on the last lists are not all in: hits are not judged yet.")
elif performance["interval"] is None:
    print("Nothing tells of hits.")
else:
    low, high = performance["interval"]
    print(f"{reference.about.figure}: {low:.4f} to {high:.4f} (95 %), promised {performance['promised']:.4f}.")
print(f"The model is {evidence['age_days']:.1f} days old at the window's first event.")

# %% [markdown]
# ## Evidently's report
# The 30 columns that moved most, of at most 5,000 rows of each side, evenly spaced. Its distance takes natural logarithms
# and bins of equal width, so its numbers differ from those above, whose limits are passed on in its unit. The decision
# rests on those above.

# %%
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

names = [name for name in columns["column"] if name in served and served[name].notna().any()]
names = [name for name in names if reference.served[name].notna().any()][:30]
left_out = [name for name in columns["column"] if name not in served or served[name].isna().all()]
UUID = re.compile("-?".join(f"[0-9a-f]{{{digits}}}" for digits in (8, 4, 4, 4, 12)))
words = f"<h1>{decision['outcome'].capitalize()}</h1><p>{html.escape(decision['words'])}</p>"
words += f"<p>Window {folder.name}, bundle {decision['inputs']['bundle']}. All the evidence: drift.json beside this file.</p>"
moved = columns[columns["drifted"]]["column"]
if len(moved):
    words += (
        f"<p>Moved beyond chance: {html.escape(', '.join(moved))}. Evidently's verdicts below rest on other bins.</p>"
    )
if left_out and len(served):
    words += f"<p>Missing or null throughout: {html.escape(', '.join(left_out))}.</p>"
if evidence["skewed"]:
    words += f"<p>Served other than trained: {html.escape(', '.join(evidence['skewed']))}.</p>"
head = f'<section style="font-family: sans-serif; margin: 2em; max-width: 60em">{words}</section>'
if len(served) > 1 and names:
    definition = DataDefinition(numerical_columns=names)
    limits = columns.set_index("column")["limit"] * np.sqrt(np.log(2))
    preset = DataDriftPreset(
        columns=names,
        num_method="jensenshannon",
        per_column_threshold=limits[names].to_dict(),
        drift_share=monitoring["drift_share"],
        include_tests=False,
    )
    with warnings.catch_warnings(action="ignore"):
        data = [
            Dataset.from_pandas(table[names].iloc[:: -(-len(table) // 5_000)].astype(np.float64), definition)
            for table in (served, reference.served)
        ]
        report = Report([preset], include_tests=False).run(*data)
    report.save_html(str(folder / "report.html"))
    text = (folder / "report.html").read_text().replace("<body>", f"<body>{head}", 1)
    drawn: dict[str, str] = {}  # Evidently draws its ids anew each time; the same window is to give the same bytes
    text = UUID.sub(lambda match: drawn.setdefault(match[0].replace("-", ""), f"{len(drawn):032x}"), text)
else:
    text = f"<!doctype html><html><title>Drift</title><body>{head}</body></html>"
(folder / "report.html").write_text(text)
print(f"{folder.relative_to(root)}/report.html")
display(HTML(f'<iframe title="Evidently" style="width: 100%; height: 60em" srcdoc="{html.escape(text)}"></iframe>'))

# %% [markdown]
# **Decision.** `retrain` calls for `nextclick retrain`; `alert` says what to fix first, since a model that learns a
# fault keeps it; `hold` leaves things as they are. The thresholds are those of `monitoring` in params.yaml.
