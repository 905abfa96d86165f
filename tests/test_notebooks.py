"""Notebooks are clean pairs that read the sections of params.yaml which they declare; an invalid one is named.

That they run, twice to the same bytes, is shown by tests/system on clean clones."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from threadpoolctl import threadpool_info

from nextclick.errors import InputError
from nextclick.notebook import WITH_AVX2, declared_sections, normalised, run_notebook
from nextclick.params import Params

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.mark.parametrize("script", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_pairs_are_in_step_stripped_and_hold_no_logic(script):
    pair = nbformat.read(script.with_suffix(".ipynb"), as_version=4)
    assert [(c.cell_type, c.source) for c in pair.cells] == [
        (c.cell_type, c.source) for c in jupytext.read(script).cells
    ]
    for cell in pair.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            assert not [line for line in cell.source.splitlines() if line.startswith(("def ", "class "))]


@pytest.fixture(scope="module")
def project(tmp_path_factory, small_params) -> Path:
    """The project's notebooks, stages and params; nothing of it has run."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    shutil.copy(ROOT / "dvc.yaml", root)
    (root / "params.yaml").write_text(small_params)
    return root


def values_of(cells: list) -> dict:
    """What the cells assign."""
    values: dict = {}
    for cell in cells:
        exec(cell.source, values)
    return values


@pytest.mark.parametrize("script", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_a_notebook_has_the_params_of_its_project_by_hand_and_those_that_papermill_injects(
    script, project, monkeypatch
):
    monkeypatch.chdir(project / "notebooks")
    notebook, params = jupytext.read(script), Params.read(project / "params.yaml")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "parameters" in code[0].metadata["tags"]
    sections = declared_sections(notebook)
    by_hand = values_of(code[:1])
    assert {section: by_hand[section] for section in sections} == {
        section: params.section(section) for section in sections
    }

    changed = {"injected": True}
    opened = load_notebook_node(str(script.with_suffix(".ipynb")))
    given = parameterize_notebook(opened, {sections[-1]: changed}, kernel_name="python3", language="python")
    code = [cell for cell in given.cells if cell.cell_type == "code"]
    assert "injected-parameters" in code[1].metadata["tags"]
    injected = values_of(code[:2])
    assert {section: injected[section] for section in sections} == {
        section: by_hand[section] for section in sections[:-1]
    } | {sections[-1]: changed}


@pytest.mark.parametrize("script", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_a_notebook_reads_the_sections_that_it_declares_and_its_stage_names_them(script):
    notebook = jupytext.read(script)
    declared = set(declared_sections(notebook))
    read = {
        section
        for cell in notebook.cells
        if cell.cell_type == "code"
        for section in re.findall(r"\bparams\.(\w+)", cell.source)
    }
    assert read <= declared
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        if f"notebooks/{script.name}" in stage["deps"]:
            named = {key.split(".")[0] for key in stage["params"]}
            assert declared | {"run"} <= named  # `run.threads` is every notebook's
            if stage["cmd"].endswith(f"notebook {script.stem}"):
                assert named == declared | {"run"}


def test_saving_an_executed_notebook_leaves_its_stage_clean(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "jupytext.toml", tmp_path)
    path = tmp_path / "notebooks/03_train.ipynb"
    before = path.with_suffix(".py").read_bytes()
    executed = nbformat.read(path, as_version=4)
    for place, cell in enumerate(executed.cells):
        cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
        if cell.cell_type == "code":
            cell.execution_count = place
            cell.outputs = [nbformat.v4.new_output("stream", text="seen")]
    executed.metadata["kernelspec"] = {"display_name": "Mine", "language": "python", "name": "mine"}
    nbformat.write(executed, path)
    subprocess.run([sys.executable, "-m", "jupytext", "--sync", path], check=True, cwd=tmp_path)
    assert path.with_suffix(".py").read_bytes() == before


def test_a_failing_cell_is_named_and_the_notebook_kept(project):
    (project / "notebooks/99_broken.py").write_text('# %% tags=["parameters"]\nrun = {}\n\n# %%\n1 / 0\n')
    with pytest.raises(InputError, match=r"cell 2 failed: ZeroDivisionError"):
        run_notebook("99_broken", project)
    assert (project / "reports/failed/99_broken.ipynb").exists()
    assert not (project / "reports/notebooks/99_broken.ipynb").exists()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('# %% tags=["parameters"]\nweather = {}\n', "98_odd.py: params.yaml: no section weather"),
        ("# %%\nrun = {}\n", "98_odd.py: no cell is tagged"),
    ],
)
def test_a_notebook_that_asks_for_what_is_not_there_is_refused(project, source, said):
    (project / "notebooks/98_odd.py").write_text(source)
    with pytest.raises(InputError, match=said):
        run_notebook("98_odd", project)


def test_a_notebook_sums_with_the_kernels_that_every_processor_with_avx2_has(project, monkeypatch):
    """Else dvc.lock would differ between machines. The kernels of this process were chosen when it began."""
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if not WITH_AVX2 & {library.get("architecture") for library in threadpool_info()}:
        pytest.skip("no AVX2 here, or BLAS is not OpenBLAS")
    (project / "notebooks/97_kernels.py").write_text(
        '# %% tags=["parameters"]\nrun = {}\n\n# %%\nimport numpy\nfrom threadpoolctl import threadpool_info\n'
        "print({library.get('architecture') for library in threadpool_info()})\n"
    )
    executed = nbformat.read(run_notebook("97_kernels", project), as_version=4)
    assert executed.cells[-1].outputs[0].text == "{'Haswell'}\n"


def test_the_process_that_runs_a_notebook_keeps_its_own_threads(project, monkeypatch):
    """Numba refuses to compile where NUMBA_NUM_THREADS has changed since its threads began."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        monkeypatch.delenv(f"{library}_NUM_THREADS", raising=False)
    (project / "notebooks/96_threads.py").write_text(
        '# %% tags=["parameters"]\nrun = {}\n\n'
        '# %%\nimport os\nprint(os.environ["NUMBA_NUM_THREADS"], run["threads"])\n'
    )
    executed = nbformat.read(run_notebook("96_threads", project), as_version=4)
    given, asked = executed.cells[-1].outputs[0].text.split()
    assert given == asked
    assert not [name for name in os.environ if name.endswith("_NUM_THREADS")]


def test_an_unknown_key_in_params_is_an_error_that_names_it(project):
    params = project / "params.yaml"
    text = params.read_text()
    params.write_text(text + "\nweather: {}\n")
    with pytest.raises(InputError, match="weather"):
        run_notebook("03_train", project)
    params.write_text(text)


def test_what_is_kept_of_a_run_does_not_tell_the_patch_of_python(tmp_path):
    notebook = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python", "version": "3.11.2"}})
    assert normalised(notebook, tmp_path).metadata == {"language_info": {"name": "python"}}
