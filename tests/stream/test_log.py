"""The offline log holds each event, whatever is killed, and is read by ingest as any other source."""

from datetime import timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nextclick.events.click_order import in_order
from nextclick.events.ingest import ingest
from nextclick.events.schema import FIELDS
from nextclick.events.tables import parquet_files
from nextclick.logs.event_log import (
    EVENT_SCHEMA,
    LIVE_EVENTS,
    EventLog,
    events_before,
    live_events,
    write_events_once,
)
from nextclick.params import Ingest

ASKED = Ingest(path=str(LIVE_EVENTS))


@pytest.fixture
def log(tmp_path) -> EventLog:
    return EventLog(tmp_path / LIVE_EVENTS)


def table(events: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(
        events.assign(arrived=events["timestamp"], late=False), EVENT_SCHEMA, preserve_index=False
    )


def ingested(root) -> pd.DataFrame:
    ingest(ASKED, root, root / "out")
    return pd.read_parquet(root / "out/events.parquet")[list(FIELDS)]


@pytest.fixture
def events(shop_events) -> pd.DataFrame:
    shop = shop_events(400, 1)  # two days
    return shop.assign(user_id=shop["session_id"].str.replace("s", "u"))


def test_ingest_reads_the_log_with_each_event_once_before_and_after_it_is_compacted(tmp_path, log, events):
    parts = [events[i::5] for i in range(5)]
    for part in [*parts, parts[2]]:
        log.append(table(part))
    (tmp_path / "expected").mkdir()
    events.to_parquet(tmp_path / "expected/events.parquet")
    ingest(Ingest(path="expected"), tmp_path, tmp_path / "expected")
    expected = pd.read_parquet(tmp_path / "expected/events.parquet")[list(FIELDS)]
    pd.testing.assert_frame_equal(ingested(tmp_path), expected)
    days = log.days()
    assert len(days) >= 2
    assert all(log.compact(day) for day in days)
    assert [len(list(day.iterdir())) for day in days] == [1] * len(days)
    assert sum(len(pd.read_parquet(day)) for day in days) == len(events)
    pd.testing.assert_frame_equal(ingested(tmp_path), expected)
    assert not any(log.compact(day) for day in days)


def test_a_day_of_one_file_that_holds_events_twice_is_compacted_too(log, events):
    log.append(table(pd.concat([events, events[::3]])))
    assert all(log.compact(day) for day in log.days())
    assert sorted(event for day in log.days() for event in pd.read_parquet(day)["event_id"]) == sorted(
        events["event_id"]
    )
    assert not any(log.compact(day) for day in log.days())


def test_files_from_before_positions_existed_are_read_beside_new_ones(tmp_path, log, events):
    """Their events have position 0, so that their ids order them as before."""
    moment = events["timestamp"].iloc[0]
    events = events[:100].assign(
        timestamp=moment, session_id="s", user_id="u", event_id=events["event_id"][:100].tolist()[::-1]
    )
    old, new = events[:50], events[50:].assign(position=range(2**60, 2**60 + 50))
    (day,) = log.append(table(old))
    (file,) = day.iterdir()
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns("position"), file)
    log.append(table(new))
    expected = list(zip(sorted(old["event_id"]), [0] * 50, strict=True))
    expected += zip(new["event_id"], new["position"], strict=True)

    def found(read: pd.DataFrame) -> list:
        return list(zip(read["event_id"], read["position"], strict=True))

    hour = moment.floor("h").to_pydatetime()
    assert write_events_once(parquet_files(day), tmp_path / "window.parquet") == 100
    assert found(pd.read_parquet(tmp_path / "window.parquet")) == expected
    for _ in range(2):
        assert found(ingested(tmp_path)) == expected
        assert found(live_events(tmp_path, hour, hour + timedelta(hours=1))) == expected
        assert found(in_order(events_before(tmp_path, 2**42))) == expected
        log.compact(day)
    assert len(parquet_files(day)) == 1


def test_catalogue_beside_the_log(tmp_path, log, events):
    log.append(table(events))
    pd.DataFrame({"item_id": ["i01"], "title": ["Pan"]}).to_parquet(tmp_path / "data/live/items.parquet")
    ingest(ASKED, tmp_path, tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out/items.parquet")["title"].tolist() == ["Pan"]


@pytest.mark.fault(
    part="process",
    wrong="a writer of the live log is killed while it writes a file",
    noticed="nobody has to: unfinished files are not read",
    lost="nothing",
    degraded="nothing",
    heals="by the next compaction, which deletes the file",
)
def test_a_file_that_a_killed_writer_left_is_not_read(tmp_path, log, events):
    log.append(table(events))
    expected = ingested(tmp_path)
    (log.days()[0] / ".1-torn.parquet").write_bytes(b"PAR1")
    pd.testing.assert_frame_equal(ingested(tmp_path), expected)
    assert not log.compact(log.days()[0])


@pytest.mark.fault(
    part="process",
    wrong="`nextclick compact` is killed at any step",
    noticed="nobody has to",
    lost="nothing: each event is in a file at least once",
    degraded="nothing",
    heals="by the next compaction",
)
@pytest.mark.parametrize("files_removed", [0, 1, 2])
def test_compaction_that_is_killed_loses_nothing(tmp_path, log, events, monkeypatch, files_removed):
    for part in (events[::3], events[1::3], events[2::3]):
        log.append(table(part))
    expected = ingested(tmp_path)
    left = iter(range(files_removed))
    unlink = type(tmp_path).unlink

    def killed(path, *rest):
        if path.suffix == ".parquet" and next(left, None) is None:
            raise KeyboardInterrupt
        unlink(path, *rest)

    monkeypatch.setattr(type(tmp_path), "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        log.compact(log.days()[0])
    monkeypatch.undo()
    pd.testing.assert_frame_equal(ingested(tmp_path), expected)
    log.compact(log.days()[0])
    pd.testing.assert_frame_equal(ingested(tmp_path), expected)
