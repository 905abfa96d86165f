"""Every command that README and docs show is run: here, in a clone through which `make` went, or by the test named."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from nextclick.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md") if (ROOT / name).exists()]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"^(make\b|\.venv/bin/|curl |scripts/|export |python |git |docker |nextclick [a-z])")
INLINE = re.compile(r"`((?:python|nextclick|make) [^`]+)`")

# run here, in this order, in the clone that `make` made
RUN = (
    ".venv/bin/pre-commit install",
    ".venv/bin/dvc exp show --only-changed",
    ".venv/bin/dvc metrics diff",
    ".venv/bin/dvc plots diff",
    ".venv/bin/dvc repro",
    ".venv/bin/feast -c src/nextclick/features/feast_repo apply",
    ".venv/bin/nextclick materialise --until 2026-01-20",
    ".venv/bin/nextclick parity --most 1000 --shuffle 0.2 --duplicate 0.1 --expire 0.05",
)
TOUR = "system/test_tour.py::test_the_ten_minutes_work_word_for_word"
ELSEWHERE = {
    **dict.fromkeys(
        (
            ".venv/bin/dvc exp run -S ranker.max_depth=4",
            'git commit -qam "Shallower trees"',
            "git revert --no-edit HEAD && .venv/bin/dvc checkout",
            ".venv/bin/nextclick gate v2",
            ".venv/bin/nextclick simulate --scenario tracking_bug --strength 0.1 --onset 25 --out data/raw/broken",
            ".venv/bin/nextclick drift --events data/raw/broken/events.parquet --days 3 --no-exit-code",
            "make serve",
            ".venv/bin/nextclick drift --events data/split/test.parquet --days 3 --no-exit-code",
            '.venv/bin/nextclick promote v2 --reason "to see it change"',
        ),
        TOUR,
    ),
    ".venv/bin/nextclick look path/to/clicks.csv": (
        "events/test_look.py::test_write_makes_params_or_changes_their_section_alone"
    ),
    "make setup": "system/test_clean_clone.py::test_make_sets_up_runs_every_stage_and_says_where_to_look",
    ".venv/bin/dvc repro explore": (
        "system/test_clean_clone.py::test_make_sets_up_runs_every_stage_and_says_where_to_look"
    ),
    "make": "system/test_clean_clone.py::test_make_sets_up_runs_every_stage_and_says_where_to_look",
    "make test": "system/test_clean_clone.py::test_make_test_runs_tests_in_the_environment_that_it_set_up",
    "make lab": "system/test_lab.py::test_a_notebook_opens_and_runs_to_its_end",
    ".venv/bin/dvc exp run -S ingest.path=path/to/ml-1m -S ingest.format=movielens": (
        "system/test_sources_end_to_end.py::test_a_published_data_set_becomes_a_judged_bundle"
    ),
    "scripts/kafka/start.sh": "stream/test_consumer.py::test_the_command_says_what_it_did_and_serves_metrics",
    "export NEXTCLICK_KAFKA=127.0.0.1:9092": (
        "stream/test_consumer.py::test_the_command_says_what_it_did_and_serves_metrics"
    ),
    ".venv/bin/nextclick stream --metrics-port 9108": (
        "stream/test_consumer.py::test_the_command_says_what_it_did_and_serves_metrics"
    ),
    ".venv/bin/nextclick replay --shuffle 0.1 --duplicate 0.05 --late 0.01 --poison 0.01": (
        "stream/test_consumer.py::test_many_broken_messages_between_good_ones"
    ),
    ".venv/bin/nextclick replay --source simulator --rate 1000": (
        "stream/test_consumer.py::test_a_source_in_any_format_and_the_simulator_are_played_at_a_rate"
    ),
    ".venv/bin/nextclick benchmark --train train.parquet --test test.parquet": (
        "evaluation/test_benchmark.py::test_figures_come_from_the_ranks_it_writes"
    ),
    **dict.fromkeys(
        (".venv/bin/nextclick drift --since 2026-03-01 --until 2026-03-08", ".venv/bin/nextclick drift --days 7"),
        "monitoring/test_served.py::test_the_command_says_that_a_window_is_empty_and_ends_with_what_to_do",
    ),
    ".venv/bin/nextclick drift --events data/split/test.parquet --days 3": (
        "monitoring/test_monitor.py::test_the_command_prints_its_record_and_ends_with_the_decision"
    ),
    ".venv/bin/nextclick register": (
        "lifecycle/test_promotion.py::test_the_commands_say_what_they_did_and_what_was_wrong"
    ),
    ".venv/bin/nextclick gate v1": (
        "lifecycle/test_promotion.py::test_only_the_gates_word_on_the_present_champion_promotes"
    ),
    ".venv/bin/nextclick promote v1": (
        "lifecycle/test_promotion.py::test_promotion_and_rollback_move_the_pointer_the_tag_and_the_record"
    ),
    ".venv/bin/nextclick shadow v2": (
        "serving/test_promotion_under_load.py::test_a_split_is_followed_sticky_and_a_shadow_logged"
    ),
    ".venv/bin/nextclick split v2=10%": (
        "serving/test_promotion_under_load.py::test_a_split_is_followed_sticky_and_a_shadow_logged"
    ),
    ".venv/bin/nextclick experiment": "lifecycle/test_watch.py::test_a_running_split_is_read_from_what_was_served",
    ".venv/bin/nextclick rollback": (
        "lifecycle/test_promotion.py::test_promotion_and_rollback_move_the_pointer_the_tag_and_the_record"
    ),
    ".venv/bin/nextclick retrain": (
        "lifecycle/test_retrain.py::test_a_round_killed_at_every_step_ends_as_one_that_was_not"
    ),
}


def shown(text: str) -> list[str]:
    """The commands in a page's fenced blocks, without comments."""
    commands = []
    for language, block in BLOCK.findall(text):
        if language not in ("", "bash", "sh"):
            continue
        joined = block.replace("\\\n", " ")
        lines = [" ".join(re.sub(r"(^|\s)#.*$", "", line).split()) for line in joined.splitlines()]
        commands += [line for line in lines if PROGRAM.match(line)]
    return commands


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_is_run_here_or_by_the_test_named(page):
    for command in shown(page.read_text()):
        if command in RUN or command.startswith("curl "):
            continue
        assert command in ELSEWHERE, f"{page}: no test runs: {command}"
    for test in ELSEWHERE.values():
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), test


