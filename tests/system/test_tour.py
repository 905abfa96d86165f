"""The README's ten minutes, followed word for word in a clone through which `make` went."""

import json
import os
import re
import shlex
import signal
import socket
import time
from pathlib import Path

import httpx

from .stages import stages_run

README = Path(__file__).parents[2] / "README.md"


def tour() -> list[str]:
    """The lines of its blocks, without comments."""
    section = README.read_text().partition("## Ten minutes\n")[2].partition("\n## ")[0]
    lines = "".join(re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)).splitlines()
    return [re.sub(r"\s+#.*$", "", line) for line in lines]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answering(client: httpx.Client) -> str:
    answer = client.post("/recommend", json={"session_id": "visitor-1"})
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"]


def until(client: httpx.Client, bundle: str) -> None:
    """A bundle answers within some seconds; no request fails meanwhile."""
    deadline = time.monotonic() + 60
    while answering(client) != bundle:
        assert time.monotonic() < deadline, f"{bundle} does not answer"
        time.sleep(0.2)


def curl_below_make_serve() -> str:
    (block,) = re.findall(r"^(curl [^\n]*/recommend.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    return block.replace("\\\n", " ")


def test_the_ten_minutes_work_word_for_word(made):
    clone = made.clone
    clone.run("git", "checkout", "--", "notebooks")  # as they are where nobody has run them by hand
    lab, serve, *lines = tour()
    assert lab == "make lab"  # by test_lab.py
    port = free_port()
    clone.environment.update(BENTOML_PORT=str(port), NEXTCLICK_METRICS=f"127.0.0.1:{free_port()}")
    service, client = clone.start(*serve.split()), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
    said: dict[str, str] = {}
    try:
        _wait_until_ready(client, service)
        answer = json.loads(
            clone.run(*shlex.split(curl_below_make_serve().replace("localhost:3000", f"127.0.0.1:{port}")))
        )
        assert (len(answer["items"]), answer["clicks"]) == (2, 1)
        for line in lines:
            command = line.replace("localhost:3000", f"127.0.0.1:{port}")
            said[line] = clone.run("bash", "-c", command)
            program, _, _ = line.partition(" --reason")
            if program.startswith((".venv/bin/nextclick promote", ".venv/bin/nextclick rollback")):
                until(client, json.loads((clone.root / "models/deployed/recommender.json").read_text())["version"])
            elif line == "sleep 3":
                answering(client)
    finally:
        os.killpg(service.pid, signal.SIGTERM)
        log = service.communicate(timeout=60)[0]
    verdicts = [json.loads(_last(said[f".venv/bin/nextclick gate v{n}"]))["verdict"] for n in (1, 2)]
    assert verdicts[0] == "promote"
    assert verdicts[1] in ("hold", "reject")
    (experiment,) = (line for line in lines if "exp run" in line)
    assert stages_run(said[experiment]) == ["train", "evaluate", "diagnose", "drift"], "others than depend on its param"
    quiet, broken = (json.loads(_last(text))["outcome"] for line, text in said.items() if " drift " in line)
    assert quiet in ("hold", "retrain", "alert")  # as it comes: the shop is small
    assert broken == "alert"
    assert clone.run("git", "diff", "--stat", "HEAD~2", "HEAD", "--", "params.yaml", "dvc.lock") == ""
    (refused,) = (json.loads(_last(text)) for line, text in said.items() if line.startswith("curl"))
    assert refused["quarantined"][0]["field"] == "event_id"
    assert "bundle refused" in log
    assert "models/nowhere" in log


def _last(output: str) -> str:
    return output.strip().splitlines()[-1]


def _wait_until_ready(client: httpx.Client, service) -> None:
    for _ in range(600):
        assert service.poll() is None, service.communicate()[0]
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError("the service did not get ready")
