"""The image that `make image` makes starts on a read-only file system, as somebody who is not root, and answers."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from nextclick.project import project_root

from .conftest import free_port

IMAGE, BASE = "NEXTCLICK_IMAGE", "NEXTCLICK_IMAGE_BASE"  # one to test, or what to build one on: the first takes minutes
LAYERS = "localhost/nextclick-test-layers:latest"  # keeps what the last one installed for the next
READ_ONLY = ["unshare", "--mount", "bash", str(Path(__file__).parent / "read_only_root.sh")]


@pytest.fixture(scope="module")
def image(bundles, tmp_path_factory):
    named, base = os.environ.get(IMAGE), os.environ.get(BASE)
    if not shutil.which("buildah") or not (named or base):
        pytest.skip(f"needs buildah, and an image in {IMAGE} or the name of a base image in {BASE}")
    if named:
        yield named
        return
    project, name = tmp_path_factory.mktemp("image") / "project", f"localhost/nextclick-test-{os.getpid()}:latest"
    subprocess.run(["git", "clone", "--quiet", project_root(), project], check=True)
    shutil.copytree(bundles[0], project / "models/bundle")
    (project / ".venv").symlink_to(Path(sys.prefix))
    settings = {"BUILDAH_ISOLATION": "chroot", "BUILDAH_LAYERS": "true", "BENTOML_HOME": str(project / "bentos")}
    command = [
        "make",
        "--old-file=setup",
        f"UV={sys.prefix}/bin/uv",
        "image",
        "BACKEND=buildah",
        f"BASE={base}",
        f"IMAGE={name}",
    ]
    subprocess.run([*command, "OPTIONS=--opt network=host"], cwd=project, env=os.environ | settings, check=True)
    keep_layers(f"{name}-built")
    yield name
    for made in (name, f"{name}-built"):  # some versions of buildah remove the second by themselves
        subprocess.run(["buildah", "rmi", made], capture_output=True)


def keep_layers(built: str) -> None:
    """Instead of those kept before."""
    known = subprocess.run(["buildah", "images", "--quiet", LAYERS], capture_output=True, text=True).stdout.split()
    subprocess.run(["buildah", "tag", built, LAYERS], check=True)
    now = subprocess.check_output(["buildah", "images", "--quiet", LAYERS], text=True).split()
    for before in set(known) - set(now):
        subprocess.run(["buildah", "rmi", before], capture_output=True)


@pytest.fixture(scope="module")
def inside(image):
    """The command that runs something in a container of the image, without Docker; and the image's environment."""
    name = subprocess.check_output(["buildah", "from", image], text=True).strip()
    root = subprocess.check_output(["buildah", "mount", name], text=True).strip()
    config = json.loads(subprocess.check_output(["buildah", "inspect", name], text=True))["OCIv1"]["config"]
    yield [*READ_ONLY, root, "env", "-i", "HOME=/home/bentoml", *config["Env"]], config
    subprocess.run(["buildah", "umount", name], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["buildah", "rm", name], check=True, stdout=subprocess.DEVNULL)


def test_it_holds_what_serving_needs_and_no_more(inside):
    command, config = inside
    assert config["User"] == "bentoml"
    asked = "id -u; touch /home/bentoml/bento/x 2>&1; ls /app/.venv/lib/*/site-packages; find /home -type f"
    user, refused, *found = subprocess.check_output([*command, "sh", "-c", asked], text=True).splitlines()
    assert user != "0"
    assert "Read-only" in refused
    assert "xgboost" in found
    assert not {"jupyterlab", "dvc", "nvidia", "pytest"} & set(found)
    own = [path for path in found if path.startswith("/home")]
    assert any(path.endswith("models/bundle/ranker.ubj") for path in own)
    assert any(path.endswith("bill-of-materials.json") for path in own)
    assert not [path for path in own if path.endswith((".ipynb", ".pkl")) or "/tests/" in path or "/src/data/" in path]


def test_it_answers(inside):
    command, config = inside
    port = free_port()
    environment = [f"PORT={port}", "BENTOML_HOST=127.0.0.1", f"NEXTCLICK_METRICS=127.0.0.1:{free_port()}"]
    environment.append("NUMBA_OPT=0")  # kernels that are compiled sooner
    start = f"cd {config['WorkingDir']} && exec {config['Entrypoint'][0]}"
    running = subprocess.Popen([*command, *environment, "sh", "-c", start])
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
            click = {"event_id": "e", "session_id": "s", "item_id": "i03", "event_type": "view"}
            taken = client.post("/events", json=click | {"timestamp": time.time_ns() // 1_000_000})
            assert taken.json()["accepted"] == 1
            answer = {"degraded": True}
            while answer["degraded"]:  # as the first answers are on a machine that is busy
                assert time.monotonic() < deadline
                answer = client.post("/recommend", json={"session_id": "s", "k": 5}).json()
            assert (len(answer["items"]), answer["clicks"], answer["degraded"]) == (5, 1, False)
            assert client.get("/").status_code == 200
    finally:
        processes = []
        if running.poll() is None:
            processes = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
            running.terminate()
        _, alive = psutil.wait_procs(processes, timeout=30)
        assert not alive
