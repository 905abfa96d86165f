"""What was served can be read again, is what the same state gives, and what is lost is counted."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from nextclick.events.session_state import Click, prefixes_of
from nextclick.logs.prediction_log import logged_click
from nextclick.serving import prediction_writer
from nextclick.serving.loaded_bundle import LoadedBundle
from nextclick.serving.prediction_writer import PredictionWriter
from nextclick.serving.query import Answer, Query, Ranking

NOW = 1_767_700_000_000


@pytest.fixture(scope="module")
def bundle(bundles) -> LoadedBundle:
    return LoadedBundle.load(bundles[0])


def answer(bundle: LoadedBundle, n: int, at_ms: int = NOW) -> Answer:
    state = tuple(Click(NOW - 9_000 + 1000 * i, i, f"e{i}", f"i{(7 * n + i) % 40:02d}", 0) for i in range(n % 5))
    snapshot = bundle.recommender.snapshot
    candidates, features = snapshot.features(prefixes_of([state], snapshot.vocabulary))
    scores = bundle.recommender.scores_of(candidates, features)[0]
    shown = np.argsort(-scores, kind="stable")[:4]
    return Answer(
        query=Query(f"r{n}", f"s{n}", 4, bundle),
        at_ms=at_ms,
        state=state,
        ranking=Ranking(candidates=candidates.items[0], scores=scores, shown=shown, features=features[0, shown]),
        items=candidates.items[0, shown].tolist(),
        scores=scores[shown].tolist(),
        reasons=[],
        state_age_ms=None,
        statistics_age_ms=None,
        stale=["item_statistics"],
        degraded=None,
        milliseconds={"total": 1.5},
    )


def rows(root) -> list[dict]:
    files = sorted((root / "data/predictions").glob("date=*/*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_clicks_that_were_logged_before_positions_existed_have_position_0():
    assert logged_click({"timestamp": 1, "event_id": "e", "item_id": "i", "event_type": 2}) == Click(1, 0, "e", "i", 2)


@pytest.mark.ml_test("infra-5")
def test_every_answer_is_a_row_whose_features_its_state_gives_again(tmp_path, bundle):
    log = PredictionWriter(tmp_path, days=10_000)
    put = [answer(bundle, n) for n in range(25)]
    for one in put:
        log.put(one)
    log.close()
    found = rows(tmp_path)
    assert [row["request_id"] for row in found] == [one.query.request_id for one in put]
    snapshot = bundle.recommender.snapshot
    for row, one in zip(found, put, strict=True):
        state = tuple(map(logged_click, row["state"]))
        assert state == one.state
        candidates, features = snapshot.features(prefixes_of([state], snapshot.vocabulary))
        items = candidates.items[0][candidates.items[0] >= 0]
        assert row["candidates"] == snapshot.vocabulary.ids[items].tolist()
        places = [row["candidates"].index(item) for item in row["shown"]]
        served = np.array(row["features"], np.float32).reshape(len(places), -1)
        np.testing.assert_array_equal(served, features[0, places])
        assert row["shown"][0] == row["candidates"][int(np.argmax(row["scores"]))]
        assert row["model_version"] == bundle.version
        assert (row["stale"], row["milliseconds"]) == (["item_statistics"], 1.5)
        assert row["statistics_at"].timestamp() * 1000 == bundle.statistics_at
    (file,) = (tmp_path / "data/predictions").glob("date=*/*.parquet")
    assert pq.read_schema(file).metadata[b"features"].decode().split(",") == list(snapshot.feature_names)


@pytest.mark.fault(
    part="disk",
    wrong="the disk under the prediction log is slower than the answers",
    noticed="metric nextclick_predictions_dropped",
    lost="those rows of the log, which are counted",
    degraded="nothing: lists go on",
    heals="by itself",
)
def test_a_full_queue_drops_and_counts(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(prediction_writer, "MAX_WAITING", 10)
    monkeypatch.setattr(prediction_writer, "CHECK_SECONDS", 60)
    log, dropped = PredictionWriter(tmp_path, days=10_000), prediction_writer.DROPPED_PREDICTIONS._value.get()
    for n in range(15):
        log.put(answer(bundle, n))
    log.close()
    assert len(rows(tmp_path)) == 10
    assert prediction_writer.DROPPED_PREDICTIONS._value.get() == dropped + 5


def test_what_comes_while_a_file_is_written_waits_for_the_next(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(prediction_writer, "FILE_ROWS", 10)
    monkeypatch.setattr(prediction_writer, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(PredictionWriter, "_write_files", lambda log, rows: (sizes.append(len(rows)), come(log, 3)))
    sizes: list[int] = []

    def come(log, count):
        for n in range(count):
            log.put(answer(bundle, n))

    log = PredictionWriter(tmp_path, days=10_000)
    come(log, 25)
    deadline = time.monotonic() + 10
    while sum(sizes) < 30:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    log.close()
    assert sizes[:3] == [10, 10, 10]
    assert len(sizes) == 4


@pytest.mark.fault(
    part="disk",
    wrong="the prediction log cannot be written",
    noticed="a line, metric nextclick_predictions_dropped",
    lost="those rows of the log, which are counted",
    degraded="nothing: lists go on",
    heals="by itself",
)
def test_what_cannot_be_written_is_counted_and_the_next_is_written(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(prediction_writer, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(prediction_writer, "FLUSH_SECONDS", 0.0)
    log, dropped = PredictionWriter(tmp_path, days=10_000), prediction_writer.DROPPED_PREDICTIONS._value.get()
    (tmp_path / "data").write_text("no folder")
    log.put(answer(bundle, 1))
    deadline = time.monotonic() + 10
    while prediction_writer.DROPPED_PREDICTIONS._value.get() == dropped:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (tmp_path / "data").unlink()
    log.put(answer(bundle, 2))
    log.close()
    assert [row["request_id"] for row in rows(tmp_path)] == ["r2"]


@pytest.mark.fault(
    part="clock",
    wrong="the service's clock jumps ahead by 400 days for a minute",
    noticed="the writer of the prediction log: no other day near its own has answers",
    lost="nothing: no day of the log is deleted",
    degraded="nothing",
    heals="by itself, as the clock comes back",
)
def test_a_clock_that_jumped_ahead_deletes_no_day(tmp_path, bundle, monkeypatch):
    now = datetime.now(UTC)
    before = [tmp_path / f"data/predictions/date={(now - timedelta(days=ago)).date()}" for ago in (1, 0)]
    for day in before:
        day.mkdir(parents=True)

    class Ahead(datetime):
        @classmethod
        def now(cls, zone=None):
            return now + timedelta(days=400)

    monkeypatch.setattr(prediction_writer, "datetime", Ahead)
    log = PredictionWriter(tmp_path, days=30)
    log.put(answer(bundle, 1, int((now + timedelta(days=400)).timestamp() * 1000)))
    log.close()
    assert len(rows(tmp_path)) == 1
    assert all(day.exists() for day in before)


def test_days_that_are_over_are_forgotten(tmp_path, bundle):
    old = tmp_path / "data/predictions/date=2020-01-01"
    old.mkdir(parents=True)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    (tmp_path / f"data/predictions/date={yesterday}").mkdir()
    log = PredictionWriter(tmp_path, days=10)
    log.put(answer(bundle, 1, time.time_ns() // 1_000_000))
    log.close()
    assert not old.exists()
    assert len(rows(tmp_path)) == 1
