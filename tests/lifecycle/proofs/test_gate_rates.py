"""The gate's errors are as rare as it says, on sessions drawn again and again; and gates with a bug are found out.

`python benchmarks/error_rates --only gate` tries many more cases, and `benchmarks/gate.py` the full shop.
"""

import sys

import numpy as np
import pytest
from scipy.stats import binom

from nextclick.evaluation.metrics import per_prediction
from nextclick.evaluation.statistics import paired
from nextclick.evaluation.statistics.paired import Bounds, compare
from nextclick.lifecycle import gate as gate_module
from nextclick.lifecycle import guards
from nextclick.lifecycle.candidate import Candidate
from nextclick.params import Gate, Params

from ..conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
sys.path.insert(0, str(ROOT / "benchmarks/error_rates"))
import calibration_rates
import gate_rates
from gate import Trials
from rate import TASTES

TRIALS, ALPHA = 1000, Gate().alpha
MOST = int(binom.ppf(0.99, TRIALS, ALPHA))  # more false ones come up once in 100 times at a true alpha


@pytest.fixture(scope="module")
def trials(simulated, champion, tmp_path_factory) -> Trials:
    """Two trainings that differ by their seed, on a window of some thousand predictions. What is seen in a trial is
    seen once, and each rule is asked about it."""
    train, run = simulated.window.train, simulated.params.run.model_copy(update={"seed": 8})
    other = simulated.save(simulated.train(train, run=run), tmp_path_factory.mktemp("other"), train["timestamp"].max())
    both = [Candidate.load(folder, simulated.window, simulated.params) for folder in (champion, other)]
    values = np.stack([per_prediction(one.ranks, 20)["mrr@20"] for one in both], axis=1)
    assert (values[:, 0] != values[:, 1]).mean() > 0.1
    return Trials(values, both[0].prefixes.sessions)


def false_promotions(trials: Trials, params: Params) -> tuple[int, int]:
    """Of two that are the same, and of one that knows newer data and is worse by the margin."""
    same = trials.verdicts(0.0, params, TRIALS)
    worse = trials.verdicts(-params.gate.margin, params, TRIALS, seed=1)
    return sum(rule == "promote" for rule, _ in same), sum(rule == "promote" for _, rule in worse)


def test_what_is_no_better_is_promoted_at_most_as_often_as_alpha_says(trials):
    params = Params()
    same, worse = false_promotions(trials, params)
    assert same <= MOST
    assert worse <= MOST
    caught = [rule != "promote" for _, rule in trials.verdicts(-0.04, params, 200)]
    assert np.mean(caught) >= 0.9


def test_a_gate_that_always_promotes_is_found_out(trials, monkeypatch):
    monkeypatch.setattr(gate_module, "conclude", lambda *_: ("promote", "planted"))
    assert min(false_promotions(trials, Params())) > MOST


def test_a_gate_that_looks_at_the_mean_alone_is_found_out(trials, monkeypatch):
    def planted(seen, gate: Gate, fresher: bool):
        return ("promote" if seen.difference > (-gate.margin if fresher else 0) else "hold"), "planted"

    monkeypatch.setattr(gate_module, "conclude", planted)
    assert min(false_promotions(trials, Params())) > MOST


# hits, sessions, share of the sessions that the two rank differently: where the fewest differ, and where many do
CASES = [("27 %", 200, 0.02), ("27 %", 200, 0.3), ("27 %", 1000, 0.02), ("3 %", 200, 1.0), ("3 %", 1000, 0.3)]


def errors(case: tuple[str, int, float]) -> dict[str, int]:
    hits, n, changed = case
    limits, about = Gate(), (n, TASTES[hits], changed)
    same = gate_rates.seen(*about, 0.0, TRIALS, 3, limits.alpha)
    worse = gate_rates.seen(*about, -limits.margin, TRIALS, 4, limits.alpha)
    return {
        "promoted": gate_rates.verdicts(same, limits, False, "promote"),
        "rejected": gate_rates.verdicts(same, limits, False, "reject"),
        "worse promoted": gate_rates.verdicts(worse, limits, True, "promote"),
    }


