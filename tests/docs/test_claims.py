"""Every claim of the pages is held: tests/claims.toml names tests and commands, and the pages are searched for more."""

import ast
import importlib.util
import json
import re
import shlex
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# these quote the names of tests, the claims themselves, and the cases of the rates that claims measure
MADE_OF_NAMES = ("ml-test-score.md", "proofs.md", "error-rates.md", "faults.md")
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in MADE_OF_NAMES)]
# who says such a word says that something is so without exception, or names a bound
STRONG = re.compile(
    r"""\b(?:
    never | always | nothing | nobody | none | neither | zero | whatever | exactly | flawless(?:ly)?
    | at\ most | at\ no\ time | each | every | without\ exception
    | (?:the\ )?(?:same|last)\ (?:bytes?|bits?) | to\ the\ byte | (?:bit|byte)\ (?:for|by)\ (?:bit|byte)
    | no\ (?:single\ )?(?:request|event|click|state|session|message|list|answer|visitor)
    | 0\ (?:of|lost|counted|writes|differ|failed)
    | within\ (?:`|\d|seconds|a\ second)
    )(?:\b|(?<=`))""",
    re.IGNORECASE | re.VERBOSE,
)

specification = importlib.util.spec_from_file_location("proofs", ROOT / "scripts/proofs.py")
proofs = importlib.util.module_from_spec(specification)
sys.modules["proofs"] = proofs
specification.loader.exec_module(proofs)

CLAIMS = proofs.claims()
NOT_CLAIMS = tomllib.loads((ROOT / proofs.REGISTER).read_text())["not_claims"]
SAID = [entry.said for entry in CLAIMS] + [entry["said"] for entry in NOT_CLAIMS]


def flat(text: str) -> str:
    return " ".join(text.split())


def unheld(text: str, said: list[str]) -> list[str]:
    """Where a page has a strong word that stands in none of the words that were said to be in it."""
    text = flat(text)
    spans = [found.span() for words in said for found in re.finditer(re.escape(flat(words)), text)]
    found = []
    for word in STRONG.finditer(text):
        if not any(begin <= word.start() and word.end() <= end for begin, end in spans):
            found.append(f"…{text[max(0, word.start() - 60) : word.end() + 60]}…")
    return found


def said_in(page: Path) -> list[str]:
    return [words for said in SAID for words in said.get(str(page.relative_to(ROOT)), [])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_strong_word_of_the_pages_is_in_a_claim_or_is_none(page):
    assert unheld(page.read_text(), said_in(page)) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "It never loses a click.",
        "Lists are\nmade within 3 ms.",
        "Of a million answers 0 failed.",
        "Two runs give the same bytes.",
        "No request waits.",
        "- **Sure.** Each list is right.",
    ],
)
def test_a_claim_that_nothing_holds_would_be_found(sentence):
    page = ROOT / "README.md"
    (found,) = unheld(f"{page.read_text()}\n{sentence}\n", said_in(page))
    assert flat(sentence)[:20] in found


def test_every_quotation_stands_in_its_page_once():
    """Once, since one that stands in many places would hold claims that nobody looked at."""
    for said in SAID:
        for page, quotations in said.items():
            text = flat((ROOT / page).read_text())
            for words in quotations:
                assert text.count(flat(words)) == 1, f"{page}: {words}"


@cache
def named_in(file: str) -> dict[str, set[str]]:
    """The names of a file's tests, with their marks."""
    tree = ast.parse((ROOT / file).read_text())

    def marks(nodes: list[ast.expr]) -> set[str]:
        named = (part.attr for node in nodes for part in ast.walk(node) if isinstance(part, ast.Attribute))
        return {name for name in named if name in ("proof", "timed")}

    # marks within `parametrize` are of some of its cases only
    def of_all(decorators: list[ast.expr]) -> set[str]:
        return marks([one for one in decorators if "parametrize" not in ast.unparse(one)])

    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    everywhere = marks([node.value for node in assigned if ast.unparse(node.targets[0]) == "pytestmark"])
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: of_all(node.decorator_list) | everywhere for node in functions if node.name.startswith("test_")}


def test_each_test_that_is_named_exists_and_runs_in_its_tier():
    for claim in CLAIMS:
        assert claim.small or claim.full, f"{claim.id}: neither a test nor a command holds it"
        assert claim.full or claim.small, claim.id
        for node in (*claim.small, *claim.planted):
            file, _, name = node.partition("::")
            assert name in named_in(file), f"{claim.id}: {node}"
            assert "proof" not in named_in(file)[name], f"{claim.id}: `make test` does not run {node}"


