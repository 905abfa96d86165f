"""A driver to be killed: trains on Ray what lies in a folder. Usage: training.py FOLDER WORKERS ROUNDS"""

import sys
from pathlib import Path

from nextclick.engine.on_ray import OnRay
from nextclick.params import Pipeline, Ranker
from nextclick.ranking.ranker import Examples

folder, workers, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
booster, _ = OnRay(Pipeline(engine="ray", workers=workers)).train(
    Examples.load(folder / "learned"),
    Ranker(rounds=rounds, checkpoint_rounds=10, max_depth=3, min_child_weight=1),
    1,
    1,
    held_out=Examples.load(folder / "held_out"),
    checkpoints=folder / "checkpoints",
)
(folder / "model.ubj").write_bytes(booster.save_raw("ubj"))
