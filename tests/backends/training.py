"""A driver to be killed: trains on Ray what lies in a folder. Usage: training.py FOLDER WORKERS PARAMS (as JSON)"""

import sys
from pathlib import Path

from nextclick.backends.ray_backend import RayBackend
from nextclick.params import Pipeline, Ranker
from nextclick.ranking.ranker import Examples

folder, workers, params = Path(sys.argv[1]), int(sys.argv[2]), Ranker.model_validate_json(sys.argv[3])
booster, _ = RayBackend(Pipeline(engine="ray", workers=workers)).train(
    Examples.load(folder / "learned"),
    params,
    1,
    1,
    held_out=Examples.load(folder / "held_out"),
    checkpoints=folder / "checkpoints",
)
(folder / "model.ubj").write_bytes(booster.save_raw("ubj"))
