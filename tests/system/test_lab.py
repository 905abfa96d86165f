"""JupyterLab in a real browser: `make lab`, a notebook is opened, all its cells run, and none of them fails."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from selenium.webdriver.support.ui import WebDriverWait

TOKEN = "of-the-test"  # the server listens on loopback, as long as the test runs
PATIENCE = 300  # seconds
IS_OPEN = """
const panel = window.jupyterapp?.shell.currentWidget;
return panel?.context?.isReady && panel.sessionContext?.session?.kernel?.status === 'idle';
"""
RUN_ALL = """
const done = arguments[0];
window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => done(null), error => done(String(error)));
"""
CELLS = """
const cells = window.jupyterapp.shell.currentWidget.context.model.toJSON().cells;
return JSON.stringify(cells.filter(cell => cell.cell_type === 'code'));
"""


@pytest.fixture
def lab(made, tmp_path):
    """The address of a clone's JupyterLab, its port and token chosen by configuration; the command is the README's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "ServerApp": {"port": port, "port_retries": 0, "open_browser": False, "allow_root": True},
        "IdentityProvider": {"token": TOKEN},
        "LabApp": {"expose_app_in_browser": True},
    }
    (tmp_path / "jupyter_server_config.json").write_text(json.dumps(settings))
    said = (tmp_path / "said").open("w")
    server = made.clone.start("env", f"JUPYTER_CONFIG_DIR={tmp_path}", "make", "lab", output=said)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api/status?token={TOKEN}", server, Path(said.name))
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(address: str, server, said: Path) -> None:
    for _ in range(PATIENCE):
        assert server.poll() is None, said.read_text()
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(said.read_text())


def test_a_notebook_opens_and_runs_to_its_end(lab, browser):
    browser.set_script_timeout(PATIENCE)
    browser.get(f"{lab}/lab/tree/01_explore.ipynb?token={TOKEN}")
    WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(IS_OPEN))
    assert browser.execute_async_script(RUN_ALL) is None
    cells = json.loads(browser.execute_script(CELLS))
    assert len(cells) > 10
    assert all(cell["execution_count"] for cell in cells), "not every cell ran"
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    said = "".join("".join(output.get("text", "")) for output in outputs)
    assert "events in" in said
