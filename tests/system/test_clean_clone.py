"""The README's two commands on clean clones: the same dvc.lock in each, and nothing runs twice."""

import json

import nbformat
import pytest
import yaml
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

from .stages import STAGES, stages_run


@pytest.mark.ml_test("infra-3")
def test_make_sets_up_runs_every_stage_and_says_where_to_look(runs):
    assert stages_run(runs.made_said) == list(STAGES)
    assert "reports/metrics/evaluate.json" in runs.made_said
    assert runs.made_said.splitlines()[-1].startswith("Read reports/notebooks/*.ipynb")
    where = runs.made.run(".venv/bin/python", "-c", "import nextclick; print(nextclick.__path__[0])")
    assert where.startswith(str(runs.made.root))


def test_make_test_runs_tests_in_the_environment_that_it_set_up(runs):
    said = runs.made.run("env", "PYTEST_ADDOPTS=tests/test_cli.py", "make", "test")
    assert " passed" in said.splitlines()[-1]
    assert "failed" not in said


def test_the_feature_store_works_with_nothing_installed_beside(runs):
    feast = runs.made.run(".venv/bin/feast", "-c", "src/nextclick/features/feast_repo", "apply")
    assert "error" not in feast.lower()
    once, twice = (runs.made.run(".venv/bin/nextclick", "materialise").splitlines()[-1] for _ in range(2))
    assert once == twice
    found = json.loads(runs.made.run(".venv/bin/nextclick", "parity", "--most", "200").splitlines()[-1])
    assert found["moments"] == 200
    assert found["differing"] == 0


@pytest.mark.ml_test("infra-1")
def test_two_clean_clones_give_the_same_lock_to_the_byte(runs):
    assert runs.made_lock == runs.repeated_lock
    assert set(yaml.safe_load(runs.made_lock)["stages"]) == set(STAGES)
    headline = json.loads((runs.made.root / "reports/metrics/evaluate.json").read_text())
    assert 0.2 < headline["hr@20"] <= 1


def test_nothing_runs_twice(runs):
    assert "Data and pipelines are up to date" in runs.repeated.dvc("repro")


def test_running_a_notebook_by_hand_and_saving_it_leaves_its_stage_clean_but_changing_its_code_does_not(runs):
    # the manager through which JupyterLab opens and saves
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(runs.repeated.root))
    opened = manager.get("notebooks/04_evaluate.ipynb")
    cells = opened["content"]["cells"]
    executed = nbformat.read(runs.repeated.root / "reports/notebooks/04_evaluate.ipynb", as_version=4).cells
    shown = {cell.source: cell.outputs for cell in executed if cell.cell_type == "code"}
    for count, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        cell["outputs"], cell["execution_count"] = shown[cell["source"]], count
    manager.save(opened, "notebooks/04_evaluate.ipynb")
    assert "up to date" in runs.repeated.dvc("status")

    before = cells[-1]["source"]
    cells[-1]["source"] += "\nprint('changed')"
    manager.save(opened, "notebooks/04_evaluate.ipynb")
    assert "notebooks/04_evaluate.py" in runs.repeated.dvc("status")
    cells[-1]["source"] = before
    manager.save(opened, "notebooks/04_evaluate.ipynb")
    assert "up to date" in runs.repeated.dvc("status")
