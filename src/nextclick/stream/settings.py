"""Where Kafka is and how it is entered: from the environment alone, so that no secret stands in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nextclick.errors import InputError

BROKERS = "NEXTCLICK_KAFKA"
LAST_PORT = 65535
ONLY_CRITICAL = 2  # of syslog's levels
# librdkafka's names; in the environment NEXTCLICK_KAFKA_SASL_PASSWORD is sasl.password
SECURITY = (
    "security.protocol",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
)


def brokers() -> str | None:
    """host:port of one or several brokers, separated by commas; None where live events stay in the process."""
    return os.environ.get(BROKERS) or None


def client_config(**more: Any) -> dict[str, Any]:
    """librdkafka's settings. Raises InputError where the environment names no broker, a setting that is unknown, or a
    file that is not there."""
    servers = brokers()
    if servers is None:
        raise InputError(f"{BROKERS} is not set; expected the broker's host:port, as 127.0.0.1:9092")
    for address in servers.split(","):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or int(port) > LAST_PORT:
            raise InputError(f"{BROKERS}: {address!r} is not host:port")
    known = {f"{BROKERS}_{name.upper().replace('.', '_')}": name for name in SECURITY}
    given = {name: value for name, value in os.environ.items() if name.startswith(f"{BROKERS}_")}
    unknown = given.keys() - known.keys()
    if unknown:
        raise InputError(f"{', '.join(sorted(unknown))}: no such setting; there are {', '.join(known)}")
    for name, value in given.items():
        if name.endswith("_LOCATION") and not Path(value).exists():
            raise InputError(f"{name}: no file {value}")
    security = {known[name]: value for name, value in given.items()}
    # librdkafka's own log would tell every attempt to connect; what matters of it comes as an error
    return {"bootstrap.servers": servers, "client.id": "nextclick", "log_level": ONLY_CRITICAL, **security, **more}