def test_ids_are_short_names_and_no_two_the_same():
    ids = [claim.id for claim in CLAIMS]
    assert len(ids) == len(set(ids)) > 40
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def files_of(command: str) -> list[str]:
    return [part.partition("::")[0] for part in shlex.split(command) if part.startswith(("benchmarks/", "tests/"))]


def test_each_full_size_is_a_script_or_a_selection_of_tests_that_exists():
    for claim in CLAIMS:
        if claim.full:
            program = re.sub(r"^env (\w+=\S+ )*", "", claim.full).split()[0]
            assert program in ("python", "pytest", "nextclick"), claim.full
            assert files_of(claim.full) or program == "nextclick", claim.full
            for file in files_of(claim.full):
                assert (ROOT / file).exists(), claim.full


def test_each_benchmark_that_a_page_names_shows_a_claim_or_is_run_by_hand():
    shown = {file for claim in CLAIMS if claim.full for file in files_of(claim.full)}
    by_hand = {file for entry in NOT_CLAIMS for words in entry["said"].values() for word in words
               for file in re.findall(r"benchmarks/\w+\.py", word)}  # fmt: skip
    for page in PAGES:
        named = set(re.findall(r"benchmarks/\w+\.py", page.read_text()))
        assert named <= shown | by_hand, page


def has_proofs(source: str) -> bool:
    """Whether a test, or a case of one, is marked as at full size."""
    return any(ast.unparse(node) == "pytest.mark.proof" for node in ast.walk(ast.parse(source))
               if isinstance(node, ast.Attribute))  # fmt: skip


def test_a_mark_of_a_single_case_is_seen():
    assert has_proofs('@pytest.mark.parametrize("n", [pytest.param(3, marks=pytest.mark.proof)])\ndef test_it(n): ...')
    assert not has_proofs('"""Not a pytest.mark.proof."""')


def test_each_test_at_full_size_belongs_to_a_claim():
    commands = [claim.full for claim in CLAIMS if claim.full]
    selected = {file for command in commands if command.startswith("pytest ") for file in files_of(command)}
    for script in {file for command in commands for file in files_of(command) if file.endswith(".py")}:
        selected |= set(re.findall(r"tests/[\w/]+", (ROOT / script).read_text()))  # which it runs itself
    for path in (ROOT / "tests").rglob("test_*.py"):
        file = path.relative_to(ROOT)
        if has_proofs(path.read_text()):
            assert any(str(one) in selected for one in (file, *file.parents)), f"no claim runs the proofs of {file}"


def test_the_page_of_proofs_is_what_the_register_and_the_outcomes_make():
    assert (ROOT / proofs.PAGE).read_text() == proofs.page(), (
        "make proofs writes it; scripts/proofs.py --page alone too"
    )


@pytest.fixture
def claim():
    return proofs.Claim(
        id="all-there", claim="All is there.", said={}, full="python benchmarks/there.py", trials="events", hits="lost",
        must=["lost == 0", "kills/all >= 3", "lost < events"],
    )  # fmt: skip


@pytest.fixture
def raw(claim):
    found = {"events": 1000, "lost": 0, "kills": {"all": 3}}
    planted = {"tests": 2, "failed": 0}
    return {"command": claim.full, "commit": "abc", "code": 0, "found": found, "seconds": 61.0, "planted": planted}


def test_an_outcome_has_its_trials_and_its_interval(claim, raw):
    seen = proofs.outcome(claim, raw)
    assert seen["passed"]
    assert seen["trials"] == 1000
    assert seen["interval"] == pytest.approx([0, 1 - 0.025 ** (1 / 1000)])
    assert proofs.row(claim, raw | seen)[1:4] == ["1,000", "lost 0 [0, 0.003682]", "2 of 2"]
    assert proofs.row(claim, None)[2] == "not run at full size yet"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"code": 1}, "exit code 1"),
        ({"found": {"events": 1000, "lost": 1, "kills": {"all": 3}}}, "not lost == 0"),
        ({"found": {"events": 1000, "lost": 0, "kills": {"all": 2}}}, "not kills/all >= 3"),
        ({"found": {"events": 1000, "lost": 0}}, "nothing at kills/all"),
        ({"found": []}, "nothing at events"),
        ({"planted": {"tests": 2, "failed": 1}}, "1 of 2 planted bugs were not caught"),
        ({"planted": {"tests": 0, "failed": 0}}, "0 of 0 planted bugs were not caught"),
    ],
)
def test_a_proof_that_fails_says_so(claim, raw, change, why):
    seen = proofs.outcome(claim, raw | change)
    assert not seen["passed"]
    assert why in seen["why"]
    assert f"**failed**: {why}" in proofs.row(claim, raw | change | seen)[2]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{\n "a": 1\n}\n', {"a": 1}),
        ('a table | 1\n{"a": 1}\n', {"a": 1}),
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ("a table\n{broken\n", []),
    ],
)
def test_what_a_command_prints_is_read(text, found):
    assert proofs.printed(text) == found


