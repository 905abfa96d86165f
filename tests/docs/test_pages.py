"""README and docs lead where they say: files, sections, tests and notebooks exist, and figures are the reports'."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (ROOT / name).exists()]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
LINK = re.compile(r'!?\[[^\]]*\]\((?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]*))?(?: "[^"]*")?\)')
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`((?:tests|src|docs|scripts|benchmarks|notebooks)/[\w./-]+)`")
SECTION = re.compile(r'(\d\d_\w+)[^".]{0,20}?, (?:section )?"([^"]+)"')

specification = importlib.util.spec_from_file_location("figures", ROOT / "docs/figures.py")
figures = importlib.util.module_from_spec(specification)
specification.loader.exec_module(figures)


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in LINK.finditer(FENCED.sub("", text)):
        path, anchor = link["path"], link["anchor"]
        if path.startswith(("http://", "https://", "mailto:")):
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link[0])
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page):
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_would_be_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n[a](none.md) [b](#one) [c](#two) [d](page.md#one)\n")
    assert broken_links(page, page.read_text()) == ["[a](none.md)", "[c](#two)"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    missing = {name for name in NAMED.findall(page.read_text()) if not any(ROOT.glob(name.rstrip("/")))}
    assert missing == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sections_of_notebooks_exist(page):
    said = " ".join(page.read_text().split()).replace("> ", "")
    for name, section in SECTION.findall(said):
        headings = re.findall(r"^# #+ (.+)$", (ROOT / f"notebooks/{name}.py").read_text(), re.MULTILINE)
        assert section in headings, f"{page}: {name} has no section {section!r}"


def test_figures_are_those_of_the_reports(tmp_path):
    """As committed: a clone whose pipeline ran on other data has other reports."""
    text = (ROOT / "docs/questions.md").read_text()
    for name in {match["file"] for match in figures.FIGURE.finditer(text)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(subprocess.check_output(["git", "show", f"HEAD:{name}"], cwd=ROOT))
    assert figures.with_figures(text, tmp_path) == text


def test_a_wrong_figure_is_written_again_and_one_that_is_not_there_is_an_error(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/m.json").write_text('{"mrr@20": 0.3048}')
    (tmp_path / "reports/p.csv").write_text("method,value\na,0.1\nb,0.25\n")
    text = '[0.999](../reports/m.json "mrr@20") [0.99](../reports/p.csv "b, value")'
    right = text.replace("0.999", "0.305").replace("0.99]", "0.25]")
    assert figures.with_figures(text, tmp_path) == right
    with pytest.raises(KeyError, match="0 rows hold c"):
        figures.with_figures('[1](../reports/p.csv "c, value")', tmp_path)


QUOTED = re.compile(r"\[(?P<text>\d[^\]]*)\]\((?P<path>[^)#\s]*\.md)(?:#[^)\s]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_figure_of_another_page_stands_there(page):
    for quoted in QUOTED.finditer(page.read_text()):
        assert quoted["text"].isdigit() or quoted["text"] in (page.parent / quoted["path"]).read_text(), quoted[0]


def metrics(file: str) -> set[str]:
    """The names in a file of metrics, as Prometheus shows them but for `_total`."""
    source = (ROOT / f"src/nextclick/{file}").read_text()
    return set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(\w+)"', source))


def test_every_metric_has_a_row_that_says_what_to_do_and_every_row_a_metric():
    there = metrics("serving/observability.py") | {f"nextclick_stream_{name}" for name in metrics("stream/metrics.py")}
    assert len(there) > 20
    rows = re.findall(r"^\| `(nextclick_[a-z_]+)`", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(there)


def test_every_param_that_is_named_exists():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    named = re.compile(rf"`({'|'.join(params)})\.([a-z_]+)`")
    for page in PAGES:
        for section, name in named.findall(page.read_text()):
            assert name in params[section], f"{page}: {section}.{name}"
