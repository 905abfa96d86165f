# %% [markdown]
# # What do the clicks look like, and what does that mean for a recommender?

# %% tags=["parameters"]
from nextclick.project import section

ingest = section("ingest")

# %%
import json

import matplotlib.pyplot as plt
import pandas as pd

from nextclick.evaluation import exploration
from nextclick.events.known_items import known_items
from nextclick.plots import use_style
from nextclick.project import project_root

use_style()
root = project_root()
counts = json.loads((root / "reports/metrics/ingest.json").read_text())
train = pd.read_parquet(root / "data/split/train.parquet")
test = pd.read_parquet(root / "data/split/test.parquet")
items = known_items(pd.read_parquet(root / "data/interim/items.parquet"))
facts = exploration.facts(train, test, items)
print(exploration.sentence_of_counts(counts))

# %% [markdown]
# ## What is missing?
# Absent columns give fewer features, never an error.

# %%
missing = exploration.missing_shares(train, items)
missing.plot.barh(title="Share of values missing", xlabel="share", xlim=(0, 1))
plt.show()
print(f"{(missing == 1).sum()} of {len(missing)} columns are empty; {(missing == 0).sum()} are complete.")

# %% [markdown]
# ## How long are sessions?

# %%
lengths = exploration.session_lengths(train)
lengths.value_counts().sort_index().plot(logy=True, title="Sessions by length", xlabel="events", ylabel="sessions")
plt.show()
print(
    f"The mean session has {lengths.mean():.1f} events, the median {lengths.median():.0f}, one in a hundred more than "
    f"{lengths.quantile(0.99):.0f}, the longest {lengths.max()}; skewness {lengths.skew():.1f}."
)
few = lengths.clip(upper=5) - 1  # of a session's predictions, those that know fewer than five events
print(
    f"{few.sum() / (lengths - 1).sum():.0%} of the clicks to be predicted come when fewer than five events are known."
)

# %% [markdown]
# **Decision.** A session says little by itself, so candidates come from past sessions with the same items
# (`retrieval.neighbours`); what it does say is read closely, click by click.

# %% [markdown]
# ## How unequal are the items?

# %%
clicks = train["item_id"].value_counts().reset_index(drop=True)
clicks.index += 1
clicks.plot(loglog=True, title="Clicks by rank of the item", xlabel="rank", ylabel="clicks")
plt.show()
print(
    f"{len(clicks)} items; the most clicked tenth gets {facts['head_share']:.0%} of the clicks, "
    f"{facts['rare_items']:.0%} of the items have fewer than 5."
)

# %% [markdown]
# **Decision.** Scores by item counts are damped (`retrieval.sample` bounds what a popular item contributes), and
# popularity bias is measured in 04.

# %% [markdown]
# ## How often do people come back to an item of the session?

# %%
print(
    f"{facts['repeats']:.1%} of the clicks repeat an item seen earlier in the session, so own items are candidates: "
    "leaving them out would give these up."
)

# %% [markdown]
# ## When do people click?

# %%
hours = exploration.hours_by_weekday(train)
fig, ax = plt.subplots()
image = ax.imshow(hours, aspect="auto", cmap="viridis")
ax.set(title="Events by hour and weekday (UTC)", xlabel="hour", ylabel="weekday", yticks=range(7))
ax.set_yticklabels(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
fig.colorbar(image, label="events")
plt.show()
exploration.sessions_by_day(train, test).plot(
    marker=".", ylim=(0, None), title="Sessions by day of their end, without cut days", xlabel="", ylabel="sessions"
)
plt.show()
if counts["clock"] == "order":
    print("The source has no times: these were made up from its order, and only the order means anything.")
else:
    print(f"The busiest hour has {hours.to_numpy().max() / hours.to_numpy().mean():.1f} times the mean hour's events.")

# %% [markdown]
# ## How long between clicks, and who is too fast to be a person?

# %%
gaps = exploration.gaps_seconds(train)
gaps[gaps > 0].plot.hist(bins=exploration.log_bins(gaps), logx=True, title="Gaps between clicks", xlabel="seconds")
plt.show()
suspects = exploration.suspected_bots(train)
print(
    f"The median gap is {gaps.median():.1f} s, one in ten is above {gaps.quantile(0.9):.0f} s. "
    f"{len(suspects)} sessions ({len(suspects) / max(1, len(lengths)):.2%}) have 30 events or more with a median gap "
    "below 2 s: outliers that look like bots."
)

# %% [markdown]
# ## Which of a session's numbers go together?

# %%
print(exploration.session_numbers(train).corr(method="spearman").round(2).to_string())

# %% [markdown]
# ## Does the test know anything of training, or training of the test?

# %%
print(
    f"{facts['shared_sessions']} sessions stand on both sides; training ends {facts['gap_hours']:.2f} hours before the "
    f"test begins; {facts['new_items']:.1%} of the test's clicks are on items that training never saw: "
    "they can't be recommended, and 04 shows them as a slice."
)
assert facts["shared_sessions"] == 0

# %% [markdown]
# ## One session, followed through

# %%
chosen = exploration.typical_session(train)
print(chosen.merge(items[["item_id", "title", "category", "price"]], on="item_id", how="left").to_string(index=False))

# %% [markdown]
# **Next.** What the clicks are like decides what is made of them: [02_features](02_features.ipynb).
