"""What events tell of their items is known from then on, and a model does not know what came after its log."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.events.ingest import ingest
from nextclick.events.known_items import known_items
from nextclick.events.sessions import SessionLog
from nextclick.params import Ingest, Retrieval
from nextclick.ranking.snapshot import Snapshot

START = 1_569_888_000
CATALOGUE = "item_id,title,price\na,Pan,\nc,Lid,3\n"


def at(second: int) -> pd.Timestamp:
    return pd.Timestamp(START + second, unit="s", tz="UTC")


def told(rows: list[tuple], catalogue: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The events and the rows of items that ingest makes of events of item, second, brand and price."""
    with TemporaryDirectory() as root:
        folder = Path(root)
        columns = ["item_id", "timestamp", "brand", "price"]
        table = pd.DataFrame(rows, columns=columns).assign(session_id="s")
        table["timestamp"] += START
        table.to_csv(folder / "events.csv", index=False)
        if catalogue:
            (folder / "items.csv").write_text(catalogue)
        ingest(Ingest(path="."), folder, folder / "out")
        return pd.read_parquet(folder / "out/events.parquet"), pd.read_parquet(folder / "out/items.parquet")


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.integers(0, 99),
            st.sampled_from([None, "X", "Y"]),
            st.sampled_from([None, 1.5, 2.0]),
        ),
        min_size=1,
        max_size=10,
        unique_by=lambda row: row[1],
    ),
    second=st.integers(0, 99),
)
def test_at_any_time_the_newest_value_of_each_attribute_is_known(rows, second):
    items = known_items(told(rows)[1], at(second)).set_index("item_id")
    for column, place in (("brand", 2), ("price", 3)):
        for item in "ab":
            values = [row[place] for row in sorted(rows, key=lambda row: row[1]) if row[0] == item and row[1] <= second]
            expected = next((value for value in reversed(values) if value is not None), None)
            found = items[column].get(item)
            assert (pd.isna(found) and expected is None) or found == expected


def test_a_catalogue_says_more_than_events_and_events_fill_its_gaps():
    _, items = told([("a", 0, "X", 1.5), ("b", 1, "Y", 2.5), ("a", 2, "Z", 1.75)], CATALOGUE)
    known = known_items(items, at(1)).set_index("item_id")
    assert known["title"].dropna().to_dict() == {"a": "Pan", "c": "Lid"}
    assert known["price"].to_dict() == {"a": 1.5, "b": 2.5, "c": 3.0}
    assert known["brand"].dropna().to_dict() == {"a": "X", "b": "Y"}
    assert known_items(items).set_index("item_id")["price"].to_dict() == {"a": 1.75, "b": 2.5, "c": 3.0}


def test_a_snapshot_does_not_know_what_was_told_after_its_log():
    rows = [(item, second, None, 1.0 + (second > 50)) for second in range(100) for item in ("abcd"[second % 4],)]
    events, items = told(rows)
    log = SessionLog.from_events(events[events["timestamp"] <= at(50)], ["view", "cart", "purchase"])
    params = Retrieval(dimensions=4, encoder_epochs=1, encoder_min_steps=1, width=4, nearest=2)
    snapshot = Snapshot.of(log, params, 0, event_types=["view", "cart", "purchase"], items=items)
    assert snapshot.knowledge.catalogue.price.tolist() == [1.0] * 4
    # planted: with all that the file tells, the prices are those of later
    assert known_items(items)["price"].tolist() == [2.0] * 4
