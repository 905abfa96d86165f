"""The benchmark command: its figures, its intervals, and what it says of files that do not fit."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.errors import InputError
from nextclick.evaluation.baselines import STAN
from nextclick.evaluation.benchmark import METHODS, SPACING, read_sessions
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog

SHARED = Path(os.environ.get("NEXTCLICK_SHARED", Path(__file__).parents[3] / "shared")) / "data"


def write_sessions(path: Path, first: int, n: int) -> Path:
    rows = [(first + s, p, (s + p) % 15) for s in range(n) for p in range(4)]
    pd.DataFrame(rows, columns=["session_id", "position", "item_id"]).to_parquet(path)
    return path


def test_clicks_of_one_moment_have_the_order_of_their_positions_or_of_the_rows(tmp_path):
    rows = pd.DataFrame({"session_id": 1, "item_id": list("cab"), "timestamp": pd.Timestamp("2026-01-06", tz="UTC")})
    for order, given in (("cab", rows), ("abc", rows.assign(position=[9, 3, 4])), ("cab", rows.assign(position=1))):
        given.to_parquet(tmp_path / "sessions.parquet")
        log = SessionLog.from_events(read_sessions(tmp_path / "sessions.parquet"), ["view"])
        assert log.vocabulary.ids[log.items].tolist() == list(order)
    rows.assign(position=[0.5, 1, 2]).to_parquet(tmp_path / "sessions.parquet")
    with pytest.raises(InputError, match="column position must hold a whole number in every row"):
        read_sessions(tmp_path / "sessions.parquet")


def test_ids_have_the_spelling_that_ingest_gives_them(tmp_path):
    """Whole numbers that became floats in one file alone are the same items and sessions in both."""
    path = tmp_path / "sessions.parquet"
    rows = pd.DataFrame({"session_id": [2.0, 10.0], "position": [0, 0], "item_id": [1.0, 2.0]})
    for given in (rows, rows.astype({"session_id": int, "item_id": int}), rows.astype({"item_id": str})):
        given.to_parquet(path)
        read = read_sessions(path)
        assert read[["session_id", "item_id"]].values.tolist() == [[2, "1"], [10, "2"]]
        assert read["timestamp"].is_monotonic_increasing  # 2 before 10
    for item, said in ((1e17, "row 1: item_id is a float that lost digits"), ("NULL", "row 1: item_id is empty, or")):
        rows.astype({"item_id": object if item == "NULL" else float}).assign(
            item_id=["1", item] if item == "NULL" else [1.0, item]
        ).to_parquet(path)
        with pytest.raises(InputError, match=said):
            read_sessions(path)


def test_methods_that_weigh_by_age_see_a_test_after_the_training(tmp_path):
    """Files without times: the newest session of two alike is the nearer one. The planted clock, the test's as the
    training's, makes all past sessions equally old."""
    train = tmp_path / "train.parquet"
    rows = [(s, p, item) for s in range(40) for p, item in enumerate((1, 2) if s < 20 else (1, 3))]
    pd.DataFrame(rows, columns=["session_id", "position", "item_id"]).to_parquet(train)
    test = tmp_path / "test.parquet"
    pd.DataFrame({"session_id": [1, 1], "position": [0, 1], "item_id": [1, 3]}).to_parquet(test)
    log = SessionLog.from_events(read_sessions(train), ["view"])
    stan = STAN(age=1e-3).fit(log)
    nearer = {}
    for begin in (int(log.ends[-1]) + SPACING, 0):
        later = SessionLog.from_events(read_sessions(test, begin), ["view"], log.vocabulary)
        prefixes = next_clicks(later)
        nearer[begin] = stan.recommend(prefixes, 3)[0].tolist()
    ours, planted = nearer.values()
    assert ours.index(log.vocabulary.indices(np.array(["3"]))[0]) < ours.index(
        log.vocabulary.indices(np.array(["2"]))[0]
    )
    assert planted != ours


@pytest.fixture
def small_benchmark_params(tmp_path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "retrieval": {
                    "dimensions": 8,
                    "encoder_epochs": 1,
                    "encoder_min_steps": 100,
                    "nearest": 5,
                    "width": 15,
                },
                "ranker": {"rounds": 10, "max_depth": 3, "min_child_weight": 1},
            }
        )
    )
    return path


