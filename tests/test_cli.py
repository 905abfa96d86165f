"""The help of every command shows how it is called, in a way that would work."""

import shlex

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from nextclick.cli import app

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
