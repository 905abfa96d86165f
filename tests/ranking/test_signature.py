"""With a trusted key, only what was signed by it is loaded: twenty ways to tamper, each refused with its reason."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from nextclick.bundle.bundle import _version_of, load_bundle, save_bundle
from nextclick.errors import InputError
from nextclick.events.sessions import SessionLog, Vocabulary
from nextclick.files import sha256_of
from nextclick.params import Params, Ranker, Retrieval
from nextclick.ranking.recommender import train_recommender


def keys(folder, algorithm="ed25519"):
    """A key pair as docs/operations.md makes it: the files of the private and the public key."""
    folder.mkdir()
    private, public = folder / "signing.pem", folder / "trusted.pem"
    more = ["-pkeyopt", "ec_paramgen_curve:P-256"] if algorithm == "EC" else []
    subprocess.run(["openssl", "genpkey", "-algorithm", algorithm, *more, "-out", private], check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


def bundle(folder, items: int):
    clicked = np.random.default_rng(0).integers(0, items, 1200).astype(np.int32)
    ids = np.array([f"{i:02d}" for i in range(items)])
    sessions = np.arange(300).astype(np.str_)
    log = SessionLog(
        Vocabulary(ids), np.arange(0, 1201, 4), clicked, np.zeros(1200, np.int8), np.arange(1200), sessions
    )
    params = Params(
        retrieval=Retrieval(dimensions=8, encoder_epochs=1, encoder_min_steps=100, width=20, nearest=5),
        ranker=Ranker(rounds=5, max_depth=2, min_child_weight=1),
    )
    recommender, _ = train_recommender(log, params, event_types=["view"])
    save_bundle(recommender, folder, params=params, trained_until="2026-01-01", metrics={})
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two bundles, signed, and one by another key."""
    root = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as environment:
        for name, items in (("ours", 30), ("older", 29)):
            if name == "ours":
                private, public = keys(root / "keys")
            environment.setenv("NEXTCLICK_SIGNING_KEY", str(private))
            bundle(root / name, items)
        environment.setenv("NEXTCLICK_SIGNING_KEY", str(keys(root / "other-keys")[0]))
        bundle(root / "theirs", 30)
    return root, public


@pytest.fixture
def trusted(made, monkeypatch):
    monkeypatch.setenv("NEXTCLICK_TRUSTED_KEY", str(made[1]))


@pytest.fixture
def ours(made, trusted, tmp_path):
    return shutil.copytree(made[0] / "ours", tmp_path / "ours")


