"""A ranker whose training was killed ends with the same bytes as one whose training was not."""

import json
import subprocess
import sys
from threading import Thread

import numpy as np
import pytest
from xgboost import RabitTracker

from nextclick.errors import InputError
from nextclick.params import Ranker
from nextclick.ranking.ranker import Examples, hold_out, train_ranker

NAMES = tuple("abcdefgh")
PARAMS = Ranker(rounds=12, checkpoint_rounds=4, max_depth=3, min_child_weight=1)


@pytest.fixture(scope="module")
def examples() -> Examples:
    random = np.random.default_rng(0)
    features = random.standard_normal((2000, len(NAMES))).astype(np.float32)
    labels = np.zeros(2000, np.float32)
    labels[np.arange(0, 2000, 10) + features.reshape(200, 10, -1)[:, :, 3].argmax(axis=1)] = 1
    return Examples(features, labels, np.full(200, 10), 1.0, NAMES)


class Killed(BaseException):
    """Stands for the kill signal, from which no code recovers."""


@pytest.mark.ml_test("infra-2")
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(examples, tmp_path, monkeypatch):
    whole, curves = train_ranker(examples, PARAMS, 1, 2, checkpoints=tmp_path / "whole")
    assert len(curves["train"]) == 12
    segments = []

    def killed_in_the_third(*given):
        segments.append(given)
        if len(segments) == 3:
            raise Killed
        return original(*given)

    original = train_ranker.__globals__["_segment"]
    monkeypatch.setitem(train_ranker.__globals__, "_segment", killed_in_the_third)
    with pytest.raises(Killed):
        train_ranker(examples, PARAMS, 1, 2, checkpoints=tmp_path / "killed")
    resumed, resumed_curves = train_ranker(examples, PARAMS, 1, 2, checkpoints=tmp_path / "killed")
    assert len(segments) == 4  # two before the kill, the one killed, and that one again: not the first two
    assert resumed.save_raw("ubj") == whole.save_raw("ubj")
    assert resumed_curves == curves


JOINS = """
import json, sys
from pathlib import Path
import xgboost as xgb
from nextclick.ranking.ranker import newest_checkpoint
args, folder, key = json.loads(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with xgb.collective.CommunicatorContext(**args):
    print(newest_checkpoint(folder, key, 12)[1])
"""


def test_workers_that_train_together_go_on_from_what_all_of_them_see(examples, tmp_path):
    """Else each would train another number of rounds, and wait for ever for the others."""
    seen, late = tmp_path / "seen", tmp_path / "late"
    train_ranker(examples, PARAMS, 1, 2, checkpoints=seen, key="run")
    late.mkdir()
    for path in seen.glob("run-4.*"):
        (late / path.name).write_bytes(path.read_bytes())
    tracker = RabitTracker(n_workers=2, host_ip="127.0.0.1")
    tracker.start()
    Thread(target=tracker.wait_for, daemon=True).start()
    about = json.dumps(tracker.worker_args())
    workers = [
        subprocess.Popen([sys.executable, "-c", JOINS, about, str(folder), "run"], stdout=subprocess.PIPE, text=True)
        for folder in (seen, late)
    ]
    assert [worker.communicate(timeout=120)[0].split()[-1] for worker in workers] == ["4", "4"]


def test_checkpoints_of_other_data_or_settings_are_not_taken(examples, tmp_path):
    first, _ = train_ranker(examples, PARAMS, 1, 2, checkpoints=tmp_path)
    deeper, _ = train_ranker(examples, PARAMS.model_copy(update={"max_depth": 4}), 1, 2, checkpoints=tmp_path)
    alone, _ = train_ranker(examples, PARAMS.model_copy(update={"max_depth": 4}), 1, 2, checkpoints=tmp_path / "alone")
    assert deeper.save_raw("ubj") == alone.save_raw("ubj") != first.save_raw("ubj")


def test_the_held_out_curve_is_of_groups_not_trained_on(examples, tmp_path):
    _, curves = train_ranker(
        examples.take_groups(0, 150), PARAMS, 1, 2, held_out=examples.take_groups(150, 200), checkpoints=tmp_path
    )
    assert curves["train"][-1] > curves["train"][0]
    assert len(curves["held_out"]) == 12


def test_examples_survive_saving(examples, tmp_path):
    examples.save(tmp_path)
    loaded = Examples.load(tmp_path)
    np.testing.assert_array_equal(loaded.features, examples.features)
    assert (loaded.recall, loaded.names) == (examples.recall, NAMES)


def test_the_newest_groups_are_held_out_and_too_few_are_an_error(examples):
    learned, held_out = hold_out(examples, 0.1)
    assert len(learned.groups) + len(held_out.groups) == len(examples.groups)
    np.testing.assert_array_equal(held_out.features, examples.features[-held_out.groups.sum() :])
    with pytest.raises(InputError, match="only 4 predictions to learn from"):
        hold_out(examples.take_groups(0, 4), 0.1)
