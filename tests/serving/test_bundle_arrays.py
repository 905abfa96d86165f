"""Arrays that do not fit together are refused by name, before compiled code sees them."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextclick.bundle.bundle import load_bundle
from nextclick.errors import InputError
from nextclick.serving.loaded_bundle import LoadedBundle

from .conftest import tampered


def first(value):
    """Change the first number to a value."""

    def change(array: np.ndarray) -> np.ndarray:
        array.flat[0] = value
        return array

    return change


def cut(array: np.ndarray) -> np.ndarray:
    return array[:-1]


def as_objects(array: np.ndarray) -> np.ndarray:
    return array.astype("S8")


TAMPERED = {
    "ids twice": ("vocabulary-ids", lambda ids: ids[np.r_[0, 0 : len(ids) - 1]]),
    "ids shuffled": ("vocabulary-ids", lambda ids: ids[::-1]),
    "no ids": ("vocabulary-ids", lambda ids: ids[:0]),
    "ids that are numbers": ("vocabulary-ids", lambda ids: np.arange(len(ids))),
    "fewer ids": ("vocabulary-ids", cut),
    "items beyond the vocabulary": ("index-items", first(10**6)),
    "negative items": ("index-items", first(-1)),
    "fewer items": ("index-items", cut),
    "items that are bytes": ("index-items", as_objects),
    "offsets that fall": ("index-offsets", lambda offsets: np.r_[0, offsets[1:-1][::-1], offsets[-1]]),
    "offsets beyond the events": ("index-offsets", lambda offsets: offsets + np.int64(1)),
    "no offsets": ("index-offsets", lambda offsets: offsets[:0]),
    "sessions beyond the last": ("index-sessions", first(2**30)),
    "sessions of others": ("index-sessions", lambda sessions: sessions[::-1].copy()),
    "fewer sessions": ("index-sessions", cut),
    "postings beyond the events": ("index-posting_events", first(2**40)),
    "negative postings": ("index-posting_events", first(-5)),
    "postings of other items": ("index-posting_events", lambda events: events[::-1].copy()),
    "posting offsets beyond the events": ("index-posting_offsets", lambda offsets: offsets * 2),
    "fewer posting offsets": ("index-posting_offsets", cut),
    "fewer vectors": ("encoder-vectors", cut),
    "vectors without a number": ("encoder-vectors", first(np.nan)),
    "vectors of length zero": ("encoder-vectors", np.zeros_like),
    "vectors in one row": ("encoder-vectors", np.ravel),
    "weights without end": ("encoder-item_weight", first(np.inf)),
    "fewer positions": ("encoder-position_weight", cut),
    "fewer clicks": ("statistics-clicks", cut),
    "negative clicks": ("statistics-clicks_lately", first(-1)),
    "fewer event types": ("statistics-types", cut),
    "half of the half-lives": ("statistics-decayed", lambda rows: rows[:1]),
    "fewer categories": ("catalogue-category", cut),
    "prices that are whole": ("catalogue-price", lambda prices: np.ones(len(prices), np.int64)),
    "titles without a number": ("catalogue-titles", lambda titles: np.full((len(titles), 4), np.nan, np.float32)),
}


@pytest.fixture
def folder(bundles, tmp_path):
    return shutil.copytree(bundles[0], tmp_path / "bundle")


@pytest.mark.fault(
    part="registry",
    wrong="a bundle's manifest fits its files, and their arrays do not fit together (33 ways)",
    noticed="whatever loads the bundle: one line that names the array's file and what was expected of it",
    lost="nothing",
    degraded="nothing: a service goes on with the bundles that it has",
    heals="when the bundle is made again",
)
@pytest.mark.parametrize("harm", TAMPERED)
def test_arrays_that_do_not_fit_are_refused_by_name(folder, harm):
    """Before there was a check, 5 of 24 such bundles ended the process and 10 answered."""
    name, change = TAMPERED[harm]
    tampered(folder, name, change)
    with pytest.raises(InputError, match=r"(\.npy: expected|an array cannot be read: ).*dvc repro"):
        load_bundle(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_numbers_an_array_holds_the_bundle_is_refused_or_answers(bundles, tmp_path_factory, data):
    folder = shutil.copytree(bundles[0], tmp_path_factory.mktemp("odd") / "bundle")
    names = sorted(file.stem for file in folder.glob("*.npy") if file.stem != "vocabulary-ids")
    name = data.draw(st.sampled_from(names))
    place = data.draw(st.integers(0, 10**6))
    extremes = [-(2**31), -1, 0, 1, 2**31 - 1, np.nan, np.inf]
    value = data.draw(st.sampled_from(extremes))

    def change(array: np.ndarray) -> np.ndarray:
        if array.size and (array.dtype.kind == "f" or np.isfinite(value)) and array.dtype.kind in "if":
            array.flat[place % array.size] = value
        return array

    tampered(folder, name, change)
    try:
        bundle = LoadedBundle.load(folder)
    except InputError:
        return
    bundle.warm_up()
