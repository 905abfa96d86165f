"""What is installed is not known to be unsafe, what the image holds is listed, and no secret lies in git."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from nextclick.project import project_root

ROOT = project_root()
ADVISORIES = tomllib.loads((Path(__file__).parent / "advisories.toml").read_text())
NAMES_ONLY = ["--exclude-secrets", "^NEXTCLICK_[A-Z_]+$"]  # of the variables that hold secrets
LOCKED = {
    package["name"]: Version(package["version"])
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    if "version" in package
}


@pytest.mark.ml_test("monitor-1")
@pytest.mark.parametrize("name", sorted(set(ADVISORIES) - {"open"}))
def test_the_lock_stands_above_what_is_known_to_be_unsafe(name):
    known = ADVISORIES[name]
    assert LOCKED[name] >= Version(known["floor"]), known["advisory"]


@pytest.mark.ml_test("data-4")
def test_feature_views_hold_no_code_that_feast_would_rebuild_from_its_registry():
    definitions = (ROOT / "src/nextclick/features/store/definitions.py").read_text()
    assert "on_demand" not in definitions
    assert "udf" not in definitions.lower()
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    assert not [path for path in tracked if "registry" in path and path.endswith((".db", ".pb"))]


def test_the_bill_of_materials_lists_what_the_image_installs():
    run = ["make", "--silent", "build/bill-of-materials.json", "build/requirements.txt"]
    subprocess.run(run, cwd=ROOT, check=True)
    listed = json.loads((ROOT / "build/bill-of-materials.json").read_text())
    assert listed["bomFormat"] == "CycloneDX"
    components = {component["name"]: component["version"] for component in listed["components"]}
    lines = (ROOT / "build/requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    assert {"bentoml", "feast", "xgboost-cpu"} <= {requirement.name for requirement in wanted}
    for requirement in wanted:
        assert components[requirement.name] in requirement.specifier
    assert not {"jupyterlab", "dvc", "evidently"} & set(components)


def test_no_secret_is_in_git():
    tracked = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    read = [path for path in tracked if path and not path.endswith((".ipynb", "uv.lock", "dvc.lock", ".png"))]
    found = subprocess.check_output(
        [sys.executable, "-m", "detect_secrets", "scan", *NAMES_ONLY, *read], cwd=ROOT, text=True
    )
    assert json.loads(found)["results"] == {}


def test_a_secret_in_git_would_be_found(tmp_path):
    secrets = 'password = "hVq8-xK2_mZr41Lw"\n'  # pragma: allowlist secret
    (tmp_path / "settings.py").write_text(secrets)
    command = [sys.executable, "-m", "detect_secrets", "scan", "settings.py"]
    found = subprocess.check_output(command, cwd=tmp_path, text=True)
    assert "settings.py" in json.loads(found)["results"]