def test_a_command_that_nothing_runs_would_be_found():
    assert shown("```\nmake dance   # now\n```\n") == ["make dance"]
    assert shown("```mermaid\nmake --> dance\n```\nmake it\n```bash\nmake dance\n```\n") == ["make dance"]
    assert "make dance" not in ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_a_sentence_parse(page):
    commands = get_command(app).commands
    for text in INLINE.findall(" ".join(page.read_text().split())):
        program, name, *arguments = shlex.split(re.sub(r"\[.*?\]|&&.*", "", text))
        if program == "nextclick" and name in commands:
            assert commands[name].make_context(name, arguments, resilient_parsing=not arguments)
        elif program == "nextclick":
            assert name == "--help", text
        elif program == "python" and not name.startswith("-"):
            script = ROOT / name
            source = (script / "__main__.py" if script.is_dir() else script).read_text()
            for option in (argument for argument in arguments if argument.startswith("--")):
                assert option in source or option.removeprefix("--").replace("-", "_") in source, text
        elif program == "make":
            assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.MULTILINE), text


def test_what_the_pages_show_works_in_a_clone(made):
    pages = "".join(page.read_text() for page in PAGES)
    for command in RUN:
        assert command in pages, f"no page shows it any more: {command}"
        said = made.clone.run(*shlex.split(command))
        if "parity" in command:
            assert json.loads(said.splitlines()[-1])["differing"] == 0