@pytest.mark.parametrize("case", CASES, ids=str)
def test_few_sessions_and_rare_hits_err_no_more_often(case):
    assert max(errors(case).values()) <= MOST


def percentile_bounds(ours: np.ndarray, theirs: np.ndarray, level: float) -> Bounds:
    """A percentile bootstrap over sessions."""
    random, n = np.random.default_rng(7), len(ours)
    drawn = random.multinomial(n, np.full(n, 1 / n), 1000).astype(float)
    ratios = (drawn @ ours) / np.maximum(drawn @ theirs, 1e-12) - 1
    return Bounds(*np.quantile(ratios, [level, 1 - level], axis=0), (ours != theirs).sum(axis=0))


def test_a_percentile_bootstrap_on_200_sessions_is_found_out(monkeypatch):
    monkeypatch.setattr(paired, "ratio_bounds", percentile_bounds)
    assert errors(("27 %", 200, 0.02))["worse promoted"] > MOST


def test_trials_side_by_side_say_what_compare_says_of_each():
    random = np.random.default_rng(0)
    ours, theirs, sessions = gate_rates.metric_of_two(300, TASTES["27 %"], 1.0, 0.0, random)
    one = compare(ours, theirs, sessions, ALPHA)
    same = gate_rates.seen(300, TASTES["27 %"], 1.0, 0.0, 1, 0, ALPHA)[0]
    assert (one.low, one.high, one.differing) == pytest.approx((same.low, same.high, same.differing))
    assert (one.champion, one.difference) == pytest.approx((same.champion, same.difference))


def test_several_looks_share_alpha_and_a_gate_that_spends_it_at_each_is_found_out():
    limits, few = Gate(), 300
    about = (200, TASTES["27 %"], 10, 0.0, False, few, 5)
    most = int(binom.ppf(0.99, few, limits.alpha))
    assert gate_rates.promoted_at_some_look(*about, limits) <= most
    spent = limits.model_copy(update={"alpha": 10 * limits.alpha})  # which the looks share
    assert gate_rates.promoted_at_some_look(*about, spent) > most


def test_slices_share_alpha_and_a_guard_that_looks_at_their_means_is_found_out(monkeypatch):
    limits, few = Gate(), 100
    about = (500, TASTES["27 %"], limits.slice_loss, few, 6, limits)
    most = int(binom.ppf(0.99, few, limits.alpha))
    assert gate_rates.slice_rejections(*about) <= most

    def planted(ours, theirs, sessions, level):
        seen = compare(ours, theirs, sessions, level)
        return seen.__class__(**{**vars(seen), "high": seen.difference})

    monkeypatch.setattr(guards, "compare", planted)
    assert gate_rates.slice_rejections(*about) > most


def test_a_calibrated_ranker_passes_and_one_that_tells_nothing_does_not():
    limits, few = Gate(), 60
    honest = calibration_rates.verdicts(1000, TASTES["27 %"], "honest", few, 0, limits)
    assert honest["calibration fails"] <= binom.ppf(0.99, few, 2 * limits.alpha)
    assert honest["discrimination fails"] == 0
    assert min(honest[name] for name in calibration_rates.SPOILT) >= 0.9 * few
    for kind in ("reversed", "random", "constant"):
        found = calibration_rates.verdicts(1000, TASTES["27 %"], kind, 20, 1, limits)
        assert found["discrimination does not pass"] >= 18, kind


def missing_promotes() -> bool:
    values, sessions = np.full(400, 0.5), np.arange(400)
    broken = compare(values * np.nan, values, sessions, 0.05)
    return any(gate_module.conclude(broken, Params().gate, fresher)[0] == "promote" for fresher in (False, True))


def test_missing_evidence_never_promotes_and_a_gate_in_which_it_does_is_found_out(monkeypatch):
    assert not missing_promotes()

    def planted(seen, gate: Gate, fresher: bool):
        return ("hold" if seen.low <= 0 else "promote"), "planted"  # NaN <= 0 is false

    monkeypatch.setattr(gate_module, "conclude", planted)
    assert missing_promotes()
