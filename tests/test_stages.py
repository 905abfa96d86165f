"""dvc.yaml names the code that its stages run: every module that a stage can reach by an import is among its deps.

A change in code that a stage reaches and does not name would leave a stale figure that DVC calls up to date.
"""

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STAGES = tuple(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
COMMANDS = ("pipeline", "monitoring")  # files of src/nextclick/cli that hold a stage's command


def imported(node: ast.AST) -> Iterator[str]:
    """The names of modules, and of what is taken from them, that an import statement may mean; of other nodes, none."""
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))


@cache
def mentions(source: str, command: str | None = None) -> tuple[frozenset[str], frozenset[str]]:
    """The modules of the project that a source may import, and its string constants. command: leaves out all functions
    but this one."""
    body = ast.parse(source).body
    own = [node for node in body if command is None or getattr(node, "name", command) == command]
    nodes = [node for top in own for node in ast.walk(top)]
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    modules = {name for node in nodes for name in imported(node) if name.split(".")[0] == "nextclick"}
    return frozenset(modules), frozenset(strings)


def reached(root: Path, command: str) -> set[str]:
    """The files of the project that `nextclick <command>` can reach, as paths from `root`.

    The function of the command counts with the top of its file; every module that it imports counts whole, with imports
    in functions that it may never call, and a notebook counts where a module names it. cli/__init__.py does not count:
    it parses arguments, prints the result, and imports every other command.
    """
    name, *arguments = command.removeprefix(".venv/bin/nextclick ").split()
    files = [root / f"src/nextclick/cli/{file}.py" for file in COMMANDS]
    (entry,) = (file for file in files if f"\ndef {name}(" in file.read_text())
    found, open_ends = {entry}, [mentions(entry.read_text(), name), (frozenset(), frozenset(arguments))]
    while open_ends:
        modules, strings = open_ends.pop()
        files = {file for module in modules for file in files_of(root / "src" / module.replace(".", "/"))}
        files -= {root / "src/nextclick/cli/__init__.py"}
        files |= {notebook for notebook in (root / "notebooks").glob("*.py") if notebook.stem in strings}
        open_ends += [mentions(file.read_text()) for file in files - found]
        found |= files
    return {str(file.relative_to(root)) for file in found if holds_code(file)}


def files_of(module: Path) -> Iterator[Path]:
    """A module's file, where it is one, and those of the packages in which it lies."""
    packages = (folder / "__init__.py" for folder in (module, *module.parents) if "nextclick" in folder.parts)
    yield from (file for file in (module.with_suffix(".py"), *packages) if file.is_file())


def holds_code(file: Path) -> bool:
    """Whether it is more than a docstring."""
    return not all(isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body)


def undeclared(root: Path) -> dict[str, set[str]]:
    """By stage, the code that it reaches and that none of its deps is or holds."""
    missing = {}
    for name, stage in yaml.safe_load((root / "dvc.yaml").read_text())["stages"].items():
        named = [Path(dep) for dep in stage["deps"]]
        missing[name] = {
            file for file in reached(root, stage["cmd"]) if not any(Path(file).is_relative_to(dep) for dep in named)
        }
    return {name: files for name, files in missing.items() if files}


def test_every_stage_names_all_code_that_it_can_reach():
    assert undeclared(ROOT) == {}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_names_is_there_and_the_stage_reaches_it(stage):
    about = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]
    files = reached(ROOT, about["cmd"])
    for dep in (dep for dep in about["deps"] if dep.startswith(("src/", "notebooks/"))):
        assert (ROOT / dep).exists()
        assert any(Path(file).is_relative_to(dep) for file in files), f"{stage} does not run {dep}"


def test_every_stage_says_in_a_sentence_what_it_makes():
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        assert len(stage["desc"]) > 20, name


@pytest.fixture
def copy(tmp_path) -> Path:
    for folder in ("src", "notebooks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "stages"),
    [
        ("src/nextclick/events/split.py", "import nextclick.ranking.calibration", {"split"}),
        (
            "src/nextclick/files.py",
            "def late():\n    from nextclick import threads",
            {"simulate", "ingest", "split", "explore", "publish"},
        ),
        ("notebooks/01_explore.py", "from nextclick.evaluation import metrics", {"explore"}),
        ("src/nextclick/evaluation/slices.py", "SHOWN = '07_gate'", {"evaluate", "diagnose", "drift"}),
    ],
    ids=["at the top", "within a function", "in a notebook", "a notebook that a module names"],
)
def test_code_that_no_stage_names_would_be_found(copy, file, line, stages):
    assert undeclared(copy) == {}
    with (copy / file).open("a") as module:
        module.write(f"\n{line}\n")
    assert set(undeclared(copy)) == stages


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_is_no_longer_named_would_be_missed(copy, stage):
    pipeline = yaml.safe_load((copy / "dvc.yaml").read_text())
    deps = pipeline["stages"][stage]["deps"]
    deps.remove(next(dep for dep in deps if dep.startswith("src/")))
    (copy / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    assert stage in undeclared(copy)
