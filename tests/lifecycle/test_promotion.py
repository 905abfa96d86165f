"""Versions are tags that DVC can bring back, and the service's pointer says which of them answer."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from nextclick.bundle.bundle import load_bundle
from nextclick.bundle.pointer import FOLDER, Pointer
from nextclick.errors import InputError
from nextclick.files import locked
from nextclick.lifecycle import promotion
from nextclick.lifecycle.promotion import champion, promotable, promote, rollback, shadow, split
from nextclick.lifecycle.records import DeploymentRecord, GateRecord, Grounds, read_records, write_record
from nextclick.monitoring.reference import reference_of


def test_a_version_has_its_reference_beside_it_and_both_come_back_from_dvc(project):
    registry, versions = project.registry, (project.first, project.second)
    for gone in (False, True):
        for version, made_of in zip(versions, ("old", "new"), strict=True):
            if gone:
                shutil.rmtree(registry.folder(version))
                shutil.rmtree(reference_of(registry.folder(version)))
            assert (reference_of(registry.bundle(version)) / "which").read_text() == made_of


def test_a_version_is_a_tag_that_a_clean_clone_brings_back(project, tmp_path_factory):
    first, second = project.first, project.second
    assert (first.number, second.number) == ("v1.0.0", "v2.0.0")
    assert project.registry.register() == second  # the same bundle stays the version that it is
    assert [project.registry.version(asked) for asked in ("v1", "1", "v1.0.0", first.bundle)] == [first] * 4
    promote(project.registry, first, Grounds())
    # the folder is only what this machine has at hand
    shutil.rmtree(project.root / "models/registry")
    assert load_bundle(project.registry.bundle(first))[1]["version"] == first.bundle
    clone = tmp_path_factory.mktemp("clone")
    project.run("dvc", "push", "-q", "--all-tags")
    promote(project.registry, second, Grounds())
    project.run("git", "clone", "-q", str(project.root), str(clone / "project"))
    for stage, version in (("prod", second), ("v1.0.0", first)):
        where = ["--stage", stage] if stage == "prod" else ["--rev", stage]
        out = str(clone / stage)
        project.run("dvc", "artifacts", "get", str(clone / "project"), "recommender", *where, "-o", out)
        assert load_bundle(clone / stage)[1]["version"] == version.bundle


@pytest.mark.fault(
    part="git",
    wrong="a bundle is registered whose commit does not hold what made it",
    noticed="`nextclick register`: one line, exit 2",
    lost="nothing",
    degraded="it gets no version",
    heals="when it is committed",
)
@pytest.mark.ml_test("model-1")
def test_what_cannot_be_made_again_is_no_version(project):
    (project.root / "which").write_text("old")
    project.run("git", "tag", "-d", "recommender@v1.0.0")
    project.run("dvc", "repro", "-q")
    with pytest.raises(InputError, match=r"dvc\.lock.*commit"):
        project.registry.register()
    with pytest.raises(InputError, match="has no version v7; there are v2"):
        project.registry.version("v7")
    with pytest.raises(InputError, match="names no artifact other"):
        type(project.registry)(project.root, "other").register()


@pytest.mark.fault(
    part="process",
    wrong="two changes of the pointer at once",
    noticed="nobody has to: a lock",
    lost="nothing",
    degraded="nothing",
    heals="nothing to heal",
)
def test_of_two_changes_at_once_neither_undoes_the_other(project):
    """As when the watch takes a champion back while somebody promotes."""
    registry = project.registry
    promote(registry, project.first, Grounds())
    pointer = Pointer.read(project.root, "recommender")
    with ThreadPoolExecutor() as pool:
        with locked(project.root / FOLDER / ".recommender.lock"):  # as the one that is first holds it
            later = pool.submit(promote, registry, project.second, Grounds())
            assert not wait([later], timeout=1).done
            assert Pointer.read(project.root, "recommender") == pointer
            pointer.model_copy(update={"withdrawn": ("bad",)}).write(project.root, "recommender")
        later.result(timeout=30)
    after = Pointer.read(project.root, "recommender")
    assert (after.version, after.withdrawn) == (project.second.bundle, ("bad",))


def test_promotion_and_rollback_move_the_pointer_the_tag_and_the_record(project):
    first, second = project.first, project.second
    registry = project.registry
    assert champion(registry) is None
    with pytest.raises(InputError, match="there was no champion yet"):
        rollback(registry, None, Grounds())
    promote(registry, first, Grounds(reason="the first"))
    promote(registry, second, Grounds(reason="better"))
    pointer = Pointer.read(project.root, "recommender")
    assert (pointer.version, pointer.bundle) == (second.bundle, "models/registry/recommender/v2.0.0")
    assert registry.staged() == "v2.0.0"
    back = rollback(registry, None, Grounds(reason="worse after all"))
    assert (champion(registry), registry.staged()) == (first, "v1.0.0")
    assert back.version == "v1.0.0"
    rollback(registry, second, Grounds(reason="a person's choice"))
    assert (champion(registry), registry.staged()) == (second, "v2.0.0")
    shown = json.loads(project.run("gto", "show", "--json"))["recommender"]
    assert (shown["version"], shown["stage"]["prod"]) == ("v2.0.0", "v2.0.0")
    told = [(r.kind, r.version, r.reason) for r in read_records(project.root, DeploymentRecord, "promote", "rollback")]
    assert told == [
        ("promote", "v1.0.0", "the first"),
        ("promote", "v2.0.0", "better"),
        ("rollback", "v1.0.0", "worse after all"),
        ("rollback", "v2.0.0", "a person's choice"),
    ]


@pytest.mark.fault(
    part="process",
    wrong="`nextclick promote` is killed half way, and run again",
    noticed="nobody has to",
    lost="nothing",
    degraded="nothing",
    heals="by the second run",
)
def test_a_promotion_that_was_killed_half_way_ends_the_same_when_it_comes_again(project):
    first, second = project.first, project.second
    promote(project.registry, first, Grounds())
    once = promote(project.registry, second, Grounds(reason="r"))
    pointer = Pointer.read(project.root, "recommender")
    (project.root / once.record).unlink()
    again = promote(project.registry, second, Grounds(reason="r"))
    assert again == once
    assert Pointer.read(project.root, "recommender") == pointer


@pytest.mark.fault(
    part="process",
    wrong="`nextclick rollback` is killed after the pointer moved, and run again",
    noticed="the second run, by what the pointer says changed it",
    lost="nothing",
    degraded="nothing",
    heals="by the second run, which ends the first instead of going one champion further back",
)
@pytest.mark.parametrize("killed_before", ["the tag", "the record"])
def test_a_rollback_that_was_killed_ends_the_same_when_it_comes_again(project, monkeypatch, killed_before):
    """Planted: a pointer that does not say what changed it, as before, and the second run goes further back."""
    registry = project.registry
    for version in (project.first, project.second, project.first):
        promote(registry, version, Grounds(reason="to and fro"))

    class KilledError(BaseException):
        pass

    def die(*_, **__):
        raise KilledError

    with monkeypatch.context() as patched:
        if killed_before == "the tag":
            patched.setattr(type(registry), "assign", die)
        else:
            patched.setattr(promotion, "write_record", die)
        with pytest.raises(KilledError):
            rollback(registry, None, Grounds(reason="worse"))
    half_done = Pointer.read(project.root, "recommender")
    assert half_done.version == project.second.bundle
    told = rollback(registry, None, Grounds(reason="worse"))
    assert Path(told.record).name.startswith("rollback-")
    assert (told.version, told.before, told.reason) == ("v2.0.0", "v1.0.0", "worse")
    assert Pointer.read(project.root, "recommender") == half_done
    assert registry.staged() == "v2.0.0"
    half_done.model_copy(update={"change": None}).write(project.root, "recommender")
    (project.root / told.record).unlink()
    assert rollback(registry, None, Grounds(reason="worse")).version == "v1.0.0"


@pytest.mark.ml_test("infra-4")
def test_only_the_gates_word_on_the_present_champion_promotes(project):
    first, second = project.first, project.second
    registry = project.registry

    def say(challenger, against, verdict):
        about = {"challenger": challenger.bundle, "champion": against and against.bundle, "verdict": verdict}
        about |= {"reason": "seen", "metric": {"name": "mrr@20", "challenger": 0.3}}
        write_record(project.root, "gate", GateRecord.model_validate(about))

    with pytest.raises(InputError, match=r"v1\.0\.0 against the baselines: no verdict yet; run `nextclick gate"):
        promotable(registry, first)
    say(first, None, "promote")
    promote(registry, first, promotable(registry, first))
    say(second, None, "promote")  # against nobody: that was before
    with pytest.raises(InputError, match="no verdict yet"):
        promotable(registry, second)
    for verdict in ("hold", "reject"):
        say(second, first, verdict)
        with pytest.raises(InputError, match=f"the gate says {verdict}: seen"):
            promotable(registry, second)
    say(second, first, "promote")
    assert promotable(registry, second).promised == 0.3
    # what was rolled back needs a person, until one has promoted it again
    promote(registry, second, promotable(registry, second))
    rollback(registry, None, Grounds(reason="worse after all"))
    with pytest.raises(InputError, match=r"v2\.0\.0: was rolled back; to promote it again say why, --reason"):
        promotable(registry, second)
    promote(registry, second, Grounds(reason="mended the service"))
    assert Pointer.read(project.root, "recommender").withdrawn == ()


def test_going_back_again_leads_to_what_was_before_and_never_to_what_was_rolled_back(project):
    first, second = project.first, project.second
    registry = project.registry
    for version in (first, second, first, second):
        promote(registry, version, Grounds(reason="to and fro"))
    told = rollback(registry, first, Grounds(reason="the newest of the two that were v1"))
    assert (told.before, told.version) == ("v2.0.0", "v1.0.0")
    assert [folder[-6:] for folder, _ in Pointer.read(project.root, "recommender").history] == [
        "v1.0.0",
        "v2.0.0",
        "v1.0.0",
    ]
    assert rollback(registry, None, Grounds(reason="once more")).version == "v2.0.0"
    assert Pointer.read(project.root, "recommender").withdrawn == (first.bundle,)


def test_promoting_the_champion_again_changes_no_record(project):
    registry = project.registry
    once = promote(registry, project.first, Grounds(reason="better", promised=0.4))
    again = promote(registry, project.first, Grounds(reason="again"))
    assert (again.reason, again.promised, again.record) == ("better", 0.4, once.record)
    assert len(read_records(project.root, DeploymentRecord, "promote")) == 1


def test_shadow_and_split_end_with_the_champion_that_they_stood_beside(project):
    first, second = project.first, project.second
    registry = project.registry
    promote(registry, first, Grounds())
    shadow(registry, second)
    split(registry, second, 0.1)
    pointer = Pointer.read(project.root, "recommender")
    assert (pointer.shadow.version, pointer.split.version, pointer.split.share) == (second.bundle, second.bundle, 0.1)
    with pytest.raises(InputError, match="is the champion"):
        split(registry, first, 0.1)
    split(registry, None, 0)
    assert Pointer.read(project.root, "recommender").split is None
    promote(registry, second, Grounds())
    assert Pointer.read(project.root, "recommender").shadow is None


def test_the_commands_say_what_they_did_and_what_was_wrong(project):
    with pytest.raises(AssertionError, match="no version is champion yet"):
        project.nextclick("split", "v2=10%")
    with pytest.raises(AssertionError, match=r"models: has no manifest\.json; expected a version"):
        project.nextclick("gate", "models")
    assert project.nextclick("promote", "v1", "--reason", "the first")["version"] == "v1.0.0"
    for again in (("promote", "v1", "--reason", "again"), ("promote", "v1"), ("rollback", "--to", "v1")):
        with pytest.raises(AssertionError, match=r"v1\.0\.0: is the champion already"):
            project.nextclick(*again)
    assert project.nextclick("lineage", "v1")["version"] == "v1.0.0"
    with pytest.raises(AssertionError, match=r"has no version v7; there are v1\.0\.0"):
        project.nextclick("lineage", "v7")
    assert project.nextclick("split", "v2=10%")["share"] == 0.1
    assert project.nextclick("shadow", "v2")["version"] == "v2.0.0"
    pointer = json.loads((project.root / "models/deployed/recommender.json").read_text())
    assert pointer["split"]["share"] == 0.1
    for wrong in ("v2", "=10%", "v2=0%", "v2=100%", "v2=x"):
        with pytest.raises(AssertionError, match="expected a version and its share"):
            project.nextclick("split", wrong)
    with pytest.raises(AssertionError, match="no verdict yet"):
        project.nextclick("promote", "v2")
    (record,) = (project.root / "reports/decisions").glob("promote-*.json")
    whole = record.read_text()
    record.write_text(whole[:100])
    for command in (("lineage", "v1"), ("watch", "--once")):
        with pytest.raises(AssertionError, match=rf"{record.name}: expected the JSON of a decision record"):
            project.nextclick(*command)
    record.write_text(whole)
    (project.root / "models/deployed/recommender.json").write_text('{"bundle": ')
    with pytest.raises(AssertionError, match="Without the file nothing is deployed"):
        project.nextclick("rollback", "--to", "v2")
    (project.root / "models/deployed/recommender.json").unlink()
    assert project.nextclick("promote", "v1", "--reason", "the pointer was broken")["version"] == "v1.0.0"
    for name in ("other", "../elsewhere"):
        with pytest.raises(AssertionError, match=r"names no artifact .*; it has recommender"):
            project.nextclick("rollback", "--name", name)
