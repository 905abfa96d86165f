"""Published item statistics: each version knows what came before its moment, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.features.item_statistics import ItemStatistics
from nextclick.features.statistics_versions import ItemHistory, publication_times
from nextclick.params import Features
from nextclick.units import MS_PER_HOUR, MS_PER_MINUTE

TYPES = ["view", "cart"]
START = 1_767_225_600_000  # 2026-01-01


def log_of(clicks: list[tuple[int, int, int]]) -> SessionLog:
    """clicks: (seconds, item, type), each a session of its own."""
    items, types = (np.array([click[k] for click in clicks]) for k in (1, 2))
    times = START + 1000 * np.array([click[0] for click in clicks], dtype=np.int64)
    ids = np.array([f"{i:03d}" for i in range(len(clicks))])
    vocabulary = Vocabulary(np.array([f"i{i}" for i in range(5)]))
    return SessionLog(vocabulary, np.arange(len(clicks) + 1), items.astype(np.int32), types.astype(np.int8), times, ids)


def same(first: ItemStatistics, second: ItemStatistics) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in vars(first))


clicks = st.lists(st.tuples(st.integers(0, 20 * 3600), st.integers(0, 4), st.integers(0, 1)), min_size=2, max_size=40)


@given(clicks, clicks, st.integers(0, 20), st.integers(0, 90))
def test_what_happens_at_or_after_a_moment_changes_nothing_published_by_then(past, future, hour, late):
    """Nor does what happened in the `late` minutes before, since live it may not have come yet."""
    both = [(0, 0, 0), (0, 0, 1)]  # both types, so that the columns are the same
    until = hour * 3600 - late * 60
    past = both + [click for click in past if click[0] < until]
    later = [click for click in future if click[0] >= until]
    at = (TYPES, Features(item_stats_every=1, lateness_minutes=late), START, START + hour * MS_PER_HOUR)
    alone, with_future = ItemHistory.of(log_of(past), *at), ItemHistory.of(log_of(past + later), *at)
    for first, second in zip(alone.versions, with_future.versions, strict=True):
        assert same(first, second)


@given(clicks, st.randoms(use_true_random=False))
def test_the_order_of_the_events_changes_no_bit(events, random):
    shuffled = list(events)
    random.shuffle(shuffled)
    assert same(ItemStatistics.of(log_of(events), TYPES, True), ItemStatistics.of(log_of(shuffled), TYPES, True))


@pytest.mark.ml_test("data-7")
def test_a_version_counts_what_a_filter_counts_and_halves_with_age():
    log = log_of([(0, 1, 0), (0, 1, 1), (3600, 1, 0), (7200, 1, 0), (7199, 2, 0)])
    version = ItemStatistics.of(log, TYPES, True, START + 2 * MS_PER_HOUR)
    assert version.clicks.tolist() == [0, 3, 1, 0, 0]
    assert version.by_type[:, 1].tolist() == [2, 1]
    six_hours = 2 * 0.5 ** (2 / 6) + 0.5 ** (1 / 6)  # the half-life of a quarter of a day
    assert version.decayed[0, 1] == np.float32(six_hours)
    assert version.decayed_by_type[:, 0, 1].tolist() == [
        np.float32(six_hours - 0.5 ** (2 / 6)),
        np.float32(0.5 ** (2 / 6)),
    ]
    assert version.last_click[1] == START + MS_PER_HOUR


def test_each_moment_reads_the_newest_version_published_by_then():
    hourly, late = Features(item_stats_every=1, lateness_minutes=10), 10 * MS_PER_MINUTE
    log = log_of([(0, 0, 0), (0, 0, 1), (1800, 0, 0)])
    history = ItemHistory.of(log, TYPES, hourly, START + late, START + 3 * MS_PER_HOUR + late)
    moments = START + np.array([-1, 0, MS_PER_HOUR, MS_PER_HOUR + late - 1, MS_PER_HOUR + late, 9 * MS_PER_HOUR])
    assert history.at(moments).tolist() == [0, 0, 0, 0, 1, 3]
    assert [version.clicks[0] for version in history.versions] == [0, 3, 3, 3]


def test_publication_moments_do_not_depend_on_where_the_log_begins():
    features = Features(item_stats_every=6, lateness_minutes=5)
    moments = publication_times(features, START + 5 * MS_PER_HOUR + 17, START + 11 * MS_PER_HOUR).tolist()
    assert moments == [START + 5 * MS_PER_MINUTE, START + 6 * MS_PER_HOUR + 5 * MS_PER_MINUTE]
    assert publication_times(features, START + 7 * MS_PER_HOUR, START + 11 * MS_PER_HOUR).tolist() == moments[1:]