def in_project(monkeypatch, root: Path, *entries: str, arguments: tuple[str, ...] = ()) -> None:
    """scripts/proofs.py in a project of these claims, at a commit of its own."""
    for folder in ("tests", "docs"):
        (root / folder).mkdir(exist_ok=True)
    (root / proofs.REGISTER).write_text("\n".join(entries))
    monkeypatch.setattr(proofs, "ROOT", root)
    monkeypatch.setattr(proofs, "commit", lambda: "abc1234")
    monkeypatch.setattr(proofs.claims, "__defaults__", (root,))
    monkeypatch.setattr(proofs.page, "__defaults__", (root,))
    monkeypatch.setattr(sys, "argv", ["proofs.py", *arguments])
    proofs.main()


def entry(name: str, command: str) -> str:
    return f"[[claims]]\nid = {name!r}\nclaim = 'It is so.'\nfull = {command!r}\nmust = ['n > 0']\nsaid = {{}}\n"


def test_what_was_interrupted_goes_on_and_a_failure_stops_none_of_the_others(tmp_path, monkeypatch, capfd):
    count = "import json, pathlib; kept = pathlib.Path('runs'); kept.open('a').write('.'); print(json.dumps({'n': %s}))"
    for name, value in (("good", "len(kept.read_text())"), ("bad", "0")):
        (tmp_path / f"{name}.py").write_text(count % value)
    entries = [entry("bad", "python bad.py"), entry("lacks", "python $NEXTCLICK_NONE"), entry("good", "python good.py")]
    with pytest.raises(SystemExit, match="failed: bad"):
        in_project(monkeypatch, tmp_path, *entries)
    assert "lacks: not run, set NEXTCLICK_NONE" in capfd.readouterr().err
    kept = json.loads((tmp_path / "reports/proofs/good.json").read_text())
    assert (kept["commit"], kept["passed"], kept["found"]) == ("abc1234", True, {"n": 2})
    page = (tmp_path / "docs/proofs.md").read_text()
    assert "| It is so. |  | **failed**: not n > 0; " in page
    assert "not run at full size yet" in page

    with pytest.raises(SystemExit, match="failed: bad"):
        in_project(monkeypatch, tmp_path, *entries, arguments=("--only", "bad"))
    assert (tmp_path / "runs").read_text() == "..."  # what failed is tried again
    in_project(monkeypatch, tmp_path, *entries, arguments=("--only", "good"))
    assert (tmp_path / "runs").read_text() == "..."  # what passed at this commit is not
    in_project(monkeypatch, tmp_path, *entries, arguments=("--only", "good", "--again"))
    assert (tmp_path / "runs").read_text() == "...."
    with pytest.raises(SystemExit, match="no claim with a full size: dance"):
        in_project(monkeypatch, tmp_path, *entries, arguments=("--only", "dance"))


def test_tests_are_counted_with_their_planted_bugs_and_a_skipped_one_shows_nothing(tmp_path, monkeypatch):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text(
        "import pytest\n\n@pytest.mark.parametrize('n', range(3))\ndef test_full(n):\n    pass\n\n"
        "def test_planted():\n    pass\n\ndef test_skipped():\n    pytest.skip('no server')\n"
    )
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to load than these tests to run
    of_tests = entry("held", "pytest tests/test_it.py -k full").replace("'n > 0'", "'tests == 3', 'failed == 0'")
    planted = "planted = ['tests/test_it.py::test_planted']\n"
    lacking = entry("lacking", "pytest tests/test_it.py -k skipped").replace("'n > 0'", "")
    with pytest.raises(SystemExit, match="failed: lacking"):
        in_project(monkeypatch, tmp_path, of_tests + planted, lacking)
    rows = (tmp_path / "docs/proofs.md").read_text()
    assert "| It is so. | 3 | failed 0 [0, 0.7076] | 1 of 1 | `pytest tests/test_it.py -k full` | abc1234 |" in rows
    assert "| It is so. | 1 | **failed**: 1 of 1 tests did not pass; failed 1 [0.025, 1] |" in rows
