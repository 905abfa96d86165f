"""A new bundle takes over in one step; one that is broken never does."""

import json
import os
import shutil

import pytest

from nextclick.errors import InputError
from nextclick.serving import deployment
from nextclick.serving.deployment import Deployment

from .conftest import PARAMS, tampered


@pytest.fixture
def deployed(shop, bundles, monkeypatch):
    monkeypatch.setattr(deployment, "POLL_SECONDS", 3600)  # the test itself looks
    shutil.copytree(bundles[1], shop / "models/second")
    made = Deployment(shop, PARAMS.features)
    yield made, shop
    made.close()


def point(root, **pointer) -> None:
    write(root, json.dumps(pointer))


def write(root, text: str) -> None:
    (root / "models/deployed").mkdir(exist_ok=True)
    (root / "models/deployed/recommender.json").write_text(text, errors="surrogateescape")


def test_the_pointer_is_followed_there_and_back(deployed):
    made, root = deployed
    first = made.champion.version
    second = json.loads((root / "models/second/manifest.json").read_text())["version"]
    point(root, bundle="models/second", version=second)
    made.poll()
    assert made.champion.version == second != first
    point(root, bundle="models/bundle")
    made.poll()
    assert made.champion.version == first


@pytest.mark.fault(
    part="registry",
    wrong="the pointer is a folder",
    noticed="the service: a line, once",
    lost="nothing",
    degraded="nothing",
    heals="when the pointer is written again",
)
def test_a_pointer_that_cannot_be_read_is_refused_once(deployed, caplog):
    made, root = deployed
    serving = made.champion
    (root / "models/deployed/recommender.json").mkdir(parents=True)
    for _ in range(3):
        made.poll()
    assert made.champion is serving
    (refused,) = [record.reason for record in caplog.records if record.message == "bundle refused"]
    assert "expected a file of at most" in refused


@pytest.mark.fault(
    part="registry",
    wrong="a file of a bundle is cut off, changed or missing",
    noticed="the service: a line that names the file, metric nextclick_bundles_refused",
    lost="nothing",
    degraded="nothing: the bundle that answers goes on",
    heals="when it is mended",
)
@pytest.mark.parametrize("part", ["index-items.npy", "ranker.ubj", "items.parquet", "manifest.json"])
@pytest.mark.parametrize("harm", ["truncated", "flipped", "missing"])
def test_a_broken_bundle_is_refused_with_its_reason(deployed, caplog, part, harm):
    made, root = deployed
    path = root / "models/second" / part
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if harm == "truncated" else bytes([whole[0] ^ 1]) + whole[1:])
    if harm == "missing":
        path.unlink()
    serving = made.champion
    point(root, bundle="models/second")
    made.poll()
    assert made.champion is serving
    assert part in caplog.records[-1].reason
    # mended and touched, it is taken
    path.write_bytes(whole)
    point(root, bundle="models/second")
    made.poll()
    assert made.champion is not serving


def test_a_broken_copy_of_what_answers_is_refused_too(deployed, caplog):
    made, root = deployed
    serving = made.champion
    shutil.copytree(root / "models/bundle", root / "models/copy")
    (root / "models/copy/ranker.ubj").write_bytes(b"")
    point(root, bundle="models/copy", version=serving.version)
    made.poll()
    assert made.champion is serving
    assert "ranker.ubj" in caplog.records[-1].reason


@pytest.mark.fault(
    part="registry",
    wrong="the pointer is empty, torn, or names no bundle",
    noticed="the service: a line, metric nextclick_bundles_refused",
    lost="nothing",
    degraded="nothing",
    heals="when the pointer is written again",
)
@pytest.mark.parametrize(
    "text", ["", "{", "\udcff", "[]", '{"bundle": 3}', '{"folder": "models/second"}', '{"bundle": "models/nowhere"}']
)
def test_a_pointer_that_names_no_bundle_changes_nothing(deployed, caplog, text):
    made, root = deployed
    serving = made.champion
    write(root, text)
    made.poll()
    assert made.champion is serving
    assert caplog.records[-1].reason


@pytest.mark.fault(
    part="registry",
    wrong="the pointer is a link to a device without an end, or a huge file",
    noticed="the service, within a second: a line, metric nextclick_bundles_refused_total",
    lost="nothing",
    degraded="nothing: the bundles that answer go on",
    heals="when the pointer is written again",
)
def test_a_pointer_without_an_end_is_not_read(deployed, caplog):
    made, root = deployed
    serving, pointer = made.champion, root / "models/deployed/recommender.json"
    pointer.parent.mkdir()
    pointer.symlink_to("/dev/zero")
    made.poll()
    pointer.unlink()
    pointer.write_bytes(b" " * (2**20 + 1))
    made.poll()
    assert made.champion is serving
    assert [record.reason.count("expected a file of at most") for record in caplog.records] == [1, 1]


@pytest.mark.fault(
    part="registry",
    wrong="compiled code ends the process that loads a bundle (SIGSEGV)",
    noticed="the service: a line that names the signal, metric nextclick_bundles_refused_total",
    lost="nothing",
    degraded="nothing: it happens in a process of its own, and the bundles that answer go on",
    heals="when the pointer names another bundle",
)
def test_a_bundle_that_ends_its_process_ends_no_service(deployed, caplog, tmp_path, monkeypatch):
    """The checks of arrays are taken out, so that compiled code reads memory that is not the bundle's."""
    made, root = deployed
    serving = made.champion
    tampered(root / "models/second", "index-posting_events", lambda events: events + 2**40)
    (tmp_path / "sitecustomize.py").write_text(
        "import nextclick.bundle.array_checks as checks\nchecks.check_arrays = lambda *_: None\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    point(root, bundle="models/second")
    made.poll()
    assert made.champion is serving
    assert "ended with SIGSEGV" in caplog.records[-1].reason


@pytest.mark.fault(
    part="registry",
    wrong="the folder holds another bundle than the pointer names",
    noticed="the service: a line that names both",
    lost="nothing",
    degraded="nothing",
    heals="when the pointer is written again",
)
def test_another_version_than_the_pointer_names_is_refused(deployed, caplog):
    made, root = deployed
    serving = made.champion
    point(root, bundle="models/second", version="000000000000")
    made.poll()
    assert made.champion is serving
    assert "000000000000" in caplog.records[-1].reason


def test_a_service_does_not_start_without_its_bundle(shop):
    shutil.rmtree(shop / "models/bundle")
    with pytest.raises(InputError, match=r"manifest\.json"):
        Deployment(shop, PARAMS.features)
