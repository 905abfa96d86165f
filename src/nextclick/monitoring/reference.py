"""What a window is compared with: how the bundle saw the held-out sessions on which its promise rests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nextclick.errors import InputError
from nextclick.monitoring.data_profile import facts_by_day, facts_of
from nextclick.monitoring.offline_replay import replay
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender

FOLDER = Path("models/reference")
ABOUT = ("session", "moment")  # columns of `served` that are no features
PIPELINES = Path("models/bundle")  # whose reference lies in FOLDER
FACTS = {"days", "per_day", "least_a_day", "per_session", "mix", "lost", "twice", "new_items", "top_share", "robots"}
KEYS = {"bundle", "trained_until", "figure", "promised", "facts", "days", "importance"}


def reference_of(bundle: Path) -> Path:
    """The folder of a bundle's reference, from where the bundle lies: a registered one has its own beside it."""
    return bundle.with_name(FOLDER.name if bundle.name == PIPELINES.name else f"{bundle.name}-{FOLDER.name}")


@dataclass(frozen=True)
class Reference:
    """served: see `Replay`, with numbers in place of the sessions' ids. about: bundle (its version), trained_until (ISO
    text), figure (the deciding metric), promised (its value), facts (see `facts_of`), days (see `facts_by_day`),
    importance (gain of each feature)."""

    served: pd.DataFrame
    about: dict[str, Any]

    @classmethod
    def of(
        cls,
        recommender: Recommender,
        manifest: dict[str, Any],
        events: pd.DataFrame,
        before: pd.DataFrame,
        promised: float,
        params: Params,
    ) -> Reference:
        """events: the held-out canonical events. before: those that came before them."""
        types, vocabulary = params.ingest.event_types, recommender.snapshot.vocabulary
        served = replay(
            recommender,
            events,
            before,
            types,
            features=params.features,
            k=params.evaluation.k,
            most=params.evaluation.reference,
            seed=params.run.seed,
        ).served
        served["session"] = pd.factorize(served["session"])[0]  # who they were is of no use here
        about = {
            "bundle": manifest["version"],
            "trained_until": manifest["trained_until"],
            "figure": params.evaluation.figure,
            "promised": promised,
            "facts": facts_of(events, vocabulary.ids),
            "days": facts_by_day(events, vocabulary.ids),
            "importance": dict(sorted(recommender.ranker.get_score(importance_type="total_gain").items())),
        }
        return cls(served, about)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.served.to_parquet(folder / "served.parquet", index=False, compression="zstd")
        (folder / "about.json").write_text(json.dumps(self.about, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Raises InputError, naming the file, where one is missing or broken."""
        try:
            about = json.loads((folder / "about.json").read_text())
            if lacking := KEYS - set(about) or FACTS - set(about["facts"]):
                raise ValueError(f"about.json has no {', '.join(sorted(lacking))}")
            return cls(pd.read_parquet(folder / "served.parquet"), about)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: no reference of the bundle ({error}); the stage `evaluate` writes it"
            ) from error
