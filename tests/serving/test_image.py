"""The image that `make image` made starts as somebody who is not root, and answers."""

import os
import shutil
import subprocess
import time

import httpx
import psutil
import pytest

from .conftest import free_port

IMAGE = "NEXTCLICK_IMAGE"  # its name, where one was built: that takes minutes, so no test does it by itself
ENTRYPOINT = "/home/bentoml/bento/env/docker/entrypoint.sh"


@pytest.fixture(scope="module")
def container():
    """The command that runs something in a container of the image, by buildah, without Docker."""
    image = os.environ.get(IMAGE)
    if not image or not shutil.which("buildah"):
        pytest.skip(f"no image: make image BACKEND=buildah, then name it in {IMAGE}")
    name = subprocess.check_output(["buildah", "from", image], text=True).strip()
    yield ["buildah", "run", "--isolation", "chroot", "--network", "host", name, "--"]
    subprocess.run(["buildah", "rm", name], check=True, stdout=subprocess.DEVNULL)


def test_it_holds_what_serving_needs_and_no_more(container):
    asked = "id -u; ls /app/.venv/lib/*/site-packages; find /home -type f"
    user, *found = subprocess.check_output([*container, "sh", "-c", asked], text=True).splitlines()
    assert user != "0"
    assert "xgboost" in found
    assert not {"jupyterlab", "dvc", "nvidia", "pytest"} & set(found)
    own = [path for path in found if path.startswith("/home")]
    assert any(path.endswith("models/bundle/ranker.ubj") for path in own)
    assert not [path for path in own if path.endswith((".ipynb", ".pkl")) or "/tests/" in path or "/data/" in path]


def test_it_answers(container):
    port = free_port()
    environment = [f"PORT={port}", f"NEXTCLICK_METRICS=127.0.0.1:{free_port()}"]
    running = subprocess.Popen([*container, "env", *environment, ENTRYPOINT])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            deadline = time.monotonic() + 300
            while True:
                assert running.poll() is None
                assert time.monotonic() < deadline
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.5)
            assert len(client.post("/recommend", json={"session_id": "s", "k": 5}).json()["items"]) == 5
            assert client.get("/").status_code == 200
    finally:
        # the server itself, not what runs the container: that would leave its worker behind
        (server,) = (
            child
            for child in psutil.Process(running.pid).children(recursive=True)
            if child.cmdline()[1:3] == ["/app/.venv/bin/bentoml", "serve"]
        )
        server.terminate()
        running.wait(timeout=60)
