"""Shows each claim at full size and writes docs/proofs.md: `make proofs`, or `make proofs ONLY=stream-chaos` for one.

tests/claims.toml says which claims there are, and of each the command and where its JSON has the figures. Each outcome
is kept in reports/proofs: what passed at this commit is not run again, but with `--again`. `--page` runs nothing and
writes the page. Ends with 1 where a claim failed.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from datetime import date
from functools import reduce
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict
from statsmodels.stats.proportion import proportion_confint

ROOT = Path(__file__).parents[1]
REGISTER, REPORTS, PAGE = "tests/claims.toml", "reports/proofs", "docs/proofs.md"
# what an outcome depends on; the register is compared entry by entry
CODE = ("src", "benchmarks", "tests", "notebooks", "params.yaml", "dvc.yaml", "dvc.lock", "uv.lock", f":!{REGISTER}")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
COMPARE = {"<": operator.lt, "<=": operator.le, "==": operator.eq, ">=": operator.ge, ">": operator.gt}
HEAD = """# Proofs

Made by `make proofs` from `tests/claims.toml` and the outcomes in `reports/proofs`; nothing here is typed.
`make test` holds the claims in their small form, planted bugs too; `make proofs` runs the full sizes one after the
other, and `make proofs ONLY=stream-chaos` one of them. A test fails where a page claims what neither holds. Brackets
are 95 % intervals; those of counts are Clopper and Pearson's. A commit with a + had changes beside it.

## At full size

| claim | trials | result | planted bugs caught | command | commit |
|---|---|---|---|---|---|
"""
SMALL = """
## By `make test` alone

The tests that hold these are their full size already.

| claim | tests | with a planted bug |
|---|---|---|
"""


class Claim(BaseModel):
    """What the pages say (said: words by page), the tests that hold it, and the command that shows it at full size.

    trials, hits, result and interval are paths in what the command prints, such as `service/p99_ms`; hits are counted
    among the trials. must: what has to be so, such as `violations == 0`. In a command, `$NAME` is of the environment.
    """

    model_config = ConfigDict(extra="forbid")
    id: str
    claim: str
    said: dict[str, list[str]]
    small: list[str] = []
    planted: list[str] = []
    full: str | None = None
    trials: str | None = None
    hits: str | None = None
    result: list[str] = []
    interval: list[str] = []
    must: list[str] = []


def claims(root: Path = ROOT) -> list[Claim]:
    return [Claim.model_validate(entry) for entry in tomllib.loads((root / REGISTER).read_text())["claims"]]


def commit(root: Path = ROOT) -> str:
    """The newest commit of the code, with a + where the code has changed since."""
    newest = subprocess.check_output(["git", "log", "-1", "--format=%h", "--", *CODE], cwd=root, text=True).strip()
    changed = subprocess.check_output(["git", "status", "--porcelain", "--", *CODE], cwd=root, text=True)
    return newest + "+" * bool(changed.strip())


def printed(text: str) -> Any:
    """The JSON of a command's output: all of it, or else its lines that are objects, one or a list of them."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    objects = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                objects.append(json.loads(line))
            except ValueError:
                continue
    return objects[0] if len(objects) == 1 else objects