def test_figures_come_from_the_ranks_it_writes(tmp_path, small_benchmark_params):
    train, test = write_sessions(tmp_path / "a.parquet", 0, 150), write_sessions(tmp_path / "b.parquet", 150, 30)
    out = tmp_path / "ranks.parquet"
    done = CliRunner().invoke(
        app,
        [
            "benchmark",
            "--train",
            str(train),
            "--test",
            str(test),
            "--params",
            str(small_benchmark_params),
            "--ranks",
            str(out),
        ],
    )
    assert done.exit_code == 0, done.output
    result, ranks = json.loads(done.stdout), pd.read_parquet(out)
    assert result["predictions"] == len(ranks) == 90
    assert result["hr@20"] == pytest.approx(100 * (ranks["rank"] > 0).mean())
    assert result["mrr@20"] == pytest.approx(100 * (1 / ranks["rank"].replace(0, np.inf)).mean())
    assert result["mrr@20"] > 90  # the next item is certain in these sessions
    assert result["mrr@20_interval"][0] <= result["mrr@20"] <= result["mrr@20_interval"][1]


def test_baselines_are_measured_on_the_same_predictions(tmp_path, small_benchmark_params):
    train, test = write_sessions(tmp_path / "a.parquet", 0, 150), write_sessions(tmp_path / "b.parquet", 150, 30)
    command = ["benchmark", "--train", str(train), "--test", str(test), "--params", str(small_benchmark_params)]
    result = json.loads(CliRunner().invoke(app, [*command, "--baselines"]).stdout)
    assert set(result["baselines"]) == set(METHODS)
    for figures in result["baselines"].values():
        low, high = figures["mrr@20_ratio"]
        assert low <= result["mrr@20"] / figures["mrr@20"] <= high
    assert "baselines" not in json.loads(CliRunner().invoke(app, command).stdout)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"session_id": [1], "position": [0]}, "no column item_id"),
        ({"session_id": [1], "item_id": [2]}, "timestamp or position"),
        ({"session_id": [1, None], "item_id": [2, 3], "position": [0, 1]}, "row 1: session_id is empty"),
        ({"session_id": [1], "item_id": [2], "timestamp": ["noon"]}, "timestamp"),
        ({"session_id": [1, 1], "item_id": [2, 3], "position": [0, None]}, "position must hold a whole number"),
        ({"session_id": [1], "item_id": [2], "position": ["first"]}, "position must hold a whole number"),
        ({"session_id": [], "item_id": [], "position": []}, "no rows"),
        ({"session_id": [1], "item_id": ["i" * 257], "position": [0]}, "row 0: item_id is longer than 256"),
        ({"session_id": [[1], [2]], "item_id": [2, 3], "position": [0, 1]}, "session_id must hold one id in a row"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_what_is_wrong(tmp_path, columns, expected):
    path = tmp_path / "odd.parquet"
    pd.DataFrame(columns).to_parquet(path)
    done = CliRunner().invoke(app, ["benchmark", "--train", str(path), "--test", str(path)])
    assert done.exit_code == 2
    assert "odd.parquet" in done.stderr
    assert expected in done.stderr


def test_two_files_that_do_not_belong_together_are_refused(tmp_path, small_benchmark_params):
    train, test = write_sessions(tmp_path / "a.parquet", 0, 150), write_sessions(tmp_path / "b.parquet", 150, 30)
    single = tmp_path / "single.parquet"
    pd.read_parquet(train).query("position == 0").to_parquet(single)
    others = tmp_path / "others.parquet"
    pd.read_parquet(test).assign(item_id=lambda rows: "sku-" + rows["item_id"].astype(str)).to_parquet(others)
    timed = tmp_path / "timed.parquet"
    pd.read_parquet(train).assign(
        timestamp=lambda rows: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rows.index, unit="s")
    ).to_parquet(timed)
    for known, asked, expected in (
        (timed, test, "b.parquet: no column timestamp, which the other file has"),
        (train, others, "others.parquet: column item_id: no item of"),
        (single, test, "predictions to learn from"),
    ):
        command = ["benchmark", "--train", str(known), "--test", str(asked), "--params", str(small_benchmark_params)]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2, done.output
        assert expected in done.stderr


def test_a_missing_file_is_an_error_and_no_traceback(tmp_path):
    done = CliRunner().invoke(app, ["benchmark", "--train", str(tmp_path / "no"), "--test", str(tmp_path / "no")])
    assert done.exit_code == 2
    assert "not a readable Parquet file" in done.stderr


@pytest.mark.skipif(not SHARED.exists(), reason="the data sets are not beside the project")
def test_the_papers_files_give_the_papers_count_of_predictions():
    test = read_sessions(SHARED / "diginetica/test.parquet")
    assert test["session_id"].nunique() == 15_963
    assert len(test) - 15_963 == 60_858
