"""The README's two commands on a clean clone: every stage runs once, and what people do next to it works."""

import json

import nbformat
import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from jupytext.sync_contentsmanager import build_sync_jupytext_contents_manager_class

from .stages import STAGES, stages_run


@pytest.mark.ml_test("infra-3")
def test_make_sets_up_runs_every_stage_and_says_where_to_look(made):
    assert stages_run(made.output) == list(STAGES)
    assert "reports/metrics/evaluate.json" in made.output
    assert made.output.splitlines()[-1].startswith("Read reports/notebooks/*.ipynb")
    where = made.clone.run(".venv/bin/python", "-c", "import nextclick; print(nextclick.__path__[0])")
    assert where.startswith(str(made.clone.root))


def test_make_test_runs_tests_in_the_environment_that_it_set_up(made):
    said = made.clone.run("env", "PYTEST_ADDOPTS=tests/test_cli.py", "make", "test")
    assert " passed" in said.splitlines()[-1]
    assert "failed" not in said


def test_the_feature_store_works_with_nothing_installed_beside(made):
    feast = made.clone.run(".venv/bin/feast", "-c", "src/nextclick/features/feast_repo", "apply")
    assert "error" not in feast.lower()
    once, twice = (made.clone.run(".venv/bin/nextclick", "materialise").splitlines()[-1] for _ in range(2))
    assert once == twice
    found = json.loads(made.clone.run(".venv/bin/nextclick", "parity", "--most", "200").splitlines()[-1])
    assert found["moments"] == 200
    assert found["differing"] == 0


def test_the_lists_of_the_small_shop_hit(made):
    assert 0.2 < made.clone.metric("evaluate")["hr@20"] <= 1


def test_nothing_runs_twice(made):
    assert "Data and pipelines are up to date" in made.clone.dvc("repro")


def test_running_a_notebook_by_hand_and_saving_it_leaves_its_stage_clean_but_changing_its_code_does_not(made):
    root = made.clone.root
    # the manager through which JupyterLab opens and saves
    manager = build_sync_jupytext_contents_manager_class(LargeFileManager)(root_dir=str(root))
    opened = manager.get("notebooks/04_evaluate.ipynb")
    cells = opened["content"]["cells"]
    executed = nbformat.read(root / "reports/notebooks/04_evaluate.ipynb", as_version=4).cells
    shown = {cell.source: cell.outputs for cell in executed if cell.cell_type == "code"}
    for count, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        cell["outputs"], cell["execution_count"] = shown[cell["source"]], count
    manager.save(opened, "notebooks/04_evaluate.ipynb")
    assert "up to date" in made.clone.dvc("status")

    before = cells[-1]["source"]
    cells[-1]["source"] += "\nprint('changed')"
    manager.save(opened, "notebooks/04_evaluate.ipynb")
    assert "notebooks/04_evaluate.py" in made.clone.dvc("status")
    cells[-1]["source"] = before
    manager.save(opened, "notebooks/04_evaluate.ipynb")
    assert "up to date" in made.clone.dvc("status")
    made.clone.run("git", "checkout", "--", "notebooks")