def flip(path, place=-1):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def resealed(folder):
    """The manifest that an attacker would write, who knows this code and has no key."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["version"]
    kept = {"manifest.json", "manifest.sig"}
    manifest["files"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name not in kept}
    (folder / "manifest.json").write_text(json.dumps({"version": _version_of(manifest), **manifest}, indent=1) + "\n")


def changed(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    del manifest["version"]
    (folder / "manifest.json").write_text(json.dumps({"version": _version_of(manifest), **manifest}, indent=1) + "\n")


def first(folder, pattern):
    return sorted(folder.glob(pattern))[0]


NOT_SIGNED = r"not signed, and NEXTCLICK_TRUSTED_KEY asks for it"
NOT_ITS_SIGNATURE = r"manifest\.sig: not the signature of this manifest by NEXTCLICK_TRUSTED_KEY"
TAMPER = {
    "no signature": (lambda ours, root: (ours / "manifest.sig").unlink(), NOT_SIGNED),
    "no manifest": (lambda ours, root: (ours / "manifest.json").unlink(), r"no manifest of a bundle"),
    "an empty signature": (lambda ours, root: (ours / "manifest.sig").write_bytes(b""), NOT_ITS_SIGNATURE),
    "a flipped bit of the signature": (lambda ours, root: flip(ours / "manifest.sig", 5), NOT_ITS_SIGNATURE),
    "half a signature": (
        lambda ours, root: (ours / "manifest.sig").write_bytes((ours / "manifest.sig").read_bytes()[:32]),
        NOT_ITS_SIGNATURE,
    ),
    "another bundle's signature": (
        lambda ours, root: shutil.copy(root / "older/manifest.sig", ours),
        NOT_ITS_SIGNATURE,
    ),
    "another key's signature": (lambda ours, root: shutil.copy(root / "theirs/manifest.sig", ours), NOT_ITS_SIGNATURE),
    "another key's bundle": (
        lambda ours, root: shutil.copytree(root / "theirs", ours, dirs_exist_ok=True),
        NOT_ITS_SIGNATURE,
    ),
    "a blank behind the manifest": (
        lambda ours, root: (ours / "manifest.json").write_text((ours / "manifest.json").read_text() + " "),
        NOT_ITS_SIGNATURE,
    ),
    "another metric, sealed again": (lambda ours, root: changed(ours, metrics={"mrr@20": 1}), NOT_ITS_SIGNATURE),
    "another date, sealed again": (lambda ours, root: changed(ours, trained_until="2030-01-01"), NOT_ITS_SIGNATURE),
    "no files, sealed again": (lambda ours, root: changed(ours, files={}), NOT_ITS_SIGNATURE),
    "a manifest that is no JSON": (lambda ours, root: (ours / "manifest.json").write_bytes(b"\x80"), NOT_ITS_SIGNATURE),
    "a changed ranker, sealed again": (
        lambda ours, root: (flip(ours / "ranker.ubj"), resealed(ours)),
        NOT_ITS_SIGNATURE,
    ),
    "an extra file, sealed again": (
        lambda ours, root: ((ours / "extra.npy").write_bytes(b""), resealed(ours)),
        NOT_ITS_SIGNATURE,
    ),
    "an extra file": (lambda ours, root: (ours / "extra.npy").write_bytes(b""), r"extra\.npy: the manifest of bundle"),
    "a flipped bit of the ranker": (lambda ours, root: flip(ours / "ranker.ubj"), r"ranker\.ubj: not the file"),
    "a flipped bit of an array": (lambda ours, root: flip(first(ours, "*.npy")), r"\.npy: not the file"),
    "a missing file": (lambda ours, root: first(ours, "*.npy").unlink(), r"\.npy: missing"),
    "another bundle's ranker": (
        lambda ours, root: shutil.copy(root / "older/ranker.ubj", ours),
        r"ranker\.ubj: not the file",
    ),
    "another bundle's arrays": (
        lambda ours, root: [shutil.copy(path, ours) for path in (root / "older").glob("*.npy")],
        r"\.npy: not the file",
    ),
    "an older manifest, rightly signed": (
        lambda ours, root: [shutil.copy(root / "older" / f"manifest.{end}", ours) for end in ("json", "sig")],
        r"not the file that was bundled",
    ),
}


@pytest.mark.parametrize("way", TAMPER)
def test_a_bundle_that_was_tampered_with_is_refused(way, ours, made):
    tamper, reason = TAMPER[way]
    load_bundle(ours)
    tamper(ours, made[0])
    with pytest.raises(InputError, match=reason):
        load_bundle(ours)


def test_nothing_is_parsed_before_the_signature_is_verified(ours, monkeypatch):
    monkeypatch.setattr("nextclick.bundle.bundle.json.loads", lambda text: pytest.fail("parsed"))
    flip(ours / "manifest.sig")
    with pytest.raises(InputError, match=NOT_ITS_SIGNATURE):
        load_bundle(ours)


def test_a_signature_changes_nothing_else_and_is_the_same_each_time(made, monkeypatch, tmp_path):
    root, _ = made
    monkeypatch.setenv("NEXTCLICK_SIGNING_KEY", str(root / "keys/signing.pem"))
    again = bundle(tmp_path / "again", 30)
    monkeypatch.delenv("NEXTCLICK_SIGNING_KEY")
    unsigned = bundle(tmp_path / "unsigned", 30)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in (root / "ours").iterdir()
    }
    assert (unsigned / "manifest.json").read_bytes() == (again / "manifest.json").read_bytes()
    assert load_bundle(unsigned)[1] == load_bundle(again)[1], "where nothing is asked for, both load"


@pytest.mark.parametrize(
    ("variable", "of", "problem"),
    [
        ("NEXTCLICK_TRUSTED_KEY", "nowhere.pem", "no public key in PEM"),
        ("NEXTCLICK_TRUSTED_KEY", "keys/signing.pem", "no public key in PEM"),
        ("NEXTCLICK_TRUSTED_KEY", "curve/trusted.pem", "expected an Ed25519 key"),
        ("NEXTCLICK_SIGNING_KEY", "nowhere.pem", "no private key in PEM"),
        ("NEXTCLICK_SIGNING_KEY", "keys/trusted.pem", "no private key in PEM"),
        ("NEXTCLICK_SIGNING_KEY", "curve/signing.pem", "expected an Ed25519 key"),
    ],
)
def test_a_key_of_no_use_is_named_by_its_variable(variable, of, problem, made, monkeypatch, tmp_path):
    root, _ = made
    if of.startswith("curve") and not (root / "curve").exists():
        keys(root / "curve", "EC")
    monkeypatch.setenv(variable, str(root / of))
    with pytest.raises(InputError, match=rf"{variable}=.*{of}: {problem}"):
        load_bundle(root / "ours") if variable == "NEXTCLICK_TRUSTED_KEY" else bundle(tmp_path / "made", 30)
