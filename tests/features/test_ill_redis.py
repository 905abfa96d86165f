"""A Redis that answers with an error is as one that does not answer: a clear error, and used again when it is well."""

import pytest
import redis as client_of
from redis.exceptions import AuthenticationError

from nextclick.errors import StoreUnavailableError
from nextclick.events.session_state import Click
from nextclick.features.store.connect import apply_definitions, connect
from nextclick.features.store.online import OnlineStates

STATE = (Click(1_767_225_600_000, 5, "e1", "i01", 0),)
NOTICED = "the consumer and the intake: `waiting for the online store`, 503; metric nextclick_stream_store_unavailable"


def ill(name: str, wrong: str, harm: list[tuple], cure: list[tuple]):
    promised = {"part": "Redis", "wrong": wrong, "noticed": NOTICED, "lost": "nothing: writers wait, or are told"}
    mark = pytest.mark.fault(**promised, degraded="states are as old as that lasts", heals="by itself, when it is over")
    return pytest.param(harm, cure, id=name, marks=mark)


@pytest.mark.parametrize(
    ("harm", "cure"),
    [
        ill(
            "full",
            "Redis is full, and may evict nothing (OOM)",
            [("CONFIG", "SET", "maxmemory-policy", "noeviction"), ("CONFIG", "SET", "maxmemory", "1")],
            [("CONFIG", "SET", "maxmemory", "0")],
        ),
        ill(
            "read-only",
            "Redis became a replica by a failover (READONLY)",
            [("REPLICAOF", "127.0.0.1", "1")],
            [("REPLICAOF", "NO", "ONE")],
        ),
        ill(
            "locked",
            "Redis asks for a password that nobody has (NOAUTH)",
            [("CONFIG", "SET", "requirepass", "secret")],
            [("AUTH", "secret"), ("CONFIG", "SET", "requirepass", "")],
        ),
    ],
)
def test_a_redis_that_refuses_is_a_clear_error_and_is_used_again_when_it_is_well(
    project, redis_params, redis_server, monkeypatch, harm, cure
):
    server = redis_server()
    monkeypatch.setenv("NEXTCLICK_REDIS", server.address)
    apply_definitions(project, redis_params)
    online = OnlineStates(connect(project, redis_params, timeout=5))
    online.write({"before": STATE})
    admin = client_of.Redis(port=server.port, single_connection_client=True)
    _do(admin, harm)
    # connections that are open go on where only new ones are asked for a password
    online = OnlineStates(connect(project, redis_params, timeout=5))
    with pytest.raises(StoreUnavailableError, match="session_state: "):
        online.merge({"s": STATE})
    with pytest.raises(StoreUnavailableError, match="session_state: "):
        online.write({"s": STATE})
    _do(admin, cure)
    online = OnlineStates(connect(project, redis_params, timeout=5))
    online.merge({"s": STATE})
    assert [row.state for row in online.read(["before", "s"])] == [STATE, STATE]


def _do(admin: client_of.Redis, commands: list[tuple]) -> None:
    for command in commands:
        try:
            admin.execute_command(*command)
        except AuthenticationError:
            admin.execute_command("AUTH", "secret")
            admin.execute_command(*command)
