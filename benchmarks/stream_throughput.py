"""Events a second through real Kafka and Redis, with one consumer and with two, each kept on one core.

    python benchmarks/stream_throughput.py [--events data/interim/events.parquet] [--times 5]

Starts a broker and a redis-server of its own. The events lie in Kafka before the consumers start, so many times that
the first is not done before the second has its share; what counts is the time in which all consumers work, and the
processor's time. Broker and store take their share of the two cores. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import redis
import yaml

from nextclick.params import Params
from nextclick.stream.replay import replay, schedule

START = Path(__file__).parents[1] / "scripts/kafka/start.sh"
CONSUMER = """
import json, os, sys, time
from pathlib import Path
os.sched_setaffinity(0, {int(sys.argv[1])})
from nextclick.params import Params
from nextclick.features.store.connect import apply_definitions
from nextclick.stream.consumer import StreamConsumer
from nextclick.stream.metrics import StreamMetrics
root, marks = Path.cwd(), []
params = Params.read(root / "params.yaml")
apply_definitions(root, params)
metrics = StreamMetrics()
batch = metrics.batch
def marked(events, broken, replayed, seconds):
    batch(events, broken, replayed, seconds)
    marks.append((time.time(), time.process_time(), events.num_rows))
metrics.batch = marked
idle = lambda: bool(marks) and time.time() - marks[-1][0] > 3
StreamConsumer(root, params, metrics).run(lambda: not idle())
print(json.dumps(marks))
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def measured(root: Path, consumers: int) -> dict:
    """Events a second of all consumers together, and what one would reach if it had its core for itself."""
    running = [
        subprocess.Popen([sys.executable, "-c", CONSUMER, str(core)], cwd=root, stdout=subprocess.PIPE, text=True)
        for core in range(consumers)
    ]
    marks = [json.loads(process.communicate()[0]) for process in running]
    # while all of them work: from the first batch of the last to begin to the last batch of the first to end
    first, last = max(one[0][0] for one in marks), min(one[-1][0] for one in marks)
    counted = sum(mark[2] for one in marks for mark in one if first < mark[0] <= last)
    if first >= last:
        raise SystemExit("one consumer had ended before the other began: more --times are needed")
    by_cpu = [sum(mark[2] for mark in one[1:]) / (one[-1][1] - one[0][1]) for one in marks]
    return {
        "events_per_second": round(counted / (last - first)),
        "seconds": round(last - first, 1),
        "per_consumer_and_cpu_second": [round(rate) for rate in by_cpu],
    }


def renamed(events: pd.DataFrame, number: int) -> pd.DataFrame:
    """Copies of the events, as those of other sessions."""
    return events.assign(**{name: events[name].astype(str) + f"-{number}" for name in ("event_id", "session_id")})


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--events", type=Path, default=Path("data/interim/events.parquet"))
    asked.add_argument("--times", type=int, default=5, help="Each time with other sessions.")
    given = asked.parse_args()
    events = pd.concat([renamed(pd.read_parquet(given.events), number) for number in range(given.times)])
    with tempfile.TemporaryDirectory() as folder:
        ports = {name: free_port() for name in ("redis", "kafka", "controller")}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        servers = [
            subprocess.Popen(["redis-server", "--port", str(ports["redis"]), "--save", "", "--dir", folder], **quiet),
            subprocess.Popen([START, folder + "/kafka", str(ports["kafka"]), str(ports["controller"])], **quiet),
        ]
        try:
            time.sleep(10)
            os.environ["NEXTCLICK_REDIS"] = f"127.0.0.1:{ports['redis']}"
            os.environ["NEXTCLICK_KAFKA"] = f"127.0.0.1:{ports['kafka']}"
            found = {}
            for consumers in (1, 2):
                root = Path(folder) / f"project-{consumers}"
                root.mkdir()
                (root / "dvc.yaml").touch()
                wanted = {"features": {"online_store": "redis"}, "stream": {"group": f"{consumers}"}}
                (root / "params.yaml").write_text(yaml.safe_dump(wanted))
                if consumers == 1:
                    params = Params.read(root / "params.yaml")
                    found["events"] = replay(schedule(events, 0), params.stream, 0)["events"]
                redis.Redis(port=ports["redis"]).flushall()
                found[f"consumers_{consumers}"] = measured(root, consumers)
            found["scaling"] = round(
                found["consumers_2"]["events_per_second"] / found["consumers_1"]["events_per_second"], 2
            )
            print(json.dumps(found))
        finally:
            for server in servers:
                server.kill()


if __name__ == "__main__":
    main()
