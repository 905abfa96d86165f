"""At a terminal a command answers in a sentence and tables, and JSON where it is piped or asked for."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from nextclick.cli import app
from nextclick.cli.terminal import MOST_ROWS, VERDICTS, show

ROWS = "session_id,item_id,timestamp\n" + "".join(f"s{i // 3},i{i % 7},{1_767_225_600 + i}\n" for i in range(60))


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Path:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "clicks.csv").write_text(ROWS)
    about = {"path": "clicks.csv", "format": "generic", "columns": {}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"ingest": about}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def at_a_terminal(*arguments: str) -> tuple[int, str]:
    """The exit code, and what a terminal of 100 columns shows of stdout."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nextclick.cli", *arguments], stdout=theirs, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the terminal ends with its last process
        pass
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")


def test_at_a_terminal_the_first_line_says_what_came_out(shop):
    code, shown = at_a_terminal("ingest")
    assert code == 0
    first = re.sub(r"\x1b\[\d*m", "", shown.splitlines()[0])
    assert first.rstrip() == "60 events in 20 sessions; 0 rows in quarantine."
    assert "duplicates" in shown
    with pytest.raises(ValueError, match=r"Expecting value|Extra data"):
        json.loads(shown)


def test_where_it_is_piped_or_asked_for_it_is_json(shop):
    piped = CliRunner().invoke(app, ["ingest"])
    assert json.loads(piped.stdout)["accepted"] == 60
    code, shown = at_a_terminal("ingest", "--json")
    assert (code, json.loads(shown)) == (0, json.loads(piped.stdout))


def printed(command: str, result: dict) -> str:
    out = io.StringIO()
    show(command, result, Console(file=out, width=100, color_system=None))
    return out.getvalue()


RESULTS = {
    "register": {"recommender": "recommender", "version": "v1.0.0", "bundle": "b1", "commit": "c"},
    "gate": {"verdict": "promote", "reason": "better beyond chance: at least +3.00%", "guards": [{"name": "future"}]},
    "promote": {"version": "v2.0.0", "before": "v1.0.0", "gate": None},
    "rollback": {"version": "v1.0.0", "before": None},
    "shadow": {"version": None},
    "retrain": {"version": "v3.0.0", "outcome": "held", "reason": "too few sessions"},
    "drift": {"outcome": "hold", "words": "The lists hit 0.2 to 0.3."},
    "ingest": {"accepted": 1000, "sessions": 10, "quarantined": 0},
    "reproduce": {"version": "v1.0.0", "same": False, "differing": ["ranker.ubj"]},
    "forget": {"removed": {"a.parquet": 3}, "sessions": 2},
    "stream": {"events": 5},
    "compact": {"merged": 1, "days": 3},
}


@pytest.mark.parametrize("command", VERDICTS)
def test_each_verdict_is_a_sentence(command):
    first = printed(command, RESULTS[command]).splitlines()[0].rstrip()
    assert first.endswith(".")
    assert first[0].isupper() or first[0] in "v0123456789r"
    assert "None" not in first


def test_a_long_table_is_cut_and_says_so_and_odd_values_are_shown():
    rows = [{"name": f"n{i}", "value": i / 3, "held": i % 2 == 0, "why": None} for i in range(40)]
    shown = printed("experiment", {"arms": rows, "nested": {"a": [1, {"b": 2}]}, "x": "[red]not markup[/red]"})
    assert f"arms, {MOST_ROWS} of 40" in shown
    assert "[red]not markup[/red]" in shown
    assert '[1, {"b": 2}]' in shown
    assert shown.count("\n") < 40


def test_a_result_with_an_exit_code_is_shown_too():
    """As `drift` ends, which schedulers read."""
    from nextclick.cli import command
    from nextclick.cli.ending import EndedWithError

    def ends() -> dict:
        """Example: nextclick ends"""
        raise EndedWithError({"outcome": "alert"}, 20)

    registered = list(app.registered_commands)
    command(ends, "Data")
    try:
        ended = CliRunner().invoke(app, ["ends"])
    finally:
        app.registered_commands[:] = registered
    assert ended.exit_code == 20
    assert json.loads(ended.stdout) == {"outcome": "alert"}
