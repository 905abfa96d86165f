"""Does the service's memory stay what it is? Many requests, of sessions that are new again and again, and its size at
each tenth of them.

    python benchmarks/soak.py [--requests 500000] [--rate 300]

Needs the pipeline's bundle. Prints one JSON object; growth is that after the first tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import yaml
from load import load, post
from serving import free_port, process, wait_for

from nextclick.params import Params
from nextclick.progress import progress_bar
from nextclick.project import project_root

TENTHS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--rate", type=float, default=300)
    options = parser.parse_args()
    project = project_root()
    params = Params.read(project / "params.yaml")
    unlimited = params.serving.model_copy(update={"requests_per_second": 1e9, "max_wait_ms": 1e4})
    params, port = params.model_copy(update={"serving": unlimited}), free_port()
    items = np.load(project / "models/bundle/vocabulary-ids.npy")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "models").mkdir()
        (root / "models/bundle").symlink_to(project / "models/bundle")
        (root / "dvc.yaml").touch()
        (root / "params.yaml").write_text(yaml.safe_dump(json.loads(params.model_dump_json())))
        command = [str(Path(sys.executable).parent / "bentoml"), "serve", "nextclick.serving.service:NextClick"]
        environment = os.environ | {"NEXTCLICK_METRICS": f"127.0.0.1:{free_port()}"}
        with process([*command, "--port", str(port)], cwd=root, env=environment, stderr=-3, stdout=-3) as service:
            wait_for(f"http://127.0.0.1:{port}/readyz")
            children = psutil.Process(service.pid).children(recursive=True)
            worker = max(children, key=lambda child: child.memory_info().rss)
            rng, megabytes, statuses = np.random.default_rng(0), [], Counter()
            for tenth in progress_bar(range(TENTHS), desc="soak", unit="tenth"):
                requests = [
                    post("/recommend", {"session_id": f"{tenth}-{n}", "clicks": [{"item_id": str(item)}]})
                    for n, item in enumerate(rng.choice(items, options.requests // TENTHS))
                ]
                statuses.update(load(port, requests, options.rate).statuses)
                megabytes.append(round(worker.memory_info().rss / 1e6, 1))
    growth = megabytes[-1] / megabytes[0] - 1
    found = {"requests": sum(statuses.values()), "statuses": statuses, "megabytes": megabytes, "growth": growth}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
