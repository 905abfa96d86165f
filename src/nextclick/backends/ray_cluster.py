"""The Ray cluster to work on: the one at RAY_ADDRESS, else one that this process starts for itself, on loopback, with a
token and a folder of its own."""

from __future__ import annotations

import atexit
import logging
import os
import re
import secrets
import shutil
import socket
import tempfile

# what Ray reads when it is imported
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if not os.environ.get("RAY_ADDRESS"):
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray then keeps to loopback, on Linux as well
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        # else Ray writes one into the home folder, and clusters started later ask for it too
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex())

import ray

from nextclick.errors import InputError

ADDRESS = re.compile(r"(\[[0-9a-f:]+\]|[^\s:/\[\]]+):(\d{1,5})")
ANSWER_SECONDS = 10  # that a cluster may take to answer
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113, 3.4: a client's greeting
SETTINGS = 4  # the type of the frame with which a server of HTTP/2, as gRPC's is, answers


def connect(cpus: int) -> None:
    """Connect to the cluster at RAY_ADDRESS, or start one of `cpus` here. It is idempotent.

    Raises InputError if RAY_ADDRESS is no address, no cluster answers there, or it refuses; or none starts here.
    """
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _require_cluster(address)
    try:
        if address:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            _start(cpus)
    except Exception as error:  # Ray raises some of its own as no more than that
        if not address:
            raise InputError(f"no Ray cluster starts here: {error}") from error
        hint = "a cluster with a token needs RAY_AUTH_MODE=token here as well"
        raise InputError(f"RAY_ADDRESS: no work on a cluster at {address}: {error} ({hint})") from error


def _start(cpus: int) -> None:
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets are in it, whose paths must be short
    atexit.register(_end, folder)
    ray.init(
        "local",
        num_cpus=cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
    )


def _end(folder: str) -> None:
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _require_cluster(address: str) -> None:
    """Raises InputError if no cluster answers soon. Ray itself would try for ever, also at the port of another server,
    so the answer counts, and not the connection alone."""
    if address == "auto":
        return
    parts = ADDRESS.fullmatch(address)
    if not parts:
        raise InputError(
            "RAY_ADDRESS: expected host:port of the cluster's head node, or auto on one of its machines, found "
            f"{address!r}"
        )
    try:
        with socket.create_connection((parts[1].strip("[]"), int(parts[2])), timeout=ANSWER_SECONDS) as probe:
            probe.sendall(HTTP2)
            answer = probe.recv(4)
    except (OSError, OverflowError) as error:
        raise InputError(f"RAY_ADDRESS: no Ray cluster at {address}: {error}") from error
    if answer[3:] != bytes([SETTINGS]) and not os.environ.get("RAY_USE_TLS"):
        raise InputError(f"RAY_ADDRESS: what answers at {address} is not the head of a Ray cluster")
