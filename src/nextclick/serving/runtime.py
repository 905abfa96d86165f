"""What a worker of the service runs with, from its start to its end."""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from numba import set_num_threads

from nextclick.features.store.connect import apply_definitions, connect, require_meant_store
from nextclick.features.store.online import OnlineStates
from nextclick.params import Params
from nextclick.serving.deployment import Deployment
from nextclick.serving.prediction_writer import FOLDER, SHADOW, PredictionLog
from nextclick.serving.recommend import Engine
from nextclick.serving.session_reader import States
from nextclick.serving.shadow import Shadow
from nextclick.serving.traffic import API_KEY
from nextclick.serving.turns import Turns
from nextclick.stream.intake import Intake, open_intake

SWITCH_SECONDS = 0.0005  # how long a thread beside may hold the interpreter while a request waits for it
# young objects of a request die young; what is left after the freeze is so little that looking at all of it is rare
COLLECT_AFTER = (20_000, 20, 100)


@dataclass
class Runtime:
    """draining: whether the service is about to end, and new requests should go elsewhere."""

    params: Params
    engine: Engine
    turns: Turns
    intake: Intake
    predictions: PredictionLog
    shadow: Shadow
    shadow_predictions: PredictionLog
    api_key: bytes | None
    draining: bool = False

    @classmethod
    def open(cls, root: Path, params: Params) -> Runtime:
        """Ready to answer when it returns. Raises InputError and UnavailableError."""
        set_num_threads(1)  # waking a second thread costs more than one request
        sys.setswitchinterval(SWITCH_SECONDS)
        require_meant_store(params)
        apply_definitions(root, params)
        deployment = Deployment(root, params.features)
        states = States(OnlineStates(connect(root, params)))
        states.warm_up()
        shown, unseen = (PredictionLog(root, params.serving.log_days, folder) for folder in (FOLDER, SHADOW))
        limits = params.serving.budget_ms, params.serving.max_staleness
        shadow = Shadow(Engine(deployment, states, unseen, *limits))
        engine = Engine(deployment, states, shown, *limits, shadow)
        key = os.environ.get(API_KEY)
        return cls(
            params,
            engine,
            Turns(params.serving.max_wait_ms),
            open_intake(root, params),
            shown,
            shadow,
            unseen,
            key.encode() if key else None,
        )

    def close(self) -> None:
        self.engine.deployment.close()
        self.engine.states.close()
        self.intake.close()
        self.predictions.close()
        self.shadow.close()
        self.shadow_predictions.close()


def freeze_heap() -> None:
    """What lives as long as the worker is never looked at again by the garbage collector: without this, a full
    collection stops a request for a tenth of a second now and then."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
