"""What a window is compared with: how the bundle saw the held-out sessions on which its promise rests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nextclick.errors import InputError
from nextclick.monitoring.facts import facts_by_day, facts_of
from nextclick.monitoring.replay import replay
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender

FOLDER = Path("models/reference")
ABOUT = ("session", "moment")  # columns of `served` that are no features


@dataclass(frozen=True)
class Reference:
    """served: see `Replay`. about: bundle (its version), trained_until (ISO text), figure (the deciding metric),
    promised (its value), facts (see `facts_of`), days (see `facts_by_day`), importance (gain of each feature)."""

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
            return cls(pd.read_parquet(folder / "served.parquet"), json.loads((folder / "about.json").read_text()))
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: no reference of the bundle ({error}); the stage `evaluate` writes it"
            ) from error