def tests_run(arguments: list[str]) -> tuple[int, dict[str, int]]:
    """pytest's exit code, the number of tests and the number of those that did not pass."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}"]
        code = subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode
        if not report.exists():
            return code or 1, {"tests": 0, "failed": 0}
        (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    failed = sum(int(suite.get(kind, 0)) for kind in ("failures", "errors", "skipped"))
    return code, {"tests": int(suite.get("tests", 0)), "failed": failed}


def ran(command: str) -> dict[str, Any]:
    """Run a command; returns its exit code, what it printed, and the seconds that it took."""
    began = time.perf_counter()
    program, *arguments = shlex.split(os.path.expandvars(command))
    if program == "pytest":
        code, found = tests_run(arguments)
    else:
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        # found on that path, as `env` finds the rest; progress goes to stderr, which stays the terminal's
        done = subprocess.run(
            ["env", program, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        code, found = done.returncode, printed(done.stdout)
    return {"code": code, "found": found, "seconds": round(time.perf_counter() - began, 1)}


def value_at(found: Any, path: str) -> Any:
    """The value at a path such as `service/p99_ms`. Raises KeyError if there is none."""
    try:
        return reduce(lambda part, key: part[int(key) if isinstance(part, list) else key], path.split("/"), found)
    except (LookupError, TypeError, ValueError):
        raise KeyError(f"nothing at {path}") from None


def holds(found: Any, condition: str) -> bool:
    """Whether a condition such as `service/p99_ms <= 50` is true; its right side may be a path, too."""
    path, sign, limit = re.split(r" ([<=>]+) ", condition)
    expected = float(limit) if NUMBER.fullmatch(limit) else value_at(found, limit)
    return bool(COMPARE[sign](value_at(found, path), expected))


def outcome(claim: Claim, raw: dict[str, Any]) -> dict[str, Any]:
    """What the register makes of what a command printed: trials, result with interval, and whether the claim held."""
    found, why = raw["found"], [] if raw["code"] == 0 else [f"exit code {raw['code']}"]
    shown: dict[str, Any] = {"trials": None, "result": {}, "interval": None}
    tested = (claim.full or "").startswith("pytest ")
    trials, hits = (claim.trials or "tests", claim.hits or "failed") if tested else (claim.trials, claim.hits)
    try:
        shown["trials"] = value_at(found, trials) if trials else None
        shown["result"] = {path: value_at(found, path) for path in claim.result}
        shown["interval"] = [value_at(found, path) for path in claim.interval] or None
        if hits:
            count = value_at(found, hits)
            if tested and (count or not shown["trials"]):
                why.append(f"{count} of {shown['trials']} tests did not pass")
            shown["result"] |= {hits: count}
            if shown["trials"]:
                low, high = proportion_confint(count, shown["trials"], method="beta")
                shown["interval"] = [float(low), float(high)]
        why += [f"not {condition}" for condition in claim.must if not holds(found, condition)]
    except KeyError as error:
        why.append(str(error.args[0]))
    planted = raw["planted"]
    if planted and (planted["failed"] or not planted["tests"]):
        why.append(f"{planted['failed']} of {planted['tests']} planted bugs were not caught")
    return {**shown, "passed": not why, "why": why}


def prove(claim: Claim, done: dict[str, dict[str, Any]], now: str) -> dict[str, Any]:
    """done: what commands printed at this commit, which other claims read too."""
    assert claim.full
    raw = done.get(claim.full) or ran(claim.full)
    done[claim.full] = raw
    planted = tests_run(["-m", "", *claim.planted])[1] if claim.planted else None
    kept = {key: raw[key] for key in ("code", "found", "seconds")}
    return {
        "claim": claim.claim,
        "command": claim.full,
        "commit": now,
        "date": f"{date.today()}",
        "planted": planted,
    } | kept


def kept(root: Path, claim: Claim) -> dict[str, Any] | None:
    """The outcome on disk, evaluated by the register as it is now, if it is of the same command."""
    path = root / REPORTS / f"{claim.id}.json"
    raw = json.loads(path.read_text()) if path.exists() else None
    return raw | outcome(claim, raw) if raw and raw["command"] == claim.full else None


def number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def interval(record: dict[str, Any]) -> str:
    if not record["interval"]:
        return ""
    ends = [end for value in record["interval"] for end in (value if isinstance(value, list) else [value])]
    pairs = zip(ends[::2], ends[1::2], strict=True)
    return "".join(f" [{number(low)}, {number(high)}]" for low, high in pairs)


def row(claim: Claim, record: dict[str, Any] | None) -> list[str]:
    if record is None:
        return [claim.claim, "", "not run at full size yet", "", f"`{claim.full}`", ""]
    figures = ", ".join(f"{path.replace('/', ' ')} {number(value)}" for path, value in record["result"].items())
    result = (figures + interval(record)) or f"{record['seconds']:.0f} s"
    if not record["passed"]:
        result = f"**failed**: {'; '.join(record['why'])}; {result}"
    planted = record["planted"]
    caught = f"{planted['tests'] - planted['failed']} of {planted['tests']}" if planted else ""
    trials = number(record["trials"]) if record["trials"] is not None else ""
    return [claim.claim, trials, result, caught, f"`{claim.full}`", record["commit"]]


def table(rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def page(root: Path = ROOT) -> str:
    full = [row(claim, kept(root, claim)) for claim in claims(root) if claim.full]
    small = [
        [claim.claim, str(len({*claim.small, *claim.planted})), str(len(claim.planted) or "")]
        for claim in claims(root)
        if not claim.full
    ]
    return HEAD + table(full) + SMALL + table(small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", metavar="ID", default="", help="one claim, or several with commas between")
    parser.add_argument("--again", action="store_true", help="also what is done at this commit")
    parser.add_argument("--page", action="store_true", help="run nothing")
    options = parser.parse_args()
    named = {name for name in options.only.split(",") if name}
    todo = [claim for claim in claims() if claim.full and (not named or claim.id in named)]
    if unknown := named - {claim.id for claim in todo}:
        sys.exit(f"no claim with a full size: {', '.join(sorted(unknown))}")
    now, done, failed = commit(), {}, []
    (ROOT / REPORTS).mkdir(parents=True, exist_ok=True)
    for count, claim in enumerate([] if options.page else todo, 1):
        said = f"[{count}/{len(todo)}] {claim.id}"
        lacking = [name for name in re.findall(r"\$(\w+)", claim.full or "") if name not in os.environ]
        before = kept(ROOT, claim)
        whole = before and before["passed"] and before["commit"] == now and not now.endswith("+")
        if before and whole and not options.again:
            print(f"{said}: done at {now}", file=sys.stderr)
            record, done[before["command"]] = before, before
        elif lacking:
            print(f"{said}: not run, set {', '.join(lacking)}", file=sys.stderr)
            continue
        else:
            print(f"{said}: {claim.full}", file=sys.stderr)
            record = prove(claim, done, now)
        record |= outcome(claim, record)
        (ROOT / REPORTS / f"{claim.id}.json").write_text(json.dumps(record, indent=1) + "\n")
        if not record["passed"]:
            failed.append(claim.id)
            print(f"{said}: failed: {'; '.join(record['why'])}", file=sys.stderr)
        (ROOT / PAGE).write_text(page())
    (ROOT / PAGE).write_text(page())
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
