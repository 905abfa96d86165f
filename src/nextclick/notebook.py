"""Runs a notebook as a stage: parameters in, a normalised executed notebook out, the same bytes every time."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from threadpoolctl import threadpool_info

from nextclick.errors import InputError
from nextclick.files import scratch_folder
from nextclick.params import Params
from nextclick.progress import is_watched

ASSIGNED = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)
FAILED = Path("reports/failed")
WITH_AVX2 = {"Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids"}  # OpenBLAS's names


def run_notebook(name: str, root: Path, folder: Path = Path("reports/notebooks")) -> Path:
    """Execute notebooks/NAME.py with its sections of params.yaml; returns NAME.ipynb in `folder` of the project.

    The cell tagged `parameters` assigns the sections that the notebook reads; Papermill injects them behind it. What is
    executed is the .py of the pair, on which the stage depends: outputs in the .ipynb that people open change nothing.
    Raises InputError if the notebook does not exist, declares a section that params do not have, or has a cell that
    fails; the notebook up to that cell is then in reports/failed.
    """
    script = root / "notebooks" / f"{name}.py"
    if not script.is_file():
        existing = ", ".join(path.stem for path in sorted(script.parent.glob("*.py")))
        raise InputError(f"{script}: no such notebook; existing ones: {existing or 'none'}")
    params = Params.read(root / "params.yaml")
    notebook = jupytext.read(script)
    try:
        injected = {section: params.section(section) for section in declared_sections(notebook)}
    except InputError as error:
        raise InputError(f"{script}: {error}") from error
    out = root / folder / f"{name}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = _same_sums(params.run.threads) | ({"NEXTCLICK_PROGRESS": "1"} if is_watched() else {})
    with scratch_folder(out.parent / f".running-{name}") as scratch:
        source, executed = scratch / "source.ipynb", scratch / "executed.ipynb"
        nbformat.write(notebook, source)
        try:
            papermill.execute_notebook(
                source,
                executed,
                parameters=injected,
                cwd=str(script.parent),
                kernel_name=_this_python(scratch, environment),
                language="python",
                stderr_file=sys.stderr,  # progress bars of the cells
                progress_bar=False,
            )
        except PapermillExecutionError as error:
            failed = root / FAILED / f"{name}.ipynb"
            failed.parent.mkdir(parents=True, exist_ok=True)
            executed.replace(failed)
            raise InputError(
                f"{script}: cell {error.cell_index} failed: {error.ename}: {error.evalue} (see {failed})"
            ) from error
        result = nbformat.read(executed, as_version=4)
        finished = scratch / "finished.ipynb"
        nbformat.write(normalised(result, root), finished)
        finished.replace(out)
    return out


def _same_sums(threads: int) -> dict[str, str]:
    """Environment variables that make BLAS and Numba sum in the same order everywhere: the number of threads, and for
    OpenBLAS the kernels that every processor with AVX2 can run."""
    variables = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    kernels = {library.get("architecture") for library in threadpool_info()}
    return variables | ({"OPENBLAS_CORETYPE": "Haswell"} if kernels & WITH_AVX2 else {})


def declared_sections(notebook: NotebookNode) -> list[str]:
    """The names that the cell tagged `parameters` assigns. Raises InputError if there is no such cell."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            return ASSIGNED.findall(cell.source)
    raise InputError("no cell is tagged `parameters`; the first code cell should be")


def normalised(notebook: NotebookNode, root: Path) -> NotebookNode:
    """The notebook, changed in place, without what differs between two runs: times, random ids, progress bars, the
    project's path, the patch version of Python."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("kernelspec", None)
    notebook.metadata.get("language_info", {}).pop("version", None)  # of Python, down to the patch
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"
        for run in ("papermill", "execution"):
            cell.metadata.pop(run, None)
        if cell.cell_type == "code":
            outputs: list[NotebookNode] = []
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    continue
                # timing decides in how many pieces the same text arrives
                if outputs and output.get("name") == "stdout" == outputs[-1].get("name"):
                    outputs[-1].text += output.text
                else:
                    outputs.append(output)
            cell.outputs = outputs
            for output in outputs:
                if "text" in output:
                    output.text = output.text.replace(f"{root}/", "")
    return notebook


def _this_python(scratch: Path, environment: dict[str, str]) -> str:
    """Register a kernel that is this very interpreter, whatever kernels are installed elsewhere; returns its name.

    environment: variables for the notebook's process alone; this process, which may have begun to sum, keeps its own.
    """
    from ipykernel.kernelspec import write_kernel_spec

    name = "nextclick"
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
    write_kernel_spec(str(scratch / "jupyter" / "kernels" / name), overrides={"argv": argv, "env": environment})
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        filter(None, [str(scratch / "jupyter"), os.environ.get("JUPYTER_PATH")])
    )
    return name
