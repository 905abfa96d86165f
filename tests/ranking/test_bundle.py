"""A bundle comes back as it went, and one that was tampered with is refused by name."""

import hashlib
import json

import numpy as np
import pytest

from nextclick.bundle.bundle import load_bundle, save_bundle
from nextclick.errors import InputError
from nextclick.events.prefixes import next_clicks
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.params import Params, Ranker, Retrieval
from nextclick.ranking.recommender import train_recommender

PARAMS = Params(
    retrieval=Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=20, nearest=5),
    ranker=Ranker(rounds=5, max_depth=2, min_child_weight=1),
)


@pytest.fixture(scope="module")
def log() -> SessionLog:
    items = np.random.default_rng(0).integers(0, 30, 1200).astype(np.int32)
    return SessionLog(
        Vocabulary(np.array([f"{i:02d}" for i in range(30)])),
        np.arange(0, 1201, 4),
        items,
        np.zeros(1200, np.int8),
        np.arange(1200),
        np.arange(300).astype(np.str_),
    )


@pytest.fixture(scope="module")
def trained(log):
    return train_recommender(log, PARAMS, event_types=["view"])[0]


@pytest.fixture
def saved(trained, tmp_path):
    manifest = save_bundle(trained, tmp_path, params=PARAMS, trained_until="2026-01-01", metrics={})
    return tmp_path, trained, manifest


def test_the_loaded_bundle_recommends_the_same(saved, log):
    folder, recommender, manifest = saved
    loaded, read = load_bundle(folder)
    assert read == manifest
    prefixes = next_clicks(log).take(slice(0, 50))
    np.testing.assert_array_equal(loaded.recommend(prefixes, 10), recommender.recommend(prefixes, 10))


def test_the_same_recommender_has_the_same_version(saved, tmp_path_factory):
    _, recommender, manifest = saved
    again = save_bundle(
        recommender, tmp_path_factory.mktemp("again"), params=PARAMS, trained_until="2026-01-01", metrics={}
    )
    assert again == manifest


@pytest.mark.fault(
    part="registry",
    wrong="one bit of any file of a bundle is changed",
    noticed="whatever loads it: one line that names the file",
    lost="nothing",
    degraded="nothing",
    heals="when it is restored",
)
def test_a_flipped_byte_in_any_file_is_refused(saved):
    folder, _, manifest = saved
    for name in manifest["files"]:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match=name):
            load_bundle(folder)
        (folder / name).write_bytes(whole)
    load_bundle(folder)


def rewrite(folder, manifest):
    """As another version of the code would have bundled it."""
    version = hashlib.sha256(
        json.dumps({k: v for k, v in manifest.items() if k != "version"}, sort_keys=True).encode()
    ).hexdigest()[:12]
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": version}))


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["event_types"].append("wish"),
        lambda manifest: manifest["params"]["retrieval"].update(nearest=1),
        lambda manifest: manifest["files"].popitem(),
        lambda manifest: manifest["files"].clear(),
        lambda manifest: manifest.update(version="0123456789ab"),
        lambda manifest: manifest.pop("files"),
    ],
)
def test_a_manifest_that_was_changed_is_refused(saved, change):
    folder, _, manifest = saved
    changed = json.loads(json.dumps(manifest))
    change(changed)
    (folder / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_bundle(folder)


@pytest.mark.fault(
    part="registry",
    wrong="a bundle's folder holds a file that the manifest does not name",
    noticed="whatever loads it: one line that names the file",
    lost="nothing",
    degraded="nothing",
    heals="when it is removed",
)
def test_a_file_that_nobody_bundled_is_refused(saved):
    folder, _, _ = saved
    (folder / "extra.npy").write_bytes(b"")
    with pytest.raises(InputError, match=r"extra\.npy"):
        load_bundle(folder)


@pytest.mark.ml_test("data-1")
def test_a_missing_file_and_another_feature_are_named(saved):
    folder, _, manifest = saved
    features = manifest["features"]
    names = list(features["retrieval"])
    for retrieval, problem in (
        (["price_now", *names[1:]], "feature 0 is price_now in the bundle and neighbours_score in this code"),
        ([names[1], names[0], *names[2:]], f"feature 0 is {names[1]} in the bundle and {names[0]} in this code"),
        (names[:-1], f"feature {len(names) - 1} is"),
    ):
        changed = {**manifest, "features": {**features, "retrieval": dict.fromkeys(retrieval, "float32")}}
        rewrite(folder, changed)
        with pytest.raises(InputError, match=problem):
            load_bundle(folder)
    changed = {**manifest, "features": {**features, "retrieval": {**features["retrieval"], names[2]: "float64"}}}
    rewrite(folder, changed)
    with pytest.raises(InputError, match=f"feature {names[2]} is float64 in the bundle and float32 in this code"):
        load_bundle(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "ranker.ubj").unlink()
    with pytest.raises(InputError, match=r"ranker\.ubj: missing"):
        load_bundle(folder)
