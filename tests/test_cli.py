"""The help of every command shows how it is called, in a way that would work; mistakes end with code 2 and a line."""

import re
import shlex
from datetime import UTC, datetime

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.cli.times import utc
from nextclick.errors import InputError
from nextclick.params import Params
from nextclick.project import project_root

COMMANDS = get_command(app).commands


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_has_an_example_that_parses(command):
    shown = CliRunner().invoke(app, [command, "--help"] if command else ["--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    examples = [line.partition("Example: ")[2] for line in shown.stdout.splitlines() if "Example: " in line]
    assert examples
    for example in examples:
        program, name, *arguments = shlex.split(example)
        assert program == "nextclick"
        assert name == command or command is None
        COMMANDS[name].make_context(name, arguments)


def test_without_a_command_the_help_lists_all_of_them():
    shown = CliRunner().invoke(app, [])
    assert all(f" {name} " in shown.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_outside_of_a_project_every_command_ends_with_code_2_and_one_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"Example: nextclick (.+)", COMMANDS[command].help)
    assert examples
    for example in examples:
        ended = CliRunner().invoke(app, shlex.split(example))
        assert ended.exit_code == 2
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        assert line.startswith("nextclick: ")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (["--events", "f.parquet", "--since", "2026-03-01"], "--events takes --days"),
        (["--days", "0"], "expected more than 0"),
        (["--since", "2026-03-01"], "expected --since and --until"),
    ],
)
def test_no_option_of_drift_is_dropped_without_a_word(asked, reason):
    ended = CliRunner().invoke(app, ["drift", *asked])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert reason in ended.stderr


def test_what_a_stage_has_not_made_yet_is_named(tmp_path, monkeypatch):
    root = project_root()
    for name in ("dvc.yaml", "params.yaml", "reports/metrics/ingest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((root / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["publish"])
    assert ended.exit_code == 2
    assert re.search("train.parquet: file not found; `dvc repro` makes the files of the pipeline", ended.stderr)


@pytest.mark.parametrize("asked", [["dance"], ["parity", "--most", "many"], ["simulate", "--fast"]])
def test_what_is_no_command_or_option_ends_with_code_2(asked):
    assert CliRunner().invoke(app, asked).exit_code == 2


def test_a_time_is_in_utc_unless_it_names_a_zone():
    noon = datetime(2026, 1, 20, 12, tzinfo=UTC)
    assert utc(datetime(2026, 1, 20, 12)) == utc(datetime.fromisoformat("2026-01-20T17:00:00+05:00")) == noon


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"run: {seed: -1}", "run.seed: Input should be greater than or equal to 0"),
        (b"run: {seed: 1}\n# \xff", "cannot be read"),
        (b"- run", "expected sections with names, such as run, found a list"),
    ],
)
def test_params_that_cannot_be_used_end_in_one_line(tmp_path, text, expected):
    (tmp_path / "params.yaml").write_bytes(text)
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        Params.read(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_the_shell_is_taught_the_commands():
    completed = CliRunner().invoke(
        app,
        [],
        prog_name="nextclick",
        env={"_NEXTCLICK_COMPLETE": "complete_bash", "COMP_WORDS": "nextclick mat", "COMP_CWORD": "1"},
    )
    assert completed.stdout.split() == ["materialise"]
