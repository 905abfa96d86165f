"""What a window is compared with: how the bundle served the held-out sessions on which its promise rests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nextclick.errors import InputError
from nextclick.monitoring.data_profile import DataProfile, profile_by_day, profile_of
from nextclick.monitoring.offline_replay import replay
from nextclick.params import Params
from nextclick.ranking.recommender import Recommender
from nextclick.result import Result

PIPELINE_BUNDLE, REFERENCE = Path("models/bundle"), Path("models/reference")  # what the pipeline's last run made
NO_FEATURES = ("session", "moment")  # columns of `served`
REQUIRED = {"days", "per_day", "least_a_day", "per_session", "mix", "lost", "twice", "new_items", "top_share", "robots"}


class About(Result):
    """What about.json holds."""

    bundle: str  # its version
    trained_until: str  # ISO text
    figure: str  # the deciding metric
    promised: float | None  # its value on the held-out sessions
    facts: DataProfile  # of the held-out events
    days: dict[str, DataProfile]
    importance: dict[str, float]  # gain of each feature


def reference_of(bundle: Path) -> Path:
    """The folder of a bundle's reference, by the bundle's own folder: a registered bundle has it beside itself."""
    return bundle.with_name(
        REFERENCE.name if bundle.name == PIPELINE_BUNDLE.name else f"{bundle.name}-{REFERENCE.name}"
    )


@dataclass(frozen=True)
class Reference:
    """served: see `Replay`, with numbers in place of the sessions' ids."""

    served: pd.DataFrame
    about: About

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
            max_served=params.evaluation.reference,
            seed=params.run.seed,
        ).served
        served["session"] = pd.factorize(served["session"])[0]  # who they were is of no use here
        about = About(
            bundle=manifest["version"],
            trained_until=manifest["trained_until"],
            figure=params.evaluation.metric,
            promised=promised,
            facts=profile_of(events, vocabulary.ids),
            days=profile_by_day(events, vocabulary.ids),
            importance=dict(sorted(recommender.ranker.get_score(importance_type="total_gain").items())),
        )
        return cls(served, about)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.served.to_parquet(folder / "served.parquet", index=False, compression="zstd")
        (folder / "about.json").write_text(json.dumps(self.about.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Reference:
        """Raises InputError, which names the file, if one is missing or corrupt."""
        try:
            about = About.from_dict(json.loads((folder / "about.json").read_text()))
            if missing := REQUIRED - about.facts.model_fields_set:
                raise ValueError(f"about.json has no {', '.join(sorted(missing))}")
            return cls(pd.read_parquet(folder / "served.parquet"), about)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: no reference of the bundle ({error}); the stage `evaluate` writes it"
            ) from error
