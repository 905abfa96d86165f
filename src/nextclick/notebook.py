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
from nextclick.progress import SHOWN_BY_PARENT, is_watched

ASSIGNED = re.compile(r"^(\w+)\s*(?::[^=]+)?=", re.MULTILINE)
FAILED = Path("reports/failed")
WITH_AVX2 = {"Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids"}  # OpenBLAS's names


def run_notebook(name: str, root: Path, folder: Path = Path("reports/notebooks")) -> Path:
    """Execute notebooks/NAME.py with its sections of params.yaml; returns NAME.ipynb in `folder` of the project.

    The cell tagged `parameters` names the sections that the notebook reads. What is executed is the .py of the pair, on
    which the stage depends: outputs in the .ipynb that people open change nothing.
    Raises InputError where there is no such notebook, it asks for a section that params do not have, or a cell fails
    (the notebook up to there is then kept in reports/failed).
    """
    script = root / "notebooks" / f"{name}.py"
    if not script.is_file():
        known = ", ".join(path.stem for path in sorted(script.parent.glob("*.py")))
        raise InputError(f"{script}: no such notebook; there are {known or 'none'}")
    params = Params.read(root / "params.yaml")
    notebook = jupytext.read(script)
    injected = {section: _plain(params, section, script) for section in declared_sections(notebook, script)}
    out = root / folder / f"{name}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    environment = _same_sums(params.run.threads) | ({SHOWN_BY_PARENT: "1"} if is_watched() else {})
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
            kept = root / FAILED / f"{name}.ipynb"
            kept.parent.mkdir(parents=True, exist_ok=True)
            executed.replace(kept)
            raise InputError(
                f"{script}: cell {error.cell_index} failed: {error.ename}: {error.evalue} (see {kept})"
            ) from error
        result = nbformat.read(executed, as_version=4)
        finished = scratch / "finished.ipynb"
        nbformat.write(normalised(result, root), finished)
        finished.replace(out)
    return out


def _same_sums(threads: int) -> dict[str, str]:
    """What makes BLAS and Numba sum in the same order everywhere: as many threads, and of the kernels that OpenBLAS has
    for processors with AVX2 the same ones on all of them."""
    held = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    kernels = {library.get("architecture") for library in threadpool_info()}
    return held | ({"OPENBLAS_CORETYPE": "Haswell"} if kernels & WITH_AVX2 else {})


def declared_sections(notebook: NotebookNode, script: Path) -> list[str]:
    """The names that the cell tagged `parameters` assigns."""
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            return ASSIGNED.findall(cell.source)
    raise InputError(f"{script}: no cell tagged `parameters`; the first code cell should be")


def normalised(notebook: NotebookNode, root: Path) -> NotebookNode:
    """Without what differs between two runs: times, random ids, progress bars, the place, the patch of Python."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("kernelspec", None)
    notebook.metadata.get("language_info", {}).pop("version", None)  # of Python, down to the patch
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        for run in ("papermill", "execution"):
            cell.metadata.pop(run, None)
        if cell.cell_type == "code":
            kept: list[NotebookNode] = []
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    continue
                # in how many pieces the same text arrives depends on the moment
                if kept and output.get("name") == "stdout" == kept[-1].get("name"):
                    kept[-1].text += output.text
                else:
                    kept.append(output)
            cell.outputs = kept
            for output in kept:
                if "text" in output:
                    output.text = output.text.replace(f"{root}/", "")
    return notebook


def _plain(params: Params, section: str, script: Path) -> dict:
    if section not in Params.model_fields:
        raise InputError(
            f"{script}: asks for the section {section}; params.yaml may have {', '.join(Params.model_fields)}"
        )
    return getattr(params, section).model_dump(mode="json")


def _this_python(scratch: Path, environment: dict[str, str]) -> str:
    """A kernel that is this very interpreter, whatever kernels are installed elsewhere; returns its name.

    environment: variables of the notebook's own process alone; its parent, which may have begun to sum, keeps its own.
    """
    from ipykernel.kernelspec import write_kernel_spec

    name = "nextclick"
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=50"]
    write_kernel_spec(str(scratch / "jupyter" / "kernels" / name), overrides={"argv": argv, "env": environment})
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        filter(None, [str(scratch / "jupyter"), os.environ.get("JUPYTER_PATH")])
    )
    return name
